//! Launch measurements that several registrations accept. A guest with such a measurement can claim any of
//! their ids.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
};

use keybroker_common::{ids::WorkloadId, store::Cursor, workload::Workload};
use serde::Serialize;

use crate::{exit::Failure, listing, operator::OperatorHandle};

/// The number of workloads that accept each launch measurement. Revoked workloads and those that cannot be
/// read are left out: the broker releases nothing for them.
///
/// It keeps of a measurement or an owner a digest of 64 bits alone, under a key that is drawn for the
/// command: so a million workloads take some tens of megabytes. Nobody can choose two that collide; if two do
/// by chance, a workload is marked without need.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    digests: RandomState,
    measurements: HashMap<u64, SharedBy>,
    /// The pairs of a measurement and an owner.
    owned: HashSet<u64>,
}

/// The number of workloads that share a launch measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SharedBy {
    /// Workload ids, the asked one included.
    pub(crate) ids: u32,
    /// Owners of these ids. All ids without an owner count as one owner's.
    pub(crate) owners: u32,
}

impl Sharing {
    /// Reads all workloads.
    pub(crate) async fn read(operator: &OperatorHandle) -> Result<Self, Failure> {
        let mut sharing = Self::default();
        let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
        let read = listing::pages(operator, page, |rows| {
            rows.iter().for_each(|row| sharing.add(row));
            Ok(())
        });
        read.await?;
        Ok(sharing)
    }

    fn add(&mut self, workload: &Workload) {
        let Some(Accepted { measurements, owner }) = Accepted::by(workload) else { return };
        for measurement in measurements {
            let owned = self.digests.hash_one((&measurement, &owner));
            let shared = self.measurements.entry(self.digests.hash_one(measurement)).or_default();
            shared.ids = shared.ids.saturating_add(1);
            shared.owners = shared.owners.saturating_add(self.owned.insert(owned).into());
        }
    }

    /// The number of workloads that share a launch measurement with `workload`, if others do. If it has
    /// several measurements, the largest number.
    pub(crate) fn shared(&self, workload: &Workload) -> Option<SharedBy> {
        let measurements = Accepted::by(workload)?.measurements.into_iter();
        let shared = measurements.filter_map(|one| self.measurements.get(&self.digests.hash_one(one)));
        shared.copied().filter(SharedBy::several).max_by_key(|shared| shared.ids)
    }

    /// How many workloads share each launch measurement that several do.
    pub(crate) fn all(&self) -> impl Iterator<Item = SharedBy> {
        self.measurements.values().copied().filter(SharedBy::several)
    }
}

impl SharedBy {
    fn several(&self) -> bool {
        self.ids > 1
    }
}

/// The other workloads that accept a launch measurement of `workload`.
pub(crate) async fn others(
    operator: &OperatorHandle,
    workload: &Workload,
) -> Result<BTreeSet<WorkloadId>, Failure> {
    let mut others = BTreeSet::new();
    let Some(own) = Accepted::by(workload) else { return Ok(others) };
    let accepts = |row: &Workload| {
        Accepted::by(row).is_some_and(|other| !own.measurements.is_disjoint(&other.measurements))
    };
    let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
    let read = listing::pages(operator, page, |rows| {
        others.extend(rows.into_iter().filter(|row| row.id != workload.id && accepts(row)).map(|row| row.id));
        Ok(())
    });
    read.await?;
    Ok(others)
}

/// The launch measurements under which the broker releases a workload's secrets, and the registration's
/// owner.
struct Accepted {
    measurements: BTreeSet<[u8; 48]>,
    owner: Option<String>,
}

impl Accepted {
    fn by(workload: &Workload) -> Option<Self> {
        let read = workload.revoked_at.is_none().then(|| workload.read().ok()).flatten()?;
        let registration = read.registration();
        let measurements = registration.reference_values.measurements.iter().map(|one| one.0).collect();
        Some(Self { measurements, owner: registration.owner.clone() })
    }
}
