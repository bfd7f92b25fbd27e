//! The endorser's part in an attestation: it finds AMD's certificates, and verifies the report under them.
//!
//! The broker knows neither certificates nor signatures. It hands over what a guest presented, and gets a
//! [`VerifiedReport`] or nothing; no implementation can make up a [`VerifiedReport`], since
//! [`keybroker_snp::verify`] alone constructs one. The steps are types, and each step uses up the one before
//! it, so the broker can leave none of them out:
//!
//! ```text
//! Presented ──at_hand──▶ AtHand ──refuse_early──▶ Plausible ──verify──▶ Verified
//!             reads      nothing is verified      AMD may be asked      every check holds
//! ```

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_snp::{product::Product, report::Report, verify::VerifiedReport};

use crate::{
    audit::{Check, VerifiedUnder},
    ids::WorkloadId,
};

/// The parts of a guest's request that concern verification. Nothing in them is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The report; unverified.
    pub report: &'a Report,
    /// The product that the guest claims: where to ask first if the report does not say.
    pub claimed_product: Option<Product>,
    /// Certificates that the guest sent, DER.
    pub certificates: &'a [Vec<u8>],
}

/// Finds certificates for reports, and verifies reports under them.
#[async_trait]
pub trait Endorser: Debug + Send + Sync {
    /// Reads what can be had without asking AMD. Writes nothing, verifies nothing and parses no certificate:
    /// the guest may have no open challenge.
    async fn at_hand<'a>(&'a self, presented: Presented<'a>)
    -> Result<Box<dyn AtHand<'a> + 'a>, NotVerified>;
}

/// The endorsements for one report that were found without asking AMD.
pub trait AtHand<'a>: Send {
    /// The product of the report's chip, where the endorser knows it. Not verified.
    fn product(&self) -> Option<Product>;

    /// Makes every check of verification that needs no certificate, with `report_data` as what the challenge
    /// and the guest's key demand. A report that fails here costs AMD nothing; one that passes has proved
    /// nothing.
    fn refuse_early(
        self: Box<Self>,
        report_data: [u8; 64],
        now: Timestamp,
    ) -> Result<Box<dyn Plausible + 'a>, NotVerified>;
}

/// A report that AMD may be asked about. Nothing is proved by it.
#[async_trait]
pub trait Plausible: Send {
    /// Obtains the certificates and lists, from AMD if none that holds is at hand, and makes every check of
    /// verification in its order. Keeps what is new only if all of them hold. A chip that nobody has seen
    /// takes its turn among those of `workload`.
    async fn verify(
        self: Box<Self>,
        workload: &WorkloadId,
        accepted_csp_ids: &[String],
    ) -> Result<Verified, NotVerified>;
}

/// A report for which every check of verification holds.
#[derive(Debug)]
pub struct Verified {
    /// The report.
    pub report: VerifiedReport,
    /// The certificates and lists that it was verified under.
    pub under: VerifiedUnder,
}

/// Why there is no verified report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotVerified {
    /// A check fails. The same request fails again.
    Refused {
        /// The check.
        check: Check,
        /// Why it fails.
        cause: String,
    },
    /// It could not be decided. The same request may succeed later.
    Unavailable {
        /// The check that could not be decided.
        check: Check,
        /// Why not.
        cause: String,
        /// After how many seconds to try again.
        retry_after: u64,
    },
}
