//! One test per defect, named after it: the simulated chip's evidence is sound in every other respect.
//!
//! | module | whose defects |
//! |---|---|
//! | [`accepted`] | none: every product, report version and kind of key |
//! | [`report`] | of the report |
//! | [`endorsement`] | of the VEK against the report |
//! | [`certificate`] | of the VEK's certificate |
//! | [`authority`] | of ARK, ASK and ASVK |
//! | [`revocation`] | of the CRL |
//! | [`missing`] | inputs that are not there |
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod accepted;
mod authority;
mod certificate;
mod endorsement;
mod missing;
mod report;
mod revocation;
