//! The certificates that a guest sends along: the host's table, as the crate `sev` writes it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    super::super::certificates::{Kind, MAX_ENTRIES, MAX_LEN},
    fault::{EvidenceFault, Member},
    object::{Object, Reader, refuse},
};

/// Reads the table, or null for none, and keeps the certificates that can be of use.
pub(super) struct Chain<'a> {
    pub(super) certificates: &'a mut Vec<Vec<u8>>,
    pub(super) fault: &'a mut EvidenceFault,
}

impl<'de> DeserializeSeed<'de> for Chain<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.fault = EvidenceFault::CertChain;
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Chain<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificates or null")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { certificates, fault } = self;
        for _ in 0..MAX_ENTRIES {
            *fault = EvidenceFault::Object(Member::new("cert_chain", "entry"));
            let mut entry = Entry::default();
            if seq.next_element_seed(Reader { object: &mut entry, fault })?.is_none() {
                return Ok(());
            }
            if let Some(Kind::Usable) = entry.kind {
                certificates.push(entry.data);
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => refuse(fault, EvidenceFault::CertificateCount),
            None => Ok(()),
        }
    }
}

/// One certificate of the table.
#[derive(Default)]
struct Entry {
    kind: Option<Kind>,
    data: Vec<u8>,
}

impl Object for Entry {
    fn name(&self) -> &'static str {
        "cert_chain"
    }

    fn required(&self) -> impl Iterator<Item = &'static str> {
        ["cert_type", "data"].into_iter()
    }

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &mut EvidenceFault,
    ) -> Result<bool, A::Error> {
        match name {
            "cert_type" => {
                *fault = EvidenceFault::CertType;
                self.kind = Some(map.next_value()?);
            }
            "data" => map.next_value_seed(Data { bytes: &mut self.data, fault })?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The bytes of one certificate.
struct Data<'a> {
    bytes: &'a mut Vec<u8>,
    fault: &'a mut EvidenceFault,
}

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.fault = EvidenceFault::CertData;
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Data<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(byte) = seq.next_element()? {
            if self.bytes.len() == MAX_LEN {
                return refuse(self.fault, EvidenceFault::CertificateLength);
            }
            self.bytes.push(byte);
        }
        Ok(())
    }
}
