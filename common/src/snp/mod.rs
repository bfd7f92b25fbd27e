//! SEV-SNP evidence: parsing, endorsements, verification.

pub mod certificate;
pub mod product;
pub mod report;
