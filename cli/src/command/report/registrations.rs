//! Registrations, counted as they are read.

use std::cmp::Reverse;

use jiff::Timestamp;
use keybroker_common::{
    ids::WorkloadId,
    platform::PlatformDemands,
    wire,
    workload::{Registration, Workload},
};

use super::{
    figures::Principal,
    kept::{Kept, Sorted},
};
use crate::sharing::Sharing;

/// A registration as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) id: WorkloadId,
    pub(super) at: Timestamp,
    pub(super) revoked: bool,
}

/// How many registrations, and some of them: the oldest, since nothing has come in their place.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) count: u64,
    pub(super) oldest: Kept<Reverse<(Timestamp, WorkloadId)>, Registered>,
}

impl Group {
    fn add(&mut self, row: &Workload) {
        self.count += 1;
        self.oldest.offer(Reverse((row.first_registered_at, row.id.clone())), || Registered {
            id: row.id.clone(),
            at: row.first_registered_at,
            revoked: row.revoked_at.is_some(),
        });
    }
}

/// The tie between a workload and its guests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tie {
    /// Everything that a guest's evidence must show, by the requirements' names.
    pub(super) proved: String,
    /// The binding of a guest to this workload rather than to another, as `workload show` says it.
    pub(super) bound_by: &'static str,
}

impl Tie {
    fn of(registration: &Registration) -> Self {
        let policy = &registration.policy;
        let named = [
            (!registration.reference_values.measurements.is_empty(), "launch measurement"),
            (policy.id_key_digest.is_some(), "ID key"),
            (policy.author_key_digest.is_some(), "author key"),
            (policy.host_data.is_some(), "HOST_DATA"),
            (policy.init_data.is_some(), "init data"),
            (policy.platform != PlatformDemands::default(), "demands on the platform"),
            (registration.rego.is_some(), "Rego policy"),
        ];
        let proved: Vec<_> = named.iter().filter(|(required, _)| *required).map(|(_, name)| *name).collect();
        Self { proved: proved.join(", "), bound_by: wire::bound_by(registration) }
    }

    /// Whether nothing tells this workload's guests from others of the same measurement.
    pub(super) fn is_loose(&self) -> bool {
        self.bound_by.starts_with("nothing")
    }
}

/// Everything that a page says about registrations. It grows with their measurements, by some bytes for each.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    pub(super) count: u64,
    pub(super) revoked: Group,
    /// Those as which no guest ever attested.
    pub(super) unreleased: Group,
    /// Those whose registration this release cannot read.
    pub(super) unread: Group,
    /// Those that are not revoked, by what holds guests to them.
    pub(super) ties: Sorted<Tie, Group>,
    pub(super) owners: Sorted<Principal, Group>,
    pub(super) sharing: Sharing,
}

impl Registrations {
    /// Counts a workload.
    pub(super) fn add(&mut self, row: &Workload) {
        self.count += 1;
        self.sharing.add(row);
        if row.revoked_at.is_some() {
            self.revoked.add(row);
        }
        if row.released_at.is_none() {
            self.unreleased.add(row);
        }
        let Ok(read) = row.read() else { return self.unread.add(row) };
        let registration = read.registration();
        self.owners.of(Principal::of(registration.owner.as_deref())).add(row);
        if row.revoked_at.is_none() {
            self.ties.of(Tie::of(registration)).add(row);
        }
    }

    /// The workloads that a page shows.
    pub(super) fn shown(&self) -> Vec<WorkloadId> {
        let ties = self.ties.by(|group| group.count);
        let owners = self.owners.by(|group| group.count);
        let groups = ties.iter().map(|(_, group)| *group).chain(owners.iter().map(|(_, group)| *group));
        let groups = groups.chain([&self.revoked, &self.unreleased, &self.unread]);
        groups.flat_map(|group| group.oldest.rows().map(|row| row.id.clone())).collect()
    }
}
