//! The rules of verification, and the one way through all of them.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::{SignedDuration, Timestamp};

use super::{
    check::{Outcome, VerificationCheck},
    error::VerifyError,
    verified::VerifiedReport,
};
use crate::{
    certificate::CertificateError,
    chain::Chain,
    crl::{Crl, CrlError},
    endorsement::EndorsementKind,
    report::Report,
    vek::{Identity, Vek},
};

/// The value that the guest had to have the chip sign: the dialect's hash of the nonce and the guest's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportData(pub [u8; 64]);

/// A chain with the revocation lists of its ARK.
#[derive(Debug, Clone)]
pub struct Endorsements {
    /// The signing key's certificate and its way to an anchor.
    pub chain: Arc<Chain>,
    /// The ARK's revocation list for VEKs of this kind, which must count now.
    pub crl: Arc<Crl>,
    /// How long past its nextUpdate the list may still be used: zero unless AMD cannot be reached.
    pub crl_grace: SignedDuration,
    /// Other lists that the ARK signed: for VEKs of the other kind, or earlier ones. Every certificate that
    /// they list is revoked, too, however old the list is; none of these lists takes the place of `crl`.
    pub further_crls: Vec<Arc<Crl>>,
}

/// The inputs of the checks. Inputs that are `None` leave their checks [`Outcome::NotChecked`].
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The report.
    pub report: &'a Report,
    /// The value that the report must be bound to.
    pub report_data: Option<&'a ReportData>,
    /// The certificate of the key that should have signed it.
    pub vek: Option<&'a Vek>,
    /// The certificate's chain, or why there is none.
    pub chain: Option<Result<&'a Chain, CertificateError>>,
    /// The revocation list, or why there is none; and how long past nextUpdate it may be used.
    pub crl: Option<Result<(&'a Crl, SignedDuration), CrlError>>,
    /// Other lists of the same ARK, whose entries count beside that one's.
    pub further_crls: &'a [Arc<Crl>],
    /// CSP ids whose VLEKs are accepted.
    pub accepted_csp_ids: Option<&'a [String]>,
    /// The time.
    pub now: Timestamp,
}

type Rule = fn(&Inputs<'_>) -> Outcome<VerifyError>;

/// Makes the list of the rules of the rows in `table.rs`: what is there is checked always.
macro_rules! rules {
    ($(
        $(#[$doc:meta])+
        $check:ident {
            name: $name:literal,
            rule: $rule:ident,
            means: $means:literal,
            helps: $helps:literal,
        }
    )+) => {
        /// Every check with its rule, in the table's order.
        const RULES: &[(VerificationCheck, Rule)] = &[$((VerificationCheck::$check, $rule)),+];
    };
}

checks!(rules);

/// Every check with what it came to, for people to read. Nothing can be built on it.
pub fn examine(inputs: &Inputs<'_>) -> Vec<(VerificationCheck, Outcome<VerifyError>)> {
    RULES.iter().map(|(check, rule)| (*check, rule(inputs))).collect()
}

/// The first check that fails on what is known before any endorsement is at hand. It can refuse early; that
/// it finds nothing means nothing.
pub fn refuse_early(
    report: &Report,
    report_data: &ReportData,
    now: Timestamp,
) -> Result<(), (VerificationCheck, VerifyError)> {
    let inputs = Inputs {
        report,
        report_data: Some(report_data),
        vek: None,
        chain: None,
        crl: None,
        further_crls: &[],
        accepted_csp_ids: None,
        now,
    };
    for &(check, rule) in RULES {
        rule(&inputs).not_failed().map_err(|error| (check, error))?;
    }
    Ok(())
}

/// Whether `vek` is the certificate that `report` names: kind, product, TCB and chip. Says nothing about
/// signatures.
pub fn belongs(report: &Report, vek: &Vek) -> bool {
    let inputs = Inputs {
        report,
        report_data: None,
        vek: Some(vek),
        chain: None,
        crl: None,
        further_crls: &[],
        accepted_csp_ids: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let rules: [Rule; 4] = [signing_key, product, reported_tcb, identity];
    !rules.iter().any(|rule| matches!(rule(&inputs), Outcome::Failed(_)))
}

/// Makes every check, in order, and stops at the first that does not hold.
pub fn verify(
    report: &Report,
    endorsements: &Endorsements,
    report_data: &ReportData,
    accepted_csp_ids: &[String],
    now: Timestamp,
) -> Result<VerifiedReport, (VerificationCheck, VerifyError)> {
    let inputs = Inputs {
        report,
        report_data: Some(report_data),
        vek: Some(endorsements.chain.vek()),
        chain: Some(Ok(&endorsements.chain)),
        crl: Some(Ok((&endorsements.crl, endorsements.crl_grace))),
        further_crls: &endorsements.further_crls,
        accepted_csp_ids: Some(accepted_csp_ids),
        now,
    };
    for &(check, rule) in RULES {
        rule(&inputs).required(VerifyError::NotChecked(check)).map_err(|error| (check, error))?;
    }
    Ok(VerifiedReport::new(report, &endorsements.chain))
}

/// The report answers this challenge, for this key: all 64 bytes, in constant time.
fn challenge(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let Some(ReportData(expected)) = inputs.report_data else { return Outcome::NotChecked };
    verify_slices_are_equal(expected, inputs.report.report_data()).map_err(|_| VerifyError::Challenge).into()
}

/// The firmware was not told to leave the signature out.
fn signed(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    if inputs.report.mask_chip_key() || inputs.report.signing_key().is_none() {
        return Outcome::Failed(VerifyError::Unsigned);
    }
    Outcome::Passed
}

/// A VLEK never stands in for a VCEK, nor the other way round.
fn signing_key(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let Some(vek) = inputs.vek else { return Outcome::NotChecked };
    match inputs.report.signing_key() {
        Some(report) if report == vek.kind() => Outcome::Passed,
        Some(report) => Outcome::Failed(VerifyError::SigningKey { report, certificate: vek.kind() }),
        None => Outcome::Failed(VerifyError::Unsigned),
    }
}

/// Signatures, names and kinds up to a pinned ARK. That they were verified is what a [`Chain`] is.
fn chain(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    match inputs.chain {
        Some(Ok(_)) => Outcome::Passed,
        Some(Err(error)) => Outcome::Failed(error.into()),
        None => Outcome::NotChecked,
    }
}

/// All three certificates are valid at `now`.
fn validity(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let Some(Ok(chain)) = inputs.chain else { return Outcome::NotChecked };
    chain.check_validity(inputs.now).map_err(VerifyError::from).into()
}

/// The chain's own ARK has, in a list that counts at `now`, revoked neither the intermediate nor itself; nor
/// in any other.
fn revocation(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let (Some(Ok(chain)), Some(crl)) = (&inputs.chain, &inputs.crl) else { return Outcome::NotChecked };
    check_revocation(chain, crl, inputs.further_crls, inputs.now).into()
}

fn check_revocation(
    chain: &Chain,
    crl: &Result<(&Crl, SignedDuration), CrlError>,
    further_crls: &[Arc<Crl>],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let (crl, grace) = (*crl)?;
    if crl.anchor().fingerprint() != chain.intermediate().anchor().fingerprint() {
        return Err(CrlError::OtherAnchor.into());
    }
    crl.check_validity(now, grace)?;
    chain.check_revocation(crl)?;
    Ok(further_crls.iter().try_for_each(|crl| chain.check_revocation(crl))?)
}

/// The CPU is of a known product, and the certificate's. Version 2 reports do not say: the certificate
/// decides.
fn product(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let by_cpuid = match inputs.report.cpuid() {
        None => None,
        Some(cpuid) => match cpuid.product() {
            None => return Outcome::Failed(VerifyError::UnknownProduct(cpuid)),
            known => known,
        },
    };
    match (by_cpuid, inputs.vek) {
        (_, None) => Outcome::NotChecked,
        (Some(report), Some(vek)) if report != vek.product => {
            Outcome::Failed(VerifyError::Product { report, certificate: vek.product })
        }
        _ => Outcome::Passed,
    }
}

/// The key was derived for exactly the TCB that the platform reports.
fn reported_tcb(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let Some(vek) = inputs.vek else { return Outcome::NotChecked };
    let report = inputs.report.reported_tcb(vek.product);
    if report == Some(vek.tcb) {
        return Outcome::Passed;
    }
    // A signature is not looked at for a certificate that has no chain.
    if let (Some(reported), Some(_)) = (report, &inputs.chain)
        && vek.kind() == EndorsementKind::Vcek
        && inputs.report.current_tcb(vek.product) == Some(vek.tcb)
        && vek.has_signed(inputs.report.signed_bytes(), &inputs.report.signature())
    {
        return Outcome::Failed(VerifyError::SignedAtCurrentTcb { reported, current: vek.tcb });
    }
    Outcome::Failed(VerifyError::ReportedTcb { report, certificate: vek.tcb })
}

/// A VCEK's chip is the report's, all of CHIP_ID; a VLEK's provider is accepted.
fn identity(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let Some(vek) = inputs.vek else { return Outcome::NotChecked };
    match &vek.identity {
        Identity::Chip(hwid) => match inputs.report.chip_id().strip_prefix(hwid.as_slice()) {
            Some(rest) if rest.iter().all(|byte| *byte == 0) => Outcome::Passed,
            _ if inputs.report.chip_is_masked() => Outcome::Failed(VerifyError::ChipMasked),
            _ => Outcome::Failed(VerifyError::ChipId),
        },
        Identity::Provider(csp_id) => match inputs.accepted_csp_ids {
            None => Outcome::NotChecked,
            Some(accepted) if accepted.contains(csp_id) => Outcome::Passed,
            Some(accepted) => {
                Outcome::Failed(VerifyError::Provider { found: csp_id.clone(), accepted: accepted.to_vec() })
            }
        },
    }
}

/// The certificate's key signed the bytes as received.
fn signature(inputs: &Inputs<'_>) -> Outcome<VerifyError> {
    let Some(vek) = inputs.vek else { return Outcome::NotChecked };
    if vek.has_signed(inputs.report.signed_bytes(), &inputs.report.signature()) {
        return Outcome::Passed;
    }
    let (reported, current) =
        (inputs.report.reported_tcb(vek.product), inputs.report.current_tcb(vek.product));
    Outcome::Failed(match reported.zip(current) {
        Some((reported, current))
            if vek.kind() == EndorsementKind::Vcek
                && reported == vek.tcb
                && current != reported
                && matches!(identity(inputs), Outcome::Passed) =>
        {
            VerifyError::SignatureBesideCurrentTcb { reported, current }
        }
        _ => VerifyError::Signature,
    })
}
