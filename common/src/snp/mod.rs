//! SEV-SNP evidence: parsing, endorsements, verification.

pub mod anchors;
pub mod certificate;
pub mod chain;
pub mod crl;
pub mod kds;
pub mod product;
pub mod report;
pub mod vek;
pub mod verify;

mod der;
