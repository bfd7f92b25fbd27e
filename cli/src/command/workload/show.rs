//! `keybroker workload show`.

use jiff::Timestamp;
use keybroker_common::{
    dialect::Dialect,
    ids::WorkloadId,
    revocation::Revocation,
    wire::{bound_by, names},
    workload::{BUILD_WINDOW, Registration, Workload},
};
use serde::Serialize;

use super::{list::WorkloadSummary, workload_id};
use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, telling},
    requirements,
    secret_row::{SecretRow, rows},
    sharing,
    table::{self, NONE, time},
};

/// Show one workload, and everything that its registration requires of a guest
///
/// The command also shows what binds the workload to these requirements, beside the claims of its guests. It
/// shows the name, wrapped length and wrapping key of each secret, and never the secret.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload show billing-7f3a
  keybroker workload show billing-7f3a --aws --json

{}", Exit::TABLE))]
pub(super) struct ShowArgs {
    /// The workload
    #[arg(value_name = "ID", value_parser = workload_id)]
    id: WorkloadId,
    /// Print one JSON document in place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// Version of this form.
    schema: u8,
    #[serde(flatten)]
    summary: WorkloadSummary,
    build_window_until: Option<Timestamp>,
    /// The other workloads that accept a launch measurement of this one, or an ID key where it names none;
    /// `None` if the command could not look at them.
    measurement_shared_with: Option<Vec<WorkloadId>>,
    secrets: Vec<SecretRow<'a>>,
    /// The registration as it is stored; `None` if it cannot be read.
    requirements: Option<&'a Registration>,
}

/// The end of the build window, if it is still open: until then the build that registered the workload may
/// replace it, without a credential or with its token.
fn build_window(
    workload: &Workload,
    registration: Option<&Registration>,
    now: Timestamp,
) -> Option<Timestamp> {
    let registration = registration?;
    let builds = registration.owner.as_deref().is_none_or(|owner| owner.starts_with("token/"));
    let until = workload.first_registered_at.checked_add(BUILD_WINDOW).ok()?;
    let open = workload.released_at.is_none() && workload.revoked_at.is_none() && now < until;
    (builds && registration.dialects.only() == Some(Dialect::Libkrun) && open).then_some(until)
}

pub(super) async fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let workload = operator.workload(&args.id).await?;
    let read = workload.read();
    let registration = read.as_ref().ok().map(|read| read.registration());
    let window = build_window(&workload, registration, Timestamp::now());
    // The workload is shown whatever becomes of this look at all others.
    let others = telling(
        "looking for workloads that share its launch measurement",
        sharing::others(&operator, &workload),
    );
    let (shared_with, unseen) = match others.await {
        Ok(others) => (Some(others.into_iter().collect::<Vec<_>>()), None),
        Err(failure) => (None, Some(failure)),
    };
    if args.json {
        table::json(&Shown {
            schema: 1,
            summary: WorkloadSummary::of(&workload),
            build_window_until: window,
            measurement_shared_with: shared_with,
            secrets: rows(&workload).collect(),
            requirements: registration,
        })?;
    } else {
        print(&workload, registration, window, shared_with.as_deref().unwrap_or_default())?;
    }
    if workload.revoked_at.is_some() && workload.revoked_by().is_none() {
        let (place, id) = (&operator.place, args.id.as_str());
        let command = place.command_with("audit", &[("workload", id), ("decision", "revoked")], &[]);
        say!("the row does not tell who revoked it; to see that: {command}");
    }
    match (read, unseen) {
        (Ok(_), None) => Ok(Exit::Ok),
        (Ok(_), Some(failure)) => {
            Err(failure.context("looking for workloads that share its launch measurement"))
        }
        (Err(error), _) => Err(unreadable(error, &args.id)),
    }
}

/// The failure that this release cannot read a registration.
pub(super) fn unreadable(error: impl Into<anyhow::Error>, id: &WorkloadId) -> Failure {
    let failure = Failure::new(Exit::Failure, error).context(format!("reading {id}"));
    failure.hint("the broker releases nothing under it; a later release of keybroker may be able to read it")
}

fn print(
    workload: &Workload,
    registration: Option<&Registration>,
    window: Option<Timestamp>,
    shared_with: &[WorkloadId],
) -> Result<(), Failure> {
    let state = |at: Option<Timestamp>, never: &str| {
        at.map_or_else(|| never.to_owned(), |at| format!("since {}", time(at)))
    };
    let owner = registration.and_then(|registration| registration.owner.clone());
    let dialect =
        registration.map_or_else(|| "unreadable".to_owned(), |registration| names(&registration.dialects));
    let mut fields = vec![
        ("id", workload.id.to_string()),
        ("dialect", dialect),
        ("owner", owner.unwrap_or_else(|| NONE.to_owned())),
        ("registration", workload.digest().to_string()),
        ("registered", time(workload.first_registered_at)),
        ("released", state(workload.released_at, "never")),
        ("revoked", revoked(workload)),
        (
            "build window",
            window.map_or_else(|| "closed".to_owned(), |until| format!("open until {}", time(until))),
        ),
    ];
    let reason = workload.revoked_by().and_then(|revocation| revocation.reason.clone());
    fields.extend(reason.map(|reason| ("reason", reason)));
    fields.extend(registration.map(|registration| ("bound by", bound_by(registration).to_owned())));
    if !shared_with.is_empty() {
        fields.push(("shared", in_words(shared_with)));
    }
    for SecretRow { name, wrapped_bytes, key_id } in rows(workload) {
        fields.push(("secret", format!("{name}: {wrapped_bytes} bytes, wrapped by {key_id}")));
    }
    table::print_fields(&fields)?;
    if let Some(registration) = registration {
        table::line("\nrequired of a guest")?;
        table::print_fields(&requirements::of(registration))?;
    }
    Ok(())
}

/// Since when it is revoked and by whom, with the record of it.
fn revoked(workload: &Workload) -> String {
    let Some(at) = workload.revoked_at else { return "no".to_owned() };
    let told = workload.revoked_by().map(|Revocation { by, record, .. }| {
        let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        format!("{by} (record {record})")
    });
    format!("since {}{}", time(at), told.unwrap_or_default())
}

/// As many ids as fit into a line, and the number of all.
fn in_words(others: &[WorkloadId]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = others.iter().take(SHOWN).map(WorkloadId::as_str).collect();
    let more = if others.len() > SHOWN { ", …" } else { "" };
    let (count, list) = (others.len(), shown.join(", "));
    let others = if count == 1 { "other has" } else { "others have" };
    format!(
        "{count} {others} the same launch measurement or ID key: {list}{more}. A guest of theirs can claim this id"
    )
}
