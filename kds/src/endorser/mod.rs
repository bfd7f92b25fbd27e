//! The broker's [`Endorser`]: what is at hand, early refusal, and the whole of verification.

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::{Check, CrlEdition, VerifiedUnder},
    broker::{AtHand, Endorser, NotVerified, Plausible, Presented, Verified},
    clock::seconds_until,
    ids::WorkloadId,
    metrics::{self, Stage},
};
use keybroker_snp::{
    anchors,
    crl::Crl,
    product::Product,
    verify::{self, Endorsements, ReportData, VerifyError, verify},
};

use crate::{
    error::EndorsementError,
    source::{EndorsementSource, Found},
};

#[async_trait]
impl Endorser for EndorsementSource {
    async fn at_hand<'a>(
        &'a self,
        presented: Presented<'a>,
    ) -> Result<Box<dyn AtHand<'a> + 'a>, NotVerified> {
        let found = EndorsementSource::at_hand(self, &presented).await?;
        Ok(Box::new(Looked { source: self, presented, found }))
    }
}

/// A report, and what was found for it without asking AMD.
struct Looked<'a> {
    source: &'a EndorsementSource,
    presented: Presented<'a>,
    found: Option<Found>,
}

impl<'a> AtHand<'a> for Looked<'a> {
    fn product(&self) -> Option<Product> {
        self.found.as_ref().and_then(Found::product)
    }

    fn refuse_early(
        self: Box<Self>,
        report_data: [u8; 64],
        now: Timestamp,
    ) -> Result<Box<dyn Plausible + 'a>, NotVerified> {
        let report_data = ReportData(report_data);
        verify::refuse_early(self.presented.report, &report_data, now).map_err(refused)?;
        Ok(Box::new(Unrefused { looked: *self, report_data }))
    }
}

/// The same, with what the report must be bound to, after nothing spoke against it early.
struct Unrefused<'a> {
    looked: Looked<'a>,
    report_data: ReportData,
}

#[async_trait]
impl Plausible for Unrefused<'_> {
    async fn verify(
        self: Box<Self>,
        workload: &WorkloadId,
        accepted_csp_ids: &[String],
    ) -> Result<Verified, NotVerified> {
        let Self { looked: Looked { source, presented, found }, report_data } = *self;
        let endorsements = source.obtain(&presented, found, workload).await?;
        let now = source.now();
        let verified = metrics::timed(Stage::Verify, async {
            verify(presented.report, &endorsements, &report_data, accepted_csp_ids, now)
        });
        let verified = verified.await;
        source.settle(&endorsements, verified.as_ref().ok()).await;
        let report = verified.map_err(|error| not_verified(error, now))?;
        Ok(Verified { report, under: under(&endorsements) })
    }
}

/// Why a report is not verified at `now`. If it will be valid in a moment, that is no reason to refuse it for
/// good: the challenge stays until then.
fn not_verified((check, error): (verify::VerificationCheck, VerifyError), now: Timestamp) -> NotVerified {
    match error.valid_from().and_then(|from| seconds_until(from, now)) {
        Some(retry_after) => {
            NotVerified::Unavailable { check: check.into(), cause: error.to_string(), retry_after }
        }
        None => refused((check, error)),
    }
}

fn refused((check, error): (verify::VerificationCheck, VerifyError)) -> NotVerified {
    NotVerified::Refused { check: check.into(), cause: error.to_string() }
}

impl From<EndorsementError> for NotVerified {
    fn from(error: EndorsementError) -> Self {
        let cause = error.to_string();
        match error {
            EndorsementError::Unavailable { retry_after, .. } => {
                Self::Unavailable { check: Check::Endorsements, cause, retry_after }
            }
            EndorsementError::TooManyNewChips { retry_after } => {
                Self::Unavailable { check: Check::NewChips, cause, retry_after }
            }
            _ => Self::Refused { check: Check::Endorsements, cause },
        }
    }
}

fn under(endorsements: &Endorsements) -> VerifiedUnder {
    let chain = &endorsements.chain;
    let anchor = chain.intermediate().anchor();
    let crls = [&endorsements.crl].into_iter().chain(&endorsements.further_crls);
    VerifiedUnder {
        anchor: anchor.fingerprint(),
        simulated: !anchors::is_amds(anchor),
        vek: chain.vek().fingerprint(),
        crls: crls.map(|crl| edition(crl)).collect(),
    }
}

fn edition(crl: &Crl) -> CrlEdition {
    CrlEdition { this_update: crl.this_update(), number: crl.number().map(str::to_owned) }
}

#[cfg(test)]
mod tests;
