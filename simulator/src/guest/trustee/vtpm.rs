//! Evidence of an Azure confidential VM: the paravisor's blob, the chip's certificate, and a quote of the
//! virtual TPM.

use data_encoding::{BASE64URL, HEXLOWER};

use super::json::{numbers, object, string};
use crate::{guest::Machine, pki::pem};

/// The releases of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VtpmShape {
    /// guest-components up to 0.17: the blob as an array of numbers, the certificate in PEM.
    V0,
    /// The first with a version: both in base64url.
    V1,
    /// As version 1, and the client writes REPORT_DATA into the NV index before it reads the blob.
    V2,
}

impl VtpmShape {
    /// Every release, oldest first.
    pub const ALL: [VtpmShape; 3] = [Self::V0, Self::V1, Self::V2];

    /// Whether the client writes into the NV index 0x01400002.
    pub const fn writes(self) -> bool {
        matches!(self, Self::V2)
    }
}

/// How the guest of an Azure confidential VM attests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vtpm {
    /// The value of `tee`: `azsnpvtpm` up to kbs-types 0.12, `az-snp-vtpm` since.
    pub tee: String,
    /// The form of its evidence.
    pub shape: VtpmShape,
    /// The bytes in the NV index 0x01400002 before the paravisor asks the chip. `None`: what the client
    /// binds.
    pub written: Option<[u8; 64]>,
}

impl Vtpm {
    /// A client of the release that writes `shape`.
    pub fn new(tee: &str, shape: VtpmShape) -> Self {
        Self { tee: tee.to_owned(), shape, written: (!shape.writes()).then_some([0; 64]) }
    }

    /// The JSON text of the evidence, for a client that binds `report_data`.
    pub fn evidence(&self, machine: &Machine, report_data: [u8; 64]) -> String {
        self.evidence_of(machine, &machine.hcl_report(self.written.unwrap_or(report_data)))
    }

    /// The JSON text of the evidence with this blob.
    pub fn evidence_of(&self, machine: &Machine, blob: &[u8]) -> String {
        let vcek = &machine.vek.certificate;
        let pcrs = vec![[0x0C; 32]; 24];
        let (signature, message) = ([0x51; 256], [0xFF; 145]);
        let listed = |items: Vec<String>| format!("[{}]", items.join(","));
        if self.shape == VtpmShape::V0 {
            let quote = object([
                ("signature", numbers(&signature)),
                ("message", numbers(&message)),
                ("pcrs", listed(pcrs.iter().map(|pcr| numbers(pcr)).collect())),
            ]);
            return object([("quote", quote), ("report", numbers(blob)), ("vcek", string(&pem(vcek)))]);
        }
        let hex = |bytes: &[u8]| string(&HEXLOWER.encode(bytes));
        let quote = object([
            ("signature", hex(&signature)),
            ("message", hex(&message)),
            ("pcrs", listed(pcrs.iter().map(|pcr| hex(pcr)).collect())),
        ]);
        object([
            ("version", if self.shape == VtpmShape::V1 { "1" } else { "2" }.to_owned()),
            ("tpm_quote", quote),
            ("hcl_report", string(&BASE64URL.encode(blob))),
            ("vcek", string(&BASE64URL.encode(vcek))),
        ])
    }
}
