//! Workloads with guests on platforms that are behind AMD's bulletins, by the audit log.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{AuditRecord, Decision},
    ids::WorkloadId,
    store::{AuditQuery, Cursor},
};

use crate::{exit::Failure, listing, operator::OperatorHandle};

/// How far back the log is read.
pub(crate) const SPAN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The last verdict on each chip of each workload.
#[derive(Debug, Default)]
pub(crate) struct Behind(HashMap<(WorkloadId, String), (Timestamp, bool)>);

impl Behind {
    /// The workloads of which a guest was behind when it attested last on its chip, in the days until `now`.
    pub(crate) async fn read(
        operator: &OperatorHandle,
        now: Timestamp,
    ) -> Result<HashSet<WorkloadId>, Failure> {
        let query = AuditQuery { since: now.checked_sub(SPAN).ok(), ..AuditQuery::default() };
        let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
        let mut behind = Self::default();
        let read = listing::pages(operator, page, |records| {
            records.iter().for_each(|record| behind.add(record));
            Ok(())
        });
        read.await?;
        Ok(behind.workloads())
    }

    fn add(&mut self, record: &AuditRecord) {
        let attested = matches!(record.decision, Decision::Attested | Decision::Released);
        let (Some(id), Some(evidence), Some(tcb)) = (&record.workload_id, &record.evidence, &record.tcb)
        else {
            return;
        };
        if !attested {
            return;
        }
        let last = self.0.entry((id.clone(), evidence.chip_id.clone())).or_insert((record.time, false));
        if record.time >= last.0 {
            *last = (record.time, tcb.is_behind());
        }
    }

    fn workloads(self) -> HashSet<WorkloadId> {
        self.0.into_iter().filter(|(_, (_, behind))| *behind).map(|((id, _), _)| id).collect()
    }
}
