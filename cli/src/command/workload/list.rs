//! `keybroker workload list`, and the filter that `delete` shares.

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    dialect::{Dialect, Dialects},
    ids::{RegistrationDigest, WorkloadId},
    policy::PolicyText,
    revocation::Revocation,
    store::{Cursor, Unreadable},
    wire::names,
    workload::Workload,
};
use keybroker_rego::{Policy, beginning_with_not_or_every};
use serde::Serialize;

use crate::{
    behind::Behind,
    carried,
    exit::{Exit, Failure},
    listing::{self, Form, Output, Window},
    operator::{OperatorHandle, StoreArgs},
    sharing::{SharedBy, Sharing},
    table::{self, NONE, optional_time, time},
    when,
};

/// List registered workloads
///
/// The command lists the oldest first; of more than 8192 workloads only as far as 8192 in hand allow. SHARED
/// marks workloads with a launch measurement that other ids have, too, or without one and with an ID key that
/// others have: unless something else tells these workloads apart, a guest that one of them accepts can claim
/// any of the ids and gets its secrets. The command reports rows that it cannot read on stderr, and then ends
/// with 1. stderr also names three kinds of registrations: those with a query that begins with `not` or
/// `every`, which version 0.1.0 treated as true whatever it gave; those with a policy that this release
/// refuses; and those with an id that their guests' cookie cannot carry. The broker refuses the guests of the
/// last two until they are registered again.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload list
  Workloads that failed builds left behind:
      keybroker workload list --never-released --older-than 7d
  keybroker workload list --revoked --json
  keybroker workload list --behind
  keybroker workload list --aws --owner arn:aws:sts::123456789012:assumed-role/builder

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only revoked workloads, with who revoked them and why
    #[arg(long)]
    revoked: bool,
    /// Only workloads of which a guest attested in the last 30 days from a platform that was behind AMD's
    /// bulletins, when it attested last on its chip. On AWS this reads the whole audit tables
    #[arg(long)]
    behind: bool,
    /// Only workloads that this principal registered
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<String>,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A filter for workloads that were left behind.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only workloads as which no guest has ever attested
    #[arg(long)]
    pub(super) never_released: bool,
    /// Only workloads whose id was first registered this long ago or longer: 7d, 24h
    #[arg(long, value_parser = when::duration, value_name = "DURATION")]
    pub(super) older_than: Option<SignedDuration>,
}

impl Filter {
    pub(super) fn matches(&self, workload: &Workload, now: Timestamp) -> bool {
        let old = |than| now.checked_sub(than).is_ok_and(|then| workload.first_registered_at <= then);
        (!self.never_released || workload.released_at.is_none()) && self.older_than.is_none_or(old)
    }
}

/// A workload in a list.
#[derive(Debug, Serialize)]
pub(super) struct WorkloadSummary {
    id: WorkloadId,
    /// The dialect of its guests. `None` if there are several, or if the registration cannot be read.
    dialect: Option<Dialect>,
    /// The dialects in which its guests may ask. `None` if the registration cannot be read.
    dialects: Option<Dialects>,
    owner: Option<String>,
    registered_at: Timestamp,
    released_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// The operator who revoked it and the reason, where the row tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<Revocation>,
    registration: RegistrationDigest,
    /// Queries that version 0.1.0 treated as true whatever they gave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    once_always_held: Vec<String>,
    /// The reason why this release refuses the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_refused: Option<String>,
    /// Whether the guests' cookie cannot carry the id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    id_too_long: bool,
}

impl WorkloadSummary {
    pub(super) fn of(workload: &Workload) -> Self {
        let read = workload.read().ok();
        let registration = read.as_ref().map(|read| read.registration());
        let rego = registration.and_then(|registration| registration.rego.as_ref());
        Self {
            id: workload.id.clone(),
            dialect: registration.and_then(|registration| registration.dialects.only()),
            dialects: registration.map(|registration| registration.dialects.clone()),
            owner: registration.and_then(|registration| registration.owner.clone()),
            registered_at: workload.first_registered_at,
            released_at: workload.released_at,
            revoked_at: workload.revoked_at,
            revocation: workload.revoked_by().cloned(),
            registration: workload.digest(),
            once_always_held: rego.map(once_always_held).unwrap_or_default(),
            policy_refused: rego.and_then(|rego| Some(Policy::compile(rego).err()?.to_string())),
            id_too_long: carried::hinders(workload),
        }
    }

    /// Tells on stderr what an operator must look at.
    fn warn(&self) {
        let id = &self.id;
        for query in &self.once_always_held {
            say!(
                "warning: {id} has the query {query:?}: version 0.1.0 treated a query that begins with not \
                 or every as true, whatever it gave. Check which secrets were released under it"
            );
        }
        if let Some(cause) = &self.policy_refused {
            say!("warning: {id} has a policy that this release refuses, so its guests are refused: {cause}");
        }
        if self.id_too_long {
            say!(
                "warning: {id} has an id that its guests' cookie cannot carry, so its guests are refused: {}",
                carried::HELPS
            );
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.dialects.as_ref().map_or_else(|| "unreadable".to_owned(), names),
            self.owner.clone().unwrap_or_else(|| NONE.to_owned()),
            time(self.registered_at),
            optional_time(self.released_at),
            optional_time(self.revoked_at),
        ]
    }
}

fn once_always_held(rego: &PolicyText) -> Vec<String> {
    let query = |index: usize| rego.queries.get(index).cloned();
    beginning_with_not_or_every(rego).into_iter().filter_map(query).collect()
}

/// Prints workloads as a table.
pub(super) fn print(workloads: &[Workload]) -> Result<(), Failure> {
    Ok(table::print(&HEADER, workloads.iter().map(|workload| WorkloadSummary::of(workload).cells()))?)
}

const HEADER: [&str; 6] = ["id", "dialect", "owner", "registered", "released", "revoked"];

/// The rows for which `matches` holds, the oldest first, and those that cannot be read, or whose registration
/// cannot.
pub(super) async fn find(
    operator: &OperatorHandle,
    matches: impl Fn(&Workload) -> bool,
) -> Result<(Vec<Workload>, Vec<Unreadable>), Failure> {
    let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    let unreadable = listing::pages(operator, page, |page| {
        rows.extend(page.into_iter().filter(&matches).inspect(|row| broken.extend(unread(row))));
        Ok(())
    });
    let mut unreadable = unreadable.await?;
    unreadable.append(&mut broken);
    rows.sort_by(|a, b| (a.first_registered_at, &a.id).cmp(&(b.first_registered_at, &b.id)));
    Ok((rows, unreadable))
}

/// That the registration of `row` cannot be read, if so.
fn unread(row: &Workload) -> Option<Unreadable> {
    let cause = row.read().err()?.to_string();
    Some(Unreadable { key: row.id.to_string(), cause })
}

/// A workload in the list of all.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    summary: WorkloadSummary,
    /// The number of workloads that accept the same launch measurement; `None` if no other does.
    measurement_shared: Option<SharedBy>,
}

const FORM: Form<Listed> = Form {
    header: &["id", "dialect", "owner", "registered", "released", "revoked", "shared"],
    cells: |listed| {
        let mut cells = listed.summary.cells();
        cells.push(match listed.measurement_shared {
            None => NONE.to_owned(),
            Some(SharedBy { ids, owners: 1, .. }) => format!("{ids} ids"),
            Some(SharedBy { ids, owners, .. }) => format!("{ids} ids, {owners} owners"),
        });
        cells
    },
};

/// With --revoked.
const REVOKED: Form<Listed> = Form {
    header: &["id", "owner", "registered", "revoked", "by", "reason"],
    cells: |listed| {
        let WorkloadSummary { id, owner, registered_at, revoked_at, revocation, .. } = &listed.summary;
        let text = |text: Option<&String>| text.cloned().unwrap_or_else(|| NONE.to_owned());
        vec![
            id.to_string(),
            text(owner.as_ref()),
            time(*registered_at),
            optional_time(*revoked_at),
            text(revocation.as_ref().and_then(|revocation| revocation.by.as_ref())),
            text(revocation.as_ref().and_then(|revocation| revocation.reason.as_ref())),
        ]
    },
};

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let now = Timestamp::now();
    let behind = if args.behind { Some(Behind::read(&operator, now).await?) } else { None };
    let matches = |row: &Workload| {
        let owned =
            |owner: &String| row.read().is_ok_and(|read| read.registration().owner.as_ref() == Some(owner));
        args.filter.matches(row, now)
            && (!args.revoked || row.revoked_at.is_some())
            && behind.as_ref().is_none_or(|behind| behind.contains(&row.id))
            && args.owner.as_ref().is_none_or(owned)
    };
    // All are read twice: how many share a measurement is known only when all were read.
    let sharing = Sharing::read(&operator).await?;
    let form = if args.revoked { REVOKED } else { FORM };
    let mut output = if args.json { Output::json("workloads")? } else { Output::table(form) };
    let mut window = Window::new(Window::<(), ()>::ROWS);
    let mut broken = Vec::new();
    let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
    let unreadable = listing::pages(&operator, page, |rows| {
        let listed = rows.into_iter().filter(matches).filter_map(|row| {
            broken.extend(unread(&row));
            let measurement_shared = sharing.shared(&row);
            let key = (row.first_registered_at, row.id.clone());
            window.push(key, Listed { summary: WorkloadSummary::of(&row), measurement_shared })
        });
        Ok(output.print(listed.inspect(|listed| listed.summary.warn()))?)
    });
    let mut unreadable = unreadable.await?;
    unreadable.append(&mut broken);
    output.print(window.rest().inspect(|listed| listed.summary.warn()))?;
    Ok(output.end("no workloads", "the workload", &unreadable)?)
}
