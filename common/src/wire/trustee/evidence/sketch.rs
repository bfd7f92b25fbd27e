//! Which kind of evidence it is and which shape it has, from the few members that tell.
//!
//! A sketch refuses a text that is not JSON and a report that has no one layout, and takes no value over. The
//! evidence is then read strictly, in the shape that was found.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{fault::EvidenceFault, shape::Shape, vtpm};

/// The content of evidence.
pub(super) enum Kind {
    /// A report of this shape.
    Report(Shape),
    /// The blob of an Azure confidential VM, as this release of the client writes it.
    Blob(vtpm::Shape),
}

/// The kind of the evidence `json`, if it is any. A report comes before a blob: beside it a blob's members
/// are unknown ones.
///
/// Neither the product nor CPUID decides about the layout of the TCB versions, since a report of version 2
/// names neither: a number in `fmc` does.
pub(super) fn kind(json: &str) -> Result<Kind, EvidenceFault> {
    let mut found = Found::default();
    let sketch = Sketch { place: Place::Evidence, found: &mut found };
    // A sketch takes every value, so that nothing but its syntax can be wrong.
    let sketched = sketch.deserialize(&mut serde_json::Deserializer::from_str(json));
    sketched.map_err(|_| EvidenceFault::Syntax)?;
    if let Found { report: false, blob: Some(shape), .. } = found {
        return Ok(Kind::Blob(shape));
    }
    match found {
        Found { early: true, .. } => Ok(Kind::Report(Shape::Early)),
        Found { with_fmc: true, without_fmc: true, .. } => Err(EvidenceFault::Layouts),
        Found { with_fmc: true, .. } => Ok(Kind::Report(Shape::LaterOfTurin)),
        Found { .. } => Ok(Kind::Report(Shape::Later)),
    }
}

/// The members of evidence that tell its shape: which of them are there, and not null.
#[derive(Default)]
struct Found {
    /// `attestation_report`, null or not.
    report: bool,
    /// The member with Azure's blob, the later one if both are there.
    blob: Option<vtpm::Shape>,
    /// `_author_key_en`.
    early: bool,
    /// A TCB version with `fmc`.
    with_fmc: bool,
    /// A TCB version without `fmc`.
    without_fmc: bool,
}

/// The objects that lead to those members.
#[derive(Clone, Copy)]
enum Place {
    Evidence,
    Report,
    Tcb,
}

struct Sketch<'a> {
    place: Place,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Sketch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Sketch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { place, found } = self;
        let mut fmc = false;
        while let Some(name) = map.next_key::<String>()? {
            match (place, name.as_str()) {
                (Place::Evidence, "attestation_report") => {
                    found.report = true;
                    map.next_value_seed(Sketch { place: Place::Report, found })?;
                }
                (Place::Evidence, "hcl_report") => {
                    found.blob = Some(vtpm::Shape::Later);
                    map.next_value::<IgnoredAny>()?;
                }
                (Place::Evidence, "report") => {
                    found.blob = found.blob.or(Some(vtpm::Shape::Early));
                    map.next_value::<IgnoredAny>()?;
                }
                (Place::Report, "current_tcb" | "reported_tcb" | "committed_tcb" | "launch_tcb") => {
                    map.next_value_seed(Sketch { place: Place::Tcb, found })?;
                }
                (Place::Report, "_author_key_en") => found.early |= says_something(&mut map)?,
                (Place::Tcb, "fmc") => fmc |= says_something(&mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if let Place::Tcb = place {
            *if fmc { &mut found.with_fmc } else { &mut found.without_fmc } = true;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Whether the next value is there: null is as good as nothing.
fn says_something<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    Ok(map.next_value::<Option<IgnoredAny>>()?.is_some())
}
