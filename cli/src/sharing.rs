//! Launch measurements that several registrations accept. A guest with such a measurement can claim any of
//! their ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keybroker_common::{ids::WorkloadId, requirements::Measurement, workload::Workload};
use serde::Serialize;

/// The workloads that accept each launch measurement. Revoked workloads and those that cannot be read are
/// left out: the broker releases nothing for them.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    measurements: HashMap<Measurement, Group>,
}

/// The registrations that accept one measurement: their ids, by owner.
type Group = BTreeMap<Option<String>, BTreeSet<WorkloadId>>;

/// The number of workloads that share a launch measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct SharedBy {
    /// Workload ids, the asked one included.
    pub(crate) ids: usize,
    /// Owners of these ids. All ids without an owner count as one owner's.
    pub(crate) owners: usize,
}

impl Sharing {
    /// Reads `workloads`, which should be all of them.
    pub(crate) fn of<'a>(workloads: impl IntoIterator<Item = &'a Workload>) -> Self {
        let mut measurements: HashMap<Measurement, Group> = HashMap::new();
        for workload in workloads {
            for (measurement, owner) in accepted(workload) {
                let group = measurements.entry(measurement).or_default();
                group.entry(owner).or_default().insert(workload.id.clone());
            }
        }
        Self { measurements }
    }

    /// The number of workloads that share a launch measurement with `workload`, if others do. If it has
    /// several measurements, the largest number.
    pub(crate) fn shared(&self, workload: &Workload) -> Option<SharedBy> {
        let groups = accepted(workload).filter_map(|(measurement, _)| self.measurements.get(&measurement));
        groups.filter_map(shared).max_by_key(|shared| shared.ids)
    }

    /// The other workloads that accept a launch measurement of `workload`.
    pub(crate) fn others(&self, workload: &Workload) -> BTreeSet<&WorkloadId> {
        let groups = accepted(workload).filter_map(|(measurement, _)| self.measurements.get(&measurement));
        groups.flat_map(BTreeMap::values).flatten().filter(|id| **id != workload.id).collect()
    }

    /// Every launch measurement that several workloads share, and how many do.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Measurement, SharedBy)> {
        self.measurements.iter().filter_map(|(measurement, group)| Some((measurement, shared(group)?)))
    }
}

fn shared(group: &Group) -> Option<SharedBy> {
    let ids = group.values().map(BTreeSet::len).sum();
    (ids > 1).then_some(SharedBy { ids, owners: group.len() })
}

/// The launch measurements under which the broker releases this workload's secrets, each with the
/// registration's owner.
fn accepted(workload: &Workload) -> impl Iterator<Item = (Measurement, Option<String>)> + use<> {
    let read = workload.revoked_at.is_none().then(|| workload.read().ok()).flatten();
    read.into_iter().flat_map(|read| {
        let registration = read.registration();
        let owner = registration.owner.clone();
        let measurements = registration.reference_values.measurements.clone();
        measurements.into_iter().map(move |measurement| (measurement, owner.clone()))
    })
}
