//! `keybroker workload list`, and the filter that `delete` shares.

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    dialect::Dialect,
    ids::{RegistrationDigest, WorkloadId},
    policy::PolicyText,
    store::{Cursor, Unreadable},
    wire::manners,
    workload::Workload,
};
use keybroker_rego::{Policy, beginning_with_not_or_every};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    operator::{self, OperatorHandle, StoreArgs},
    sharing::{SharedBy, Sharing},
    table::{self, NONE, optional_time, time},
    when,
};

/// List registered workloads
///
/// The command lists the oldest first. SHARED marks workloads with a launch measurement that other ids have,
/// too: unless something else tells these workloads apart, a guest with that measurement can claim any of the
/// ids and gets its secrets. The command reports rows that it cannot read on stderr, and then ends with 1.
/// stderr also names two kinds of registrations: those with a query that begins with `not` or `every`, which
/// version 0.1.0 treated as true whatever it gave, and those with a policy that this release refuses. The
/// broker refuses the guests of the latter until they are registered again.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload list
  Workloads that failed builds left behind:
      keybroker workload list --never-released --older-than 7d
  keybroker workload list --revoked --json
  keybroker workload list --aws --owner arn:aws:sts::123456789012:assumed-role/builder

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only revoked workloads
    #[arg(long)]
    revoked: bool,
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
    /// `None` if the registration cannot be read.
    dialect: Option<Dialect>,
    owner: Option<String>,
    registered_at: Timestamp,
    released_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    registration: RegistrationDigest,
    /// Queries that version 0.1.0 treated as true whatever they gave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    once_always_held: Vec<String>,
    /// The reason why this release refuses the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_refused: Option<String>,
}

impl WorkloadSummary {
    pub(super) fn of(workload: &Workload) -> Self {
        let read = workload.read().ok();
        let registration = read.as_ref().map(|read| read.registration());
        let rego = registration.and_then(|registration| registration.rego.as_ref());
        Self {
            id: workload.id.clone(),
            dialect: registration.map(|registration| registration.dialect),
            owner: registration.and_then(|registration| registration.owner.clone()),
            registered_at: workload.first_registered_at,
            released_at: workload.released_at,
            revoked_at: workload.revoked_at,
            registration: workload.digest(),
            once_always_held: rego.map(once_always_held).unwrap_or_default(),
            policy_refused: rego.and_then(|rego| Some(Policy::compile(rego).err()?.to_string())),
        }
    }

    /// Tells on stderr what an operator must look at.
    fn warn(&self) {
        let id = &self.id;
        for query in &self.once_always_held {
            anstream::eprintln!(
                "warning: {id} has the query {query:?}: version 0.1.0 treated a query that begins with not \
                 or every as true, whatever it gave. Check which secrets were released under it"
            );
        }
        if let Some(cause) = &self.policy_refused {
            anstream::eprintln!(
                "warning: {id} has a policy that this release refuses, so its guests are refused: {cause}"
            );
        }
    }
}

fn once_always_held(rego: &PolicyText) -> Vec<String> {
    let query = |index: usize| rego.queries.get(index).cloned();
    beginning_with_not_or_every(rego).into_iter().filter_map(query).collect()
}

/// Prints workloads as a table. With `sharing` a column tells which of them share a launch measurement.
pub(super) fn print(workloads: &[Workload], sharing: Option<&Sharing>) -> Result<(), Failure> {
    let row = |workload| {
        let WorkloadSummary { id, dialect, owner, registered_at, released_at, revoked_at, .. } =
            WorkloadSummary::of(workload);
        let mut row = vec![
            id.to_string(),
            dialect.map_or("unreadable", |dialect| manners(dialect).name).to_owned(),
            owner.unwrap_or_else(|| NONE.to_owned()),
            time(registered_at),
            optional_time(released_at),
            optional_time(revoked_at),
        ];
        row.extend(sharing.map(|sharing| in_words(sharing.shared(workload))));
        row
    };
    let mut header = vec!["id", "dialect", "owner", "registered", "released", "revoked"];
    header.extend(sharing.map(|_| "shared"));
    Ok(table::print(&header, workloads.iter().map(row))?)
}

fn in_words(shared: Option<SharedBy>) -> String {
    match shared {
        None => NONE.to_owned(),
        Some(SharedBy { ids, owners: 1 }) => format!("{ids} ids"),
        Some(SharedBy { ids, owners }) => format!("{ids} ids, {owners} owners"),
    }
}

/// The result of a search.
pub(super) struct Found {
    /// The rows that match, the oldest first.
    pub(super) rows: Vec<Workload>,
    /// The launch measurements that workloads share, among all rows.
    pub(super) sharing: Sharing,
    /// The rows that cannot be read, or whose registration cannot be read.
    pub(super) unreadable: Vec<Unreadable>,
}

/// The rows for which `matches` holds, and what reading all rows brought to light.
pub(super) async fn find(
    operator: &OperatorHandle,
    matches: impl Fn(&Workload) -> bool,
) -> Result<Found, Failure> {
    let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
    let (mut rows, mut unreadable) = operator::all(page).await.map_err(|error| operator.failure(error))?;
    let sharing = Sharing::of(&rows);
    rows.retain(matches);
    rows.sort_by(|a, b| (a.first_registered_at, &a.id).cmp(&(b.first_registered_at, &b.id)));
    unreadable.extend(rows.iter().filter_map(|row| {
        let cause = row.read().err()?.to_string();
        Some(Unreadable { key: row.id.to_string(), cause })
    }));
    Ok(Found { rows, sharing, unreadable })
}

/// A workload in the list of all.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    summary: WorkloadSummary,
    /// The number of workloads that accept the same launch measurement; `None` if no other does.
    measurement_shared: Option<SharedBy>,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct WorkloadListing {
    /// Version of this form.
    schema: u8,
    workloads: Vec<Listed>,
    unreadable: Vec<Unreadable>,
}

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let now = Timestamp::now();
    let matches = |row: &Workload| {
        let owned =
            |owner: &String| row.read().is_ok_and(|read| read.registration().owner.as_ref() == Some(owner));
        args.filter.matches(row, now)
            && (!args.revoked || row.revoked_at.is_some())
            && args.owner.as_ref().is_none_or(owned)
    };
    let Found { rows, sharing, unreadable } = find(&operator, matches).await?;
    let listed = |row| Listed { summary: WorkloadSummary::of(row), measurement_shared: sharing.shared(row) };
    let workloads: Vec<_> = rows.iter().map(listed).collect();
    workloads.iter().for_each(|row| row.summary.warn());
    if args.json {
        table::json(&WorkloadListing { schema: 1, workloads, unreadable: unreadable.clone() })?;
    } else if rows.is_empty() {
        anstream::eprintln!("no workloads");
    } else {
        print(&rows, Some(&sharing))?;
    }
    Ok(operator::tell_unreadable("the workload", &unreadable))
}
