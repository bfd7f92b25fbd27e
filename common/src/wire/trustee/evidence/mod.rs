//! SEV-SNP evidence as Trustee's guests send it: the report as the crate `sev` writes it in JSON, and the
//! host's certificates.
//!
//! The firmware gave 1184 bytes, and the JSON has them in pieces. [`snp`] puts each piece where it was. Bytes
//! that a shape of the JSON cannot say are zero. Nothing here decides that a report is sound: if a piece is
//! missing or altered, the signature does not hold, as with every report.
//!
//! | module | contents |
//! |---|---|
//! | `shape` | the members of each shape, and the bytes of the report that they are |
//! | `sketch` | which shape it is |
//! | `chain` | the certificates |
//! | `object`, `field` | strict reading of objects and of a report's fields |
//! | `fault` | why a text is no evidence |

mod chain;
mod fault;
mod field;
mod object;
mod shape;
mod sketch;

use keybroker_snp::report::Report;
use serde::de::{DeserializeSeed, MapAccess};
use serde_json::error::Category;

use chain::Chain;
pub use fault::{EvidenceFault, Member};
use object::{Object, Reader};
use shape::{Layout, Rows};

/// A report with the certificates that came along. Untrusted, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEvidence {
    /// The report, 1184 bytes.
    pub report: Vec<u8>,
    /// VCEK, VLEK and ASK, in the order in which they came. Everything else is dropped.
    pub certificates: Vec<Vec<u8>>,
}

/// Reads `{"attestation_report":…,"cert_chain":…}`.
pub fn snp(json: &str) -> Result<SnpEvidence, EvidenceFault> {
    let mut read = SnpEvidence { report: vec![0; Report::SIZE], certificates: Vec::new() };
    let object = &mut Evidence { rows: sketch::shape(json)?.rows(), read: &mut read };
    let mut fault = EvidenceFault::Object(Member::new("tee-evidence", "snp"));
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Reader { object, fault: &mut fault }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| if error.classify() == Category::Data { fault } else { EvidenceFault::Syntax })?;
    Ok(read)
}

/// The whole of the evidence, whose report has `rows`.
struct Evidence<'a> {
    rows: Rows,
    read: &'a mut SnpEvidence,
}

impl Object for Evidence<'_> {
    fn name(&self) -> &'static str {
        "tee-evidence"
    }

    fn required(&self) -> impl Iterator<Item = &'static str> {
        ["attestation_report"].into_iter()
    }

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &mut EvidenceFault,
    ) -> Result<bool, A::Error> {
        match name {
            "attestation_report" => {
                *fault = EvidenceFault::Object(Member::new(self.name(), name));
                let (name, bytes) = ("attestation_report", self.read.report.as_mut_slice());
                let object = &mut Layout { name, rows: self.rows, bytes };
                map.next_value_seed(Reader { object, fault })?;
            }
            "cert_chain" => {
                let certificates = &mut self.read.certificates;
                map.next_value_seed(Chain { certificates, fault })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
