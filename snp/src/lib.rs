#![doc = include_str!("../README.md")]
//!
//! ## Where to begin
//!
//! [`verify::verify`] is the one way to a [`VerifiedReport`](verify::VerifiedReport). The table of its checks
//! is [`VerificationCheck`](verify::VerificationCheck). Without the feature `verify` there are
//! [`report`], [`product`], [`endorsement`] and the names of the checks. The feature `hcl` reads the blob in
//! which an Azure confidential VM hands its report out.

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
pub mod few;
#[cfg(feature = "hcl")]
pub mod hcl;
#[cfg(feature = "id-block")]
pub mod id_block;
#[cfg(feature = "measurement")]
pub mod measurement;
pub mod product;
pub mod report;
pub mod silicon;
#[cfg(feature = "verify")]
pub mod vek;
pub mod verify;

#[cfg(feature = "verify")]
mod der;
