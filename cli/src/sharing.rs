//! Launch measurements and ID keys that several registrations accept. A guest with such a measurement, or
//! with an ID block of such a key, can claim any of their ids.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
};

use keybroker_common::{
    encoding::Hex,
    ids::WorkloadId,
    requirements::{BoundBy, KeyDigests},
    store::Cursor,
    workload::Workload,
};
use serde::Serialize;

use crate::{exit::Failure, listing, operator::OperatorHandle};

/// The number of workloads that accept each launch measurement, and each ID key where they name no
/// measurement. Revoked workloads and those that cannot be read are left out: the broker releases nothing for
/// them.
///
/// It keeps of a measurement, a key or an owner a digest of 64 bits alone, under a key that is drawn for the
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
    /// Whether a guest of any of them can claim one of them: HOST_DATA does not bind them all.
    #[serde(skip)]
    claimable: bool,
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

    /// Counts a workload.
    pub(crate) fn add(&mut self, workload: &Workload) {
        let Some(Accepted { measurements, owner, bound }) = Accepted::by(workload) else { return };
        for measurement in measurements {
            let owned = self.digests.hash_one((&measurement, &owner));
            let shared = self.measurements.entry(self.digests.hash_one(measurement)).or_default();
            shared.ids = shared.ids.saturating_add(1);
            shared.owners = shared.owners.saturating_add(self.owned.insert(owned).into());
            shared.claimable |= !bound;
        }
    }

    /// The number of workloads that share a launch measurement with `workload`, if others do. If it has
    /// several measurements, the largest number.
    pub(crate) fn shared(&self, workload: &Workload) -> Option<SharedBy> {
        let accepted = Accepted::by(workload).filter(|accepted| !accepted.bound)?;
        let measurements = accepted.measurements.into_iter();
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
        self.ids > 1 && self.claimable
    }
}

/// The other workloads that accept a launch measurement of `workload`.
pub(crate) async fn others(
    operator: &OperatorHandle,
    workload: &Workload,
) -> Result<BTreeSet<WorkloadId>, Failure> {
    let mut others = BTreeSet::new();
    let Some(own) = Accepted::by(workload).filter(|own| !own.bound) else { return Ok(others) };
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
    /// Where there are none, the digests of the ID keys that vouch for them.
    measurements: BTreeSet<[u8; 48]>,
    owner: Option<String>,
    /// Whether HOST_DATA binds its guests. Then no other workload's guest can claim it: a guest that has
    /// another document has another HOST_DATA, and a guest with a copied HOST_DATA refuses every other
    /// document. Its own guests can still claim others.
    bound: bool,
}

impl Accepted {
    fn by(workload: &Workload) -> Option<Self> {
        let read = workload.revoked_at.is_none().then(|| workload.read().ok()).flatten()?;
        let registration = read.registration();
        let init_data = registration.policy.init_data.as_ref();
        let bound = init_data.is_some_and(|required| required.bound_by == BoundBy::HostData);
        let mut measurements: BTreeSet<_> =
            registration.reference_values.measurements.iter().map(|one| one.0).collect();
        if measurements.is_empty() {
            let keys = registration.policy.id_key_digest.iter().flat_map(KeyDigests::iter);
            measurements.extend(keys.map(|Hex(digest)| *digest));
        }
        Some(Self { measurements, owner: registration.owner.clone(), bound })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keybroker_common::{
        dialect::Dialect,
        requirements::{AppraisalPolicy, InitDataRequirement, Measurement, ReferenceValues},
        workload::Registration,
    };
    use keybroker_initdata::Algorithm;
    use uuid::Uuid;

    use super::*;

    /// A workload of one launch measurement, whose init data is bound so.
    fn workload(id: &str, bound_by: BoundBy) -> Workload {
        accepting(id, bound_by, vec![Measurement([7; 48])], None)
    }

    fn accepting(
        id: &str,
        bound_by: BoundBy,
        measurements: Vec<Measurement>,
        id_key_digest: Option<KeyDigests>,
    ) -> Workload {
        let digest = Algorithm::Sha256.digest(id);
        let init_data = Some(InitDataRequirement { digest, bound_by, broker_keys: None });
        let registration = Registration {
            serial: Uuid::nil(),
            dialects: Dialect::Native.into(),
            owner: None,
            reference_values: ReferenceValues { measurements },
            policy: AppraisalPolicy { init_data, id_key_digest, ..AppraisalPolicy::default() },
            rego: None,
        };
        Workload {
            id: WorkloadId::new(id).unwrap(),
            registration: registration.to_bytes().unwrap(),
            secrets: std::collections::BTreeMap::new(),
            first_registered_at: Timestamp::UNIX_EPOCH,
            revoked_at: None,
            released_at: None,
            restored_by: None,
            revocation: None,
        }
    }

    /// Code in a guest that HOST_DATA binds can name another workload, whose registration demands no
    /// HOST_DATA.
    #[test]
    fn what_other_guests_can_claim_is_marked_and_nothing_else() {
        let (a, b) = (workload("a", BoundBy::HostData), workload("b", BoundBy::HostData));
        let unbound = workload("c", BoundBy::Nothing);
        let mut sharing = Sharing::default();
        [&a, &b].into_iter().for_each(|row| sharing.add(row));
        assert_eq!((sharing.shared(&a), sharing.all().count()), (None, 0));
        sharing.add(&unbound);
        assert_eq!((sharing.shared(&a), sharing.all().count()), (None, 1));
        assert_eq!(sharing.shared(&unbound).map(|shared| shared.ids), Some(3));
        let mut alone = Sharing::default();
        alone.add(&unbound);
        assert_eq!(alone.shared(&unbound), None);
    }

    /// The holder of an ID key vouches for any guest of hers, under each registration that names the key
    /// alone.
    #[test]
    fn an_id_key_that_two_registrations_name_is_shared() {
        let keyed = |id: &str, keys: &[u8], measurements| {
            let keys = Vec::from_iter(keys.iter().map(|byte| Hex([*byte; 48])));
            accepting(id, BoundBy::Nothing, measurements, KeyDigests::try_from(keys).ok())
        };
        let (one, other) = (keyed("one", &[1, 2], Vec::new()), keyed("other", &[2, 3], Vec::new()));
        let measured = keyed("measured", &[2], vec![Measurement([7; 48])]);
        let mut sharing = Sharing::default();
        [&one, &other, &measured].into_iter().for_each(|row| sharing.add(row));
        assert_eq!(sharing.shared(&one).map(|shared| shared.ids), Some(2));
        assert_eq!(sharing.shared(&other).map(|shared| shared.ids), Some(2));
        assert_eq!(sharing.shared(&measured), None);
    }
}
