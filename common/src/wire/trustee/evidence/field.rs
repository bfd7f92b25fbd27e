//! The values of a report's fields, as bytes of the report.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor},
};

/// A whole number, little-endian as in the report. Nothing is rounded, and no number that has a fraction, an
/// exponent or a sign is taken.
pub(super) struct Number<'a>(pub(super) &'a mut [u8]);

impl<'de> DeserializeSeed<'de> for Number<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut number = u64::deserialize(deserializer)?.to_le_bytes().into_iter();
        self.0.iter_mut().zip(number.by_ref()).for_each(|(byte, value)| *byte = value);
        if number.any(|rest| rest != 0) { Err(D::Error::custom("out of range")) } else { Ok(()) }
    }
}

/// A whole number, or null for a field that the report does not have.
pub(super) struct NumberOrNull<'a>(pub(super) &'a mut [u8]);

impl<'de> DeserializeSeed<'de> for NumberOrNull<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for NumberOrNull<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        Number(self.0).deserialize(deserializer)
    }
}

/// Bytes, exactly as many as the field has.
pub(super) struct Bytes<'a>(pub(super) &'a mut [u8]);

impl<'de> DeserializeSeed<'de> for Bytes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Bytes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for byte in self.0 {
            *byte = seq.next_element()?.ok_or_else(|| A::Error::custom("too few"))?;
        }
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::custom("too many")),
            None => Ok(()),
        }
    }
}
