//! Evidence: a report and the host's certificate table.

use super::json::{numbers, object, string};
use crate::{
    guest::Machine,
    pki::{Amd, CrlOptions},
};

/// The type of an entry of the certificate table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertType {
    /// AMD's root key.
    Ark,
    /// The key that issues VCEKs, or VLEKs.
    Ask,
    /// The chip's key.
    Vcek,
    /// A cloud provider's key.
    Vlek,
    /// A revocation list.
    Crl,
    /// The entry that ends a table.
    Empty,
    /// An entry with a UUID that is not AMD's.
    Other(String),
}

impl CertType {
    fn json(&self) -> String {
        string(match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::Crl => "CRL",
            Self::Empty => "Empty",
            Self::Other(uuid) => return object([("OTHER", string(uuid))]),
        })
    }
}

/// The host's certificate table: entries in the host's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertTable(pub Vec<(CertType, Vec<u8>)>);

impl CertTable {
    /// The leaf alone, under its type.
    pub fn leaf(machine: &Machine) -> Self {
        let kind = if machine.is_in_cloud() { CertType::Vlek } else { CertType::Vcek };
        Self(vec![(kind, machine.vek.certificate.clone())])
    }

    /// The leaf and its authorities, leaf first.
    pub fn full(amd: &Amd, machine: &Machine) -> Self {
        let issuer = if machine.is_in_cloud() { amd.asvk() } else { amd.ask().to_vec() };
        let mut table = Self::leaf(machine);
        table.0.extend([(CertType::Ask, issuer), (CertType::Ark, amd.ark().to_vec())]);
        table
    }

    /// The full chain, root first, with a revocation list, an entry that is not AMD's and one that is empty
    /// among it.
    pub fn mixed(amd: &Amd, machine: &Machine) -> Self {
        let mut table = Self::full(amd, machine);
        table.0.reverse();
        table
            .0
            .insert(1, (CertType::Other("a8074bc2-a25a-483e-aae6-39c045a0b8a1".to_owned()), vec![1, 2, 3]));
        table.0.insert(2, (CertType::Crl, amd.crl(&CrlOptions::default())));
        table.0.push((CertType::Empty, Vec::new()));
        table
    }
}

/// The JSON text of the evidence. `report` is the JSON text of the report.
pub fn evidence(report: &str, table: Option<&CertTable>) -> String {
    let chain = table.map_or_else(
        || "null".to_owned(),
        |table| {
            let entry = |(kind, data): &(CertType, Vec<u8>)| {
                object([("cert_type", kind.json()), ("data", numbers(data))])
            };
            let entries: Vec<String> = table.0.iter().map(entry).collect();
            format!("[{}]", entries.join(","))
        },
    );
    object([("attestation_report", report.to_owned()), ("cert_chain", chain)])
}
