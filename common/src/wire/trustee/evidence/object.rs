//! Strict reading of objects, with a fault for each thing that can be wrong.
//!
//! serde hands errors on as words. So the fault stands beside the reading: whoever is about to read a value
//! notes what is wrong if the value has another form.

use std::{collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::fault::{EvidenceFault, Member};

/// An object of known members.
pub(super) trait Object {
    /// Its name in faults.
    fn name(&self) -> &'static str;

    /// The members that must come.
    fn required(&self) -> impl Iterator<Item = &'static str>;

    /// Reads the value of the member `name`, and leaves it alone if there is no such member: `false`.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &mut EvidenceFault,
    ) -> Result<bool, A::Error>;
}

/// Reads an object. An array is none, though serde makes structs of arrays as well.
pub(super) struct Reader<'a, O> {
    pub(super) object: &'a mut O,
    /// The fault, if the next value has another form than it must have.
    pub(super) fault: &'a mut EvidenceFault,
}

impl<'de, O: Object> DeserializeSeed<'de> for Reader<'_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, O: Object> Visitor<'de> for Reader<'_, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { object, fault } = self;
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let member = Member::new(object.name(), &name);
            if names.contains(&name) {
                return refuse(fault, EvidenceFault::Duplicate(member));
            }
            if !object.read(&name, &mut map, fault)? {
                // A newer release of the guest may have more to say: what it leaves null says nothing.
                *fault = EvidenceFault::Unknown(member);
                map.next_value::<()>()?;
            }
            names.insert(name);
        }
        match object.required().find(|name| !names.contains(*name)) {
            Some(name) => {
                let missing = Member::new(object.name(), name);
                refuse(fault, EvidenceFault::Missing(missing))
            }
            None => Ok(()),
        }
    }
}

/// Ends the reading with `found`.
pub(super) fn refuse<T, E: Error>(fault: &mut EvidenceFault, found: EvidenceFault) -> Result<T, E> {
    *fault = found;
    Err(E::custom("refused"))
}
