//! The broker's endorser: finds AMD's certificates and revocation lists, verifies reports under them, and
//! remembers what held. It implements [`keybroker_common::broker::Endorser`].
//!
//! A report's certificates come from the process's cache, from the guest, from the shared store or from AMD's
//! Key Distribution Service (KDS), in this order. This crate decides where to look and when AMD may be asked.
//! It decides nothing about a report: [`keybroker_snp::verify`] does, and what is new is kept only after
//! every one of its checks held. It makes no appraisal, and knows no secret.

mod client;
mod endorser;
mod error;
mod lock;
mod pacing;
mod source;
mod vcek_id;

pub use self::{
    client::{Kds, chain_path, crl_path},
    error::{EndorsementError, KdsError},
    source::{CHANGED_KEY, EndorsementSource, Fetched, Found, Obtained, chain_key, crl_key, revoking_key},
    vcek_id::VcekId,
};
