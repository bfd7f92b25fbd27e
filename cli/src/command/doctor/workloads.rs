//! The registered workloads: launch measurements that several share, and ids that no guest can attest under.

use keybroker_common::{ids::WorkloadId, store::Cursor};

use super::finding::Finding;
use crate::{
    carried,
    exit::Failure,
    listing,
    operator::OperatorHandle,
    sharing::{SharedBy, Sharing},
};

/// The findings about all workloads.
pub(super) async fn examine(operator: &OperatorHandle) -> Vec<Finding> {
    match Workloads::read(operator).await {
        Ok(workloads) => vec![workloads.measurements(), workloads.ids()],
        Err(failure) => vec![Finding::failed(MEASUREMENTS, &failure)],
    }
}

const MEASUREMENTS: &str = "measurements";

/// The findings about all workloads together.
struct Workloads {
    /// How many share each launch measurement that several do.
    shared: Vec<SharedBy>,
    /// The number of ids that do.
    sharing: usize,
    /// The first ids that libkrun's cookie cannot carry.
    too_long: Vec<WorkloadId>,
    /// The number of them.
    all_too_long: usize,
}

impl Workloads {
    /// The most ids that are named.
    const NAMED: usize = 5;

    async fn read(operator: &OperatorHandle) -> Result<Self, Failure> {
        let sharing = Sharing::read(operator).await?;
        let shared = sharing.all().collect();
        let mut workloads = Self { shared, sharing: 0, too_long: Vec::new(), all_too_long: 0 };
        let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
        let read = listing::pages(operator, page, |rows| {
            for row in rows {
                workloads.sharing += usize::from(sharing.shared(&row).is_some());
                if carried::hinders(&row) {
                    workloads.all_too_long += 1;
                    workloads.too_long.extend((workloads.too_long.len() < Self::NAMED).then_some(row.id));
                }
            }
            Ok(())
        });
        read.await?;
        Ok(workloads)
    }

    fn measurements(&self) -> Finding {
        if self.shared.is_empty() {
            return Finding::ok(MEASUREMENTS, "no launch measurement is registered under several ids");
        }
        let (measurements, ids) = (self.shared.len(), self.sharing);
        let noun = if measurements == 1 { "launch measurement" } else { "launch measurements" };
        let owners = self.shared.iter().filter(|shared| shared.owners > 1).count();
        let across = if owners == 0 { String::new() } else { format!("; {owners} by ids of several owners") };
        Finding::warn(
            MEASUREMENTS,
            format!("{ids} workload ids share {measurements} {noun}{across}"),
            "a guest with such a measurement can claim any of its ids: if a workload must be told apart, give \
             it a measurement of its own. `keybroker workload list` marks the ids",
        )
    }

    fn ids(&self) -> Finding {
        const CHECK: &str = "workload-ids";
        if self.too_long.is_empty() {
            return Finding::ok(CHECK, "libkrun's cookie can carry every workload id");
        }
        let named: Vec<_> = self.too_long.iter().map(WorkloadId::as_str).collect();
        let more = if self.all_too_long > named.len() { ", …" } else { "" };
        Finding::warn(
            CHECK,
            format!(
                "{} workload ids are too long for libkrun's cookie, so their guests are refused: {}{more}",
                self.all_too_long,
                named.join(", ")
            ),
            format!("{}. `keybroker workload list` names all such ids", carried::HELPS),
        )
    }
}
