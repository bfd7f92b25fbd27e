//! The registered workloads: launch measurements that several share, ids that no guest can attest under, and
//! guests that nothing ties to their init data.

use std::fmt;

use keybroker_common::{ids::WorkloadId, requirements::BoundBy, store::Cursor, workload::Workload};

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
        Ok(workloads) => vec![workloads.measurements(), workloads.ids(), workloads.init_data()],
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
    /// The ids that libkrun's cookie cannot carry.
    too_long: Named,
    /// The workloads whose guests nothing ties to their init data.
    unbound: Named,
}

/// Workloads of which some are named.
#[derive(Default)]
struct Named {
    first: Vec<WorkloadId>,
    all: usize,
}

impl Named {
    /// The most ids that are named.
    const MOST: usize = 5;

    fn add(&mut self, id: WorkloadId) {
        self.all += 1;
        self.first.extend((self.first.len() < Self::MOST).then_some(id));
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self.first.iter().map(WorkloadId::as_str).collect();
        let more = if self.all > named.len() { ", …" } else { "" };
        write!(f, "{}{more}", named.join(", "))
    }
}

/// Whether nothing ties the guests of a workload to its init data.
fn unbound(workload: &Workload) -> bool {
    let nothing = |workload: &Workload| {
        let read = workload.read().ok()?;
        let required = read.registration().policy.init_data.as_ref()?;
        Some(required.bound_by == BoundBy::Nothing)
    };
    workload.revoked_at.is_none() && nothing(workload) == Some(true)
}

impl Workloads {
    async fn read(operator: &OperatorHandle) -> Result<Self, Failure> {
        let sharing = Sharing::read(operator).await?;
        let shared = sharing.all().collect();
        let mut workloads =
            Self { shared, sharing: 0, too_long: Named::default(), unbound: Named::default() };
        let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
        let read = listing::pages(operator, page, |rows| {
            for row in rows {
                workloads.sharing += usize::from(sharing.shared(&row).is_some());
                if unbound(&row) {
                    workloads.unbound.add(row.id);
                } else if carried::hinders(&row) {
                    workloads.too_long.add(row.id);
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
        if self.too_long.all == 0 {
            return Finding::ok(CHECK, "libkrun's cookie can carry every workload id");
        }
        Finding::warn(
            CHECK,
            format!(
                "{} workload ids are too long for libkrun's cookie, so their guests are refused: {}",
                self.too_long.all, self.too_long
            ),
            format!("{}. `keybroker workload list` names all such ids", carried::HELPS),
        )
    }

    fn init_data(&self) -> Finding {
        const CHECK: &str = "init-data";
        if self.unbound.all == 0 {
            return Finding::ok(CHECK, "no workload is registered with init data that nothing binds");
        }
        Finding::warn(
            CHECK,
            format!(
                "nothing ties the guests of {} workloads to their init data: {}",
                self.unbound.all, self.unbound
            ),
            "the host can give such a guest any disk: register with HOST_DATA or a measured initrd where the \
             platform has either",
        )
    }
}
