//! The rows that are to be moved, as one reading of the store finds them.

use std::collections::BTreeSet;

use anyhow::anyhow;
use keybroker_aws::kms::KeyArn;
use keybroker_common::{
    ids::{AuditId, WorkloadId},
    keyring::Purpose,
    rewrap::KeyMove,
    secret::KeyError,
    store::{Cursor, Unreadable},
};
use serde::Serialize;

use super::RewrapArgs;
use crate::{
    counted::counted,
    exit::{Exit, Failure},
    listing,
    operator::OperatorHandle,
    table::{self, printable},
};

/// The rows that name an old key, and those that stand in the way.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) workloads: Vec<WorkloadRow>,
    pub(super) rings: Vec<RingRow>,
    pub(super) stuck: Vec<Stuck>,
}

/// A workload whose secrets are moved.
#[derive(Debug, Serialize)]
pub(super) struct WorkloadRow {
    pub(super) workload_id: WorkloadId,
    pub(super) secrets: usize,
    pub(super) from: BTreeSet<String>,
    /// The audit record, once they are moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<AuditId>,
}

/// A ring whose keys are moved.
#[derive(Debug, Serialize)]
pub(super) struct RingRow {
    pub(super) ring: Purpose,
    pub(super) keys: usize,
    pub(super) from: BTreeSet<String>,
    /// The audit record, once they are moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<AuditId>,
}

/// A row that cannot be moved.
#[derive(Debug, Serialize)]
pub(super) struct Stuck {
    pub(super) row: String,
    pub(super) cause: String,
}

impl Stuck {
    pub(super) fn workload(id: &WorkloadId, cause: String) -> Self {
        Self { row: format!("workload {id}"), cause }
    }

    pub(super) fn ring(ring: Purpose, cause: String) -> Self {
        Self { row: format!("ring {ring}"), cause }
    }
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    from: &'a BTreeSet<String>,
    to: &'a str,
    workloads: &'a [WorkloadRow],
    rings: &'a [RingRow],
    stuck: &'a [Stuck],
}

impl Plan {
    /// Reads the whole store.
    pub(super) async fn read(operator: &OperatorHandle, keys: &KeyMove) -> Result<Self, Failure> {
        let mut plan = Self::default();
        let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
        let unreadable = listing::pages(operator, page, |rows| {
            for row in rows {
                match keys.of_workload(&row) {
                    Ok(from) if from.is_empty() => {}
                    Ok(from) => plan.workloads.push(WorkloadRow {
                        secrets: row.secrets.len(),
                        workload_id: row.id,
                        from,
                        audit: None,
                    }),
                    Err(error) => plan.stuck.push(Stuck::workload(&row.id, foreign(&error))),
                }
            }
            Ok(())
        });
        let unreadable = unreadable.await?;
        plan.stuck.extend(
            unreadable
                .into_iter()
                .map(|Unreadable { key, cause }| Stuck { row: format!("workload {key}"), cause }),
        );
        for ring in Purpose::ALL {
            let stored = operator.store.keyring(ring).await.map_err(|error| operator.failure(error))?;
            let Some(stored) = stored else { continue };
            match keys.of_ring(&stored.ring) {
                Ok(from) if from.is_empty() => {}
                Ok(from) => {
                    plan.rings.push(RingRow { ring, keys: stored.ring.keys.len(), from, audit: None });
                }
                Err(error) => plan.stuck.push(Stuck::ring(ring, foreign(&error))),
            }
        }
        Ok(plan)
    }

    /// The number of rows that are to be moved, or were.
    pub(super) fn len(&self) -> usize {
        self.workloads.len() + self.rings.len()
    }

    /// Whether no row names an old key.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Prints what is to be moved, or was.
    pub(super) fn print(&self, args: &RewrapArgs, keys: &KeyMove) -> Result<(), Failure> {
        if args.json {
            let Self { workloads, rings, stuck } = self;
            let KeyMove { from, to } = keys;
            let dry_run = args.confirm.dry_run;
            return Ok(table::json(&Document { schema: 1, dry_run, from, to, workloads, rings, stuck })?);
        }
        if !args.confirm.dry_run {
            return Ok(table::line(&format!("moved {}", self.counted()))?);
        }
        let workloads = self.workloads.iter().map(|row| {
            vec![format!("workload {}", row.workload_id), counted(row.secrets, "secret"), joined(&row.from)]
        });
        let rings = self
            .rings
            .iter()
            .map(|row| vec![format!("ring {}", row.ring), counted(row.keys, "key"), joined(&row.from)]);
        Ok(table::print(&["row", "wrapped", "wrapping key"], workloads.chain(rings))?)
    }

    /// The numbers of them, in words.
    pub(super) fn counted(&self) -> String {
        format!(
            "the secrets of {} and {} of the broker's own keys",
            counted(self.workloads.len(), "workload"),
            counted(self.rings.len(), "ring")
        )
    }

    /// Tells of what cannot be moved, and fails if there is any.
    pub(super) fn check_stuck(&self, operator: &OperatorHandle, what_follows: &str) -> Result<(), Failure> {
        if self.stuck.is_empty() {
            return Ok(());
        }
        for Stuck { row, cause } in &self.stuck {
            say!("{}: {}", printable(row), printable(cause));
        }
        let error = anyhow!("{} cannot be moved: {what_follows}", counted(self.stuck.len(), "row"));
        Err(Failure::new(Exit::Failure, error).hint(operator.place.advice(
            "a row that another key wrapped, or that does not open, was altered by somebody, or is of an earlier \
             key. Name that key as well, or look at the workload with `keybroker workload show ID`, and have it \
             registered again or delete it. A key that is disabled or to be deleted moves its rows once it is \
             back (`aws kms cancel-key-deletion`, `aws kms enable-key`)",
        )))
    }
}

/// The words about a wrapping key that is none of those that are named.
pub(super) fn foreign(error: &KeyError) -> String {
    match error {
        KeyError::UnknownKey(key) if key.parse::<KeyArn>().is_err() => format!(
            "it names its wrapping key as {key:?}, and not by the ARN of a KMS key: another program wrote it, \
             and no guest gets it"
        ),
        error => error.to_string(),
    }
}

fn joined(keys: &BTreeSet<String>) -> String {
    keys.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}
