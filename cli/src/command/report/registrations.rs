//! Registrations, counted as they are read.

use std::cmp::Reverse;

use jiff::Timestamp;
use keybroker_common::{
    ids::WorkloadId,
    platform::PlatformDemands,
    requirements::{BoundBy, EvidenceForm},
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
    /// Whether nothing tells this workload's guests from others of the same measurement.
    pub(super) loose: bool,
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
        let unbound = policy.init_data.as_ref().is_some_and(|required| required.bound_by == BoundBy::Nothing);
        // The paravisor's measurement is that of every VM of the cloud.
        let loose = unbound || policy.evidence == EvidenceForm::AzSnpVtpm;
        Self { proved: proved.join(", "), bound_by: wire::bound_by(registration), loose }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::SignedDuration;
    use keybroker_common::{
        dialect::Dialect,
        encoding::Hex,
        requirements::{AppraisalPolicy, InitDataRequirement, Measurement, ReferenceValues},
    };
    use keybroker_initdata::Algorithm;
    use uuid::Uuid;

    use super::*;

    fn row(id: &str, age: i64, change: impl FnOnce(&mut Registration)) -> Workload {
        let mut registration = Registration {
            serial: Uuid::new_v4(),
            dialects: Dialect::Libkrun.into(),
            owner: None,
            reference_values: ReferenceValues { measurements: vec![Measurement([0x4D; 48])] },
            policy: AppraisalPolicy::default(),
            rego: None,
        };
        change(&mut registration);
        let at: Timestamp = "2026-11-29T08:35:00Z".parse().unwrap();
        Workload {
            id: WorkloadId::new(id).unwrap(),
            registration: registration.to_bytes().unwrap(),
            secrets: BTreeMap::new(),
            first_registered_at: at - SignedDuration::from_hours(age),
            revoked_at: None,
            released_at: None,
            restored_by: None,
            revocation: None,
        }
    }

    fn counted(rows: &[Workload]) -> Registrations {
        let mut registrations = Registrations::default();
        rows.iter().for_each(|row| registrations.add(row));
        registrations
    }

    fn ids(group: &Group) -> Vec<&str> {
        group.oldest.rows().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn workloads_are_told_by_what_holds_guests_to_them() {
        let keyed = |registration: &mut Registration| {
            registration.reference_values.measurements.clear();
            registration.policy.id_key_digest = Some(Hex([7; 48]).try_into().unwrap());
        };
        let mut revoked = row("gone", 3, |_| {});
        revoked.revoked_at = Some(revoked.first_registered_at);
        let registrations = counted(&[row("a", 1, |_| {}), row("b", 2, keyed), row("c", 4, |_| {}), revoked]);
        let ties = registrations.ties.by(|group| group.count);
        let ties: Vec<_> =
            ties.into_iter().map(|(tie, group)| (tie.unwrap().proved.as_str(), ids(group))).collect();
        assert_eq!(ties, [("launch measurement", vec!["c", "a"]), ("ID key", vec!["b"])]);
        assert_eq!(ids(&registrations.revoked), ["gone"]);
        assert_eq!(registrations.count, 4);
    }

    #[test]
    fn a_tie_is_loose_where_any_guest_of_a_measurement_can_come() {
        let unbound = |bound_by| {
            move |registration: &mut Registration| {
                let digest = Algorithm::Sha256.digest("a document");
                let required = InitDataRequirement { digest, bound_by, broker_keys: None };
                registration.policy.init_data = Some(required);
            }
        };
        let azure = |registration: &mut Registration| registration.policy.evidence = EvidenceForm::AzSnpVtpm;
        for (row, loose) in [
            (row("a", 1, |_| {}), false),
            (row("a", 1, unbound(BoundBy::HostData)), false),
            (row("a", 1, unbound(BoundBy::Nothing)), true),
            (row("a", 1, azure), true),
        ] {
            let registrations = counted(&[row]);
            let ties = registrations.ties.by(|group| group.count);
            let (Some(tie), _) = ties[0] else { panic!("{ties:?}") };
            assert_eq!(tie.loose, loose, "{tie:?}");
        }
    }

    #[test]
    fn the_oldest_registrations_without_a_guest_are_kept() {
        let mut rows: Vec<_> = (0..50).map(|age| row(&format!("w{age}"), age, |_| {})).collect();
        rows[49].released_at = Some(rows[49].first_registered_at);
        let registrations = counted(&rows);
        assert_eq!(registrations.unreleased.count, 49);
        let oldest: Vec<_> = (39..49).rev().map(|age| format!("w{age}")).collect();
        assert_eq!(ids(&registrations.unreleased), oldest);
        assert!(registrations.shown().len() < 50);
    }

    #[test]
    fn owners_are_counted_and_what_cannot_be_read_has_none() {
        let owned = |name: &str| {
            let name = name.to_owned();
            move |registration: &mut Registration| registration.owner = Some(name)
        };
        let mut broken = row("broken", 1, |_| {});
        broken.registration = b"{}".to_vec();
        let rows = [
            row("a", 1, owned("uid/0")),
            row("b", 1, owned("token/1")),
            row("c", 1, owned("token/2")),
            row("d", 1, |_| {}),
            broken,
        ];
        let registrations = counted(&rows);
        let owners = registrations.owners.by(|group| group.count);
        let owners: Vec<_> =
            owners.into_iter().map(|(owner, group)| (owner.unwrap().clone(), group.count)).collect();
        let named = Principal::Named("uid/0".to_owned());
        assert_eq!(owners, [(Principal::Tokens, 2), (named, 1), (Principal::Nobody, 1)]);
        assert_eq!(ids(&registrations.unread), ["broken"]);
    }
}
