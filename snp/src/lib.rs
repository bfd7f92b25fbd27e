//! Verification of AMD SEV-SNP evidence: reports, AMD's certificates and revocation lists.

#[cfg(feature = "verify")]
pub mod anchors;
#[cfg(feature = "verify")]
pub mod authority;
#[cfg(feature = "verify")]
pub mod certificate;
#[cfg(feature = "verify")]
pub mod chain;
#[cfg(feature = "verify")]
pub mod crl;
pub mod endorsement;
pub mod product;
pub mod report;
#[cfg(feature = "verify")]
pub mod vek;
pub mod verify;

#[cfg(feature = "verify")]
mod der;
