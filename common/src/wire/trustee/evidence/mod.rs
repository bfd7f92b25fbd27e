//! SEV-SNP evidence as Trustee's guests send it: the report as the crate `sev` writes it in JSON, and the
//! host's certificates; or the blob of an Azure confidential VM.
//!
//! The firmware gave 1184 bytes, and the JSON has them in pieces. [`read`] puts each piece where it was.
//! Bytes that a shape of the JSON cannot say are zero. Nothing here decides that a report is sound: if a
//! piece is missing or altered, the signature does not hold, as with every report.
//!
//! | module | contents |
//! |---|---|
//! | `shape` | the members of each shape, and the bytes of the report that they are |
//! | `sketch` | whether it is a report or a blob, and in which shape |
//! | `vtpm` | the blob of an Azure confidential VM |
//! | `chain` | the certificates |
//! | `object`, `field` | strict reading of objects and of a report's fields |
//! | `fault` | why a text is no evidence |

mod chain;
mod fault;
mod field;
mod object;
mod shape;
mod sketch;
mod vtpm;

use keybroker_snp::report::Report;
use serde::de::{DeserializeSeed, MapAccess};
use serde_json::error::Category;

use chain::Chain;
pub use fault::{EvidenceFault, Member};
use object::{Object, Reader};
use shape::{Layout, Rows};
use sketch::Kind;

use crate::{binding::SentReport, requirements::EvidenceForm};

/// A report with the certificates that came along. Untrusted, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SevEvidence {
    /// The report, put together from its pieces, or the blob that holds it.
    pub report: SentReport,
    /// VCEK, VLEK and ASK, in the order in which they came. Everything else is dropped.
    pub certificates: Vec<Vec<u8>>,
}

/// Reads `{"attestation_report":…,"cert_chain":…}`, or the evidence of an Azure confidential VM.
pub fn read(json: &str) -> Result<SevEvidence, EvidenceFault> {
    let mut certificates = Vec::new();
    let report = match sketch::kind(json)? {
        Kind::Report(shape) => {
            let mut report = vec![0; Report::SIZE];
            let rows = shape.rows();
            read_into(json, &mut Evidence { rows, report: &mut report, certificates: &mut certificates })?;
            SentReport::bare(report)
        }
        Kind::Blob(shape) => {
            let mut blob = Vec::new();
            read_into(json, &mut vtpm::Evidence { shape, blob: &mut blob, certificates: &mut certificates })?;
            SentReport { form: EvidenceForm::AzSnpVtpm, bytes: blob }
        }
    };
    Ok(SevEvidence { report, certificates })
}

fn read_into(json: &str, object: &mut impl Object) -> Result<(), EvidenceFault> {
    let mut fault = EvidenceFault::Object(Member::new("tee-evidence", "snp"));
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Reader { object, fault: &mut fault }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| if error.classify() == Category::Data { fault } else { EvidenceFault::Syntax })
}

/// The whole of the evidence, whose report has `rows`.
struct Evidence<'a> {
    rows: Rows,
    report: &'a mut [u8],
    certificates: &'a mut Vec<Vec<u8>>,
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
                let (name, bytes) = ("attestation_report", &mut *self.report);
                let object = &mut Layout { name, rows: self.rows, bytes };
                map.next_value_seed(Reader { object, fault })?;
            }
            "cert_chain" => {
                map.next_value_seed(Chain { certificates: self.certificates, fault })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
