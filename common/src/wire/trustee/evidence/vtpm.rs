//! Evidence of an Azure confidential VM: the paravisor's blob and the chip's certificate.
//!
//! Trustee's clients send a quote of the virtual TPM along, and its PCRs. The broker takes neither:
//! `user-data` in the blob binds the guest, and no PCR is compared with anything.

use std::fmt;

use data_encoding::{BASE64, BASE64URL};
use keybroker_snp::hcl::HclReport;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    super::super::certificates::{MAX_ENTRIES, MAX_LEN},
    fault::{EvidenceFault, Member},
    object::{Object, refuse},
};

/// The members, by the release of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `quote`, `report` as an array of numbers, `vcek` in PEM.
    Early,
    /// `version` 1 or 2, `tpm_quote`, `hcl_report` and `vcek` in base64url. From version 2 on the client
    /// writes `user-data`.
    Later,
}

/// The whole of the evidence.
pub(super) struct Evidence<'a> {
    pub(super) shape: Shape,
    pub(super) blob: &'a mut Vec<u8>,
    pub(super) certificates: &'a mut Vec<Vec<u8>>,
}

impl Object for Evidence<'_> {
    fn name(&self) -> &'static str {
        "tee-evidence"
    }

    fn required(&self) -> impl Iterator<Item = &'static str> {
        match self.shape {
            Shape::Early => ["quote", "report", "vcek"].as_slice(),
            Shape::Later => ["version", "tpm_quote", "hcl_report", "vcek"].as_slice(),
        }
        .iter()
        .copied()
    }

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &mut EvidenceFault,
    ) -> Result<bool, A::Error> {
        match (self.shape, name) {
            (Shape::Early, "quote") | (Shape::Later, "tpm_quote") => drop(map.next_value::<IgnoredAny>()?),
            (Shape::Early, "report") => {
                *fault = EvidenceFault::Blob;
                map.next_value_seed(Blob(self.blob))?;
            }
            (Shape::Early, "vcek") => {
                *fault = EvidenceFault::Pem;
                let pem: String = map.next_value()?;
                match certificates(&pem) {
                    Ok(certificates) => *self.certificates = certificates,
                    Err(found) => return refuse(fault, found),
                }
            }
            (Shape::Later, "version") => {
                *fault = EvidenceFault::BlobVersion;
                if !matches!(map.next_value::<u32>()?, 1 | 2) {
                    return refuse(fault, EvidenceFault::BlobVersion);
                }
            }
            (Shape::Later, "hcl_report") => {
                *self.blob = base64url(Member::new("tee-evidence", name), map, fault)?
            }
            (Shape::Later, "vcek") => {
                let der = base64url(Member::new("tee-evidence", name), map, fault)?;
                if der.len() > MAX_LEN {
                    return refuse(fault, EvidenceFault::CertificateLength);
                }
                *self.certificates = vec![der];
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Bytes in base64url with padding, as the client writes it.
fn base64url<'de, A: MapAccess<'de>>(
    member: Member,
    map: &mut A,
    fault: &mut EvidenceFault,
) -> Result<Vec<u8>, A::Error> {
    *fault = EvidenceFault::Base64(member.clone());
    let text: String = map.next_value()?;
    match BASE64URL.decode(text.as_bytes()) {
        Ok(bytes) => Ok(bytes),
        Err(_) => refuse(fault, EvidenceFault::Base64(member)),
    }
}

/// The certificates of a PEM text, DER: one after the other, and nothing else.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, EvidenceFault> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let (mut rest, mut certificates) = (pem.trim(), Vec::new());
    while !rest.is_empty() {
        let (body, behind) =
            rest.strip_prefix(BEGIN).and_then(|rest| rest.split_once(END)).ok_or(EvidenceFault::Pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body.as_bytes()).map_err(|_| EvidenceFault::Pem)?;
        if certificates.len() == MAX_ENTRIES {
            return Err(EvidenceFault::CertificateCount);
        }
        if der.len() > MAX_LEN {
            return Err(EvidenceFault::CertificateLength);
        }
        certificates.push(der);
        rest = behind.trim_start();
    }
    Ok(certificates)
}

/// The blob as an array of numbers.
struct Blob<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Blob<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Blob<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(byte) = seq.next_element()? {
            if self.0.len() == HclReport::MAX_SIZE {
                return Err(serde::de::Error::custom("too many"));
            }
            self.0.push(byte);
        }
        Ok(())
    }
}
