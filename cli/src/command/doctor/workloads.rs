//! The registered workloads: launch measurements that several share, ids that no guest can attest under,
//! guests that nothing ties to their init data, and guests that HOST_DATA should select and does not.

use std::fmt;

use keybroker_common::{ids::WorkloadId, requirements::BoundBy, store::Cursor, workload::Workload};

use super::finding::Finding;
use crate::{
    carried,
    counted::counted,
    exit::Failure,
    listing,
    operator::OperatorHandle,
    sharing::{SharedBy, Sharing},
};

/// The findings about all workloads.
pub(super) async fn examine(operator: &OperatorHandle) -> Vec<Finding> {
    match Workloads::read(operator).await {
        Ok(workloads) => {
            vec![
                workloads.measurements(),
                workloads.ids(),
                workloads.init_data(),
                workloads.selection(),
                workloads.floors(),
            ]
        }
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
    /// The ids that their guests' cookie cannot carry.
    too_long: Named,
    /// The workloads whose guests nothing ties to their init data.
    unbound: Named,
    /// The workloads that have a floor of a product, and none of its steppings.
    products_alone: Named,
    /// How many HOST_DATA selects,
    selected: usize,
    /// and those that it should select and does not.
    unselected: Named,
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

/// Whether a registration has a floor of a product, and none of its steppings.
fn has_product_alone(workload: &Workload) -> bool {
    let Some(read) = workload.read().ok().filter(|_| workload.revoked_at.is_none()) else { return false };
    let floors = read.registration().policy.platform.floors();
    floors.iter().any(|(_, floors)| floors.products_alone().next().is_some())
}

impl Workloads {
    async fn read(operator: &OperatorHandle) -> Result<Self, Failure> {
        let sharing = Sharing::read(operator).await?;
        let shared = sharing.all().collect();
        let mut workloads = Self {
            shared,
            sharing: 0,
            too_long: Named::default(),
            unbound: Named::default(),
            products_alone: Named::default(),
            selected: 0,
            unselected: Named::default(),
        };
        let mut selections = Vec::new();
        let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
        let read = listing::pages(operator, page, |rows| {
            for row in rows {
                selections.extend(row.selected_by().map(|host_data| (host_data, row.id.clone())));
                workloads.sharing += usize::from(sharing.shared(&row).is_some());
                if has_product_alone(&row) {
                    workloads.products_alone.add(row.id.clone());
                }
                if unbound(&row) {
                    workloads.unbound.add(row.id);
                } else if carried::hinders(&row) {
                    workloads.too_long.add(row.id);
                }
            }
            Ok(())
        });
        read.await?;
        for (host_data, id) in selections {
            let selected = operator.store.selected(&host_data).await;
            match selected.map_err(|error| operator.failure(error))? {
                Some(selected) if selected == id => workloads.selected += 1,
                _ => workloads.unselected.add(id),
            }
        }
        Ok(workloads)
    }

    fn measurements(&self) -> Finding {
        if self.shared.is_empty() {
            return Finding::ok(
                MEASUREMENTS,
                "no launch measurement or ID key is registered under several ids",
            );
        }
        let (measurements, ids) = (self.shared.len(), self.sharing);
        let noun =
            if measurements == 1 { "launch measurement or ID key" } else { "launch measurements or ID keys" };
        let owners = self.shared.iter().filter(|shared| shared.owners > 1).count();
        let across = if owners == 0 { String::new() } else { format!("; {owners} by ids of several owners") };
        Finding::warn(
            MEASUREMENTS,
            format!("{ids} workload ids share {measurements} {noun}{across}"),
            "a guest with such a measurement, or with an ID block of such a key, can claim any of its ids: if a workload must be told apart, give \
             it a measurement of its own, or init data. `keybroker workload list` marks the ids",
        )
    }

    fn ids(&self) -> Finding {
        const CHECK: &str = "workload-ids";
        if self.too_long.all == 0 {
            return Finding::ok(CHECK, "the cookie of its guests can carry every workload id");
        }
        Finding::warn(
            CHECK,
            format!(
                "guests' cookies cannot carry {}, so these guests are refused: {}",
                counted(self.too_long.all, "workload id"),
                self.too_long
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
                "nothing ties the guests of {} to their init data: {}",
                counted(self.unbound.all, "workload"),
                self.unbound
            ),
            "the host can give such a guest any disk: register with HOST_DATA or a measured initrd where the \
             platform has either",
        )
    }

    fn selection(&self) -> Finding {
        const CHECK: &str = "selection";
        if self.unselected.all == 0 {
            let finding = format!("HOST_DATA selects {}, as it should", counted(self.selected, "workload"));
            return Finding::ok(CHECK, finding);
        }
        Finding::warn(
            CHECK,
            format!(
                "HOST_DATA does not select the guests of {}: {}",
                counted(self.unselected.all, "workload"),
                self.unselected
            ),
            "rows were restored or altered in part: register each of them again with its init data. Guests that \
             name their workload in the URL are not affected",
        )
    }

    fn floors(&self) -> Finding {
        const CHECK: &str = "floors";
        if self.products_alone.all == 0 {
            return Finding::ok(CHECK, "no workload has a floor of a product and none of its steppings");
        }
        Finding::warn(
            CHECK,
            format!(
                "{} with a floor of a product and none of its steppings: {}",
                counted(self.products_alone.all, "workload"),
                self.products_alone
            ),
            "such a floor holds for reports of version 2, and guests with later reports are refused: register each \
             workload again with floors of the steppings of its hosts, as milan-b1",
        )
    }
}
