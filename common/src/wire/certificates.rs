//! The certificates that a guest sends along: their bounds, and which of them are of use.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use super::Invalid;

/// Most entries: each of the table's kinds once, and room to spare.
pub(super) const MAX_ENTRIES: usize = 8;

/// Longest entry, in bytes: ten times AMD's longest certificate.
pub(super) const MAX_LEN: usize = 16 * 1024;

/// Certificates of these lengths are within the bounds.
pub(super) fn check(mut lengths: impl ExactSizeIterator<Item = usize>) -> Result<(), Invalid> {
    if lengths.len() > MAX_ENTRIES {
        return Err(Invalid::CertificateCount);
    }
    if lengths.any(|length| length > MAX_LEN) { Err(Invalid::CertificateLength) } else { Ok(()) }
}

/// The content of a row in the `sev` crate's certificate table.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A certificate that the broker can use once it has verified it: VCEK, VLEK, ASK.
    Usable,
    /// Roots and CRLs, which the broker has from AMD alone, and whatever else a host puts into the table.
    Other,
}

impl<'de> Deserialize<'de> for Kind {
    /// A name, or, for kinds that the sev crate has no name for, `{"OTHER":"<GUID>"}`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a certificate's type")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Kind, E> {
                Ok(if matches!(name, "VCEK" | "VLEK" | "ASK") { Kind::Usable } else { Kind::Other })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Kind::Other)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
