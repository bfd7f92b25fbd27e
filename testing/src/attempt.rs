//! A guest's attempt to be verified, on simulated hardware: sound in every respect that a test does not
//! alter.

use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use keybroker_simulator::{
    pki::{Amd, CSP_ID, Ca, Chip, CrlOptions, Overrides, RsaKey, Vek as SimulatedVek, extension::Extension},
    report::{ReportFields, SIGNED_BY_VCEK, SIGNED_BY_VLEK, sign},
};
use keybroker_snp::{
    authority::TrustAnchor,
    certificate::{CertificateError, Defect, Role},
    chain::{Chain, Intermediate},
    crl::{Crl, CrlError},
    endorsement::EndorsementKind,
    product::Product,
    report::{ParseError, Report},
    vek::Vek,
    verify::{Endorsements, ReportData, VerificationCheck, VerifiedReport, VerifyError, verify},
};

use super::{simulated, time};

/// The time of every attempt, and that around which the simulated certificates are valid.
pub const NOW: &str = "2026-11-01T12:00:00Z";

/// The value that the reports of attempts are bound to.
pub const REPORT_DATA: [u8; 64] = [0xC4; 64];

/// Why an attempt fails, by the stage that refuses it.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    Certificate(CertificateError),
    Crl(CrlError),
    Report(ParseError),
    Verify(VerificationCheck, VerifyError),
}

/// A certificate's defect as an expectation.
pub fn certificate(role: Role, defect: Defect) -> Refusal {
    Refusal::Certificate(role.has(defect))
}

/// The evidence that is presented to the verifier.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub product: Product,
    pub kind: EndorsementKind,
    /// The chip that the certificate is made for.
    pub chip: Chip,
    pub fields: ReportFields,
    /// Bytes of the report before it is signed, altered: offset and value.
    pub signed_bytes: Vec<(usize, u8)>,
    /// The pinned ARK, where it is not the usual one.
    pub ark: Option<Overrides>,
    /// The ASK or ASVK.
    pub issuer: Overrides,
    pub vek: Overrides,
    pub crl: CrlOptions,
    pub crl_grace: SignedDuration,
    pub report_data: [u8; 64],
    pub accepted_csp_ids: Vec<String>,
    pub now: Timestamp,
}

impl Attempt {
    pub fn new(product: Product, kind: EndorsementKind) -> Self {
        let chip = Chip::new(simulated(product), 1);
        let mut fields = ReportFields { report_data: REPORT_DATA, ..ReportFields::new(&chip) };
        if kind == EndorsementKind::Vlek {
            fields.signing_key = SIGNED_BY_VLEK;
            fields.chip_id = [0; 64];
        }
        Self {
            product,
            kind,
            chip,
            fields,
            signed_bytes: Vec::new(),
            ark: None,
            issuer: Overrides::default(),
            vek: Overrides::default(),
            crl: CrlOptions::default(),
            crl_grace: SignedDuration::ZERO,
            report_data: REPORT_DATA,
            accepted_csp_ids: vec![CSP_ID.to_owned()],
            now: time(NOW),
        }
    }

    pub fn vcek(product: Product) -> Self {
        Self::new(product, EndorsementKind::Vcek)
    }

    pub fn vlek(product: Product) -> Self {
        Self::new(product, EndorsementKind::Vlek)
    }

    /// The attempt with its fields altered.
    pub fn fields(mut self, alter: impl FnOnce(&mut ReportFields)) -> Self {
        alter(&mut self.fields);
        self
    }

    /// The attempt with a VEK that is certified otherwise.
    pub fn certified(self, vek: Overrides) -> Self {
        Self { vek, ..self }
    }

    /// The attempt with one extension of the VEK replaced or added.
    pub fn extension(self, extension: Extension) -> Self {
        self.certified(Overrides { replace: vec![extension], ..Overrides::default() })
    }

    pub fn ark_der(&self) -> Vec<u8> {
        let amd = amd(self.product);
        self.ark.as_ref().map_or_else(|| amd.ark().to_vec(), |altered| amd.ca(Ca::Ark, altered))
    }

    pub fn issuer_der(&self) -> Vec<u8> {
        let ca = if self.kind == EndorsementKind::Vlek { Ca::Asvk } else { Ca::Ask };
        amd(self.product).ca(ca, &self.issuer)
    }

    /// The VEK as the simulator makes it: the certificate and the key that signs the report.
    pub fn simulated_vek(&self) -> SimulatedVek {
        match self.kind {
            EndorsementKind::Vcek => amd(self.product).vcek_with(&self.chip, &self.vek),
            EndorsementKind::Vlek => amd(self.product).vlek_with(CSP_ID, self.chip.tcb, &self.vek),
        }
    }

    pub fn crl_der(&self) -> Vec<u8> {
        amd(self.product).crl(&self.crl)
    }

    pub fn report_bytes(&self) -> Vec<u8> {
        let mut signed = self.fields.encode();
        for (offset, value) in &self.signed_bytes {
            *signed.get_mut(*offset).unwrap() = *value;
        }
        sign(&signed, &self.simulated_vek().key).to_vec()
    }

    pub fn anchors(&self) -> Result<Vec<Arc<TrustAnchor>>, Refusal> {
        Ok(vec![Arc::new(TrustAnchor::new(&self.ark_der())?)])
    }

    pub fn intermediate(&self) -> Result<Arc<Intermediate>, Refusal> {
        self.intermediate_under(&self.anchors()?)
    }

    fn intermediate_under(&self, anchors: &[Arc<TrustAnchor>]) -> Result<Arc<Intermediate>, Refusal> {
        Ok(Arc::new(Intermediate::verify(&self.issuer_der(), anchors)?))
    }

    pub fn parsed_vek(&self) -> Result<Vek, Refusal> {
        Ok(Vek::parse(&self.simulated_vek().certificate)?)
    }

    pub fn endorsements(&self) -> Result<Endorsements, Refusal> {
        let anchors = self.anchors()?;
        let intermediate = self.intermediate_under(&anchors)?;
        let chain = Chain::verify(self.parsed_vek()?, &[intermediate])?;
        let crl = Crl::verify(&self.crl_der(), &anchors)?;
        Ok(Endorsements {
            chain: Arc::new(chain),
            crl: Arc::new(crl),
            crl_grace: self.crl_grace,
            further_crls: Vec::new(),
        })
    }

    /// All that the broker does between receiving bytes and holding a [`VerifiedReport`].
    pub fn verify(&self) -> Result<VerifiedReport, Refusal> {
        self.verify_report(&self.report_bytes(), &self.endorsements()?)
    }

    /// The same for bytes that somebody else made, with endorsements at hand.
    pub fn verify_report(
        &self,
        report: &[u8],
        endorsements: &Endorsements,
    ) -> Result<VerifiedReport, Refusal> {
        let report = Report::parse(report)?;
        let report_data = ReportData(self.report_data);
        Ok(verify(&report, endorsements, &report_data, &self.accepted_csp_ids, self.now)?)
    }

    pub fn refusal(&self) -> Refusal {
        match self.verify() {
            Err(refusal) => refusal,
            Ok(_) => panic!("accepted: {self:?}"),
        }
    }
}

/// SIGNING_KEY for a kind.
pub fn signing_key(kind: EndorsementKind) -> u32 {
    match kind {
        EndorsementKind::Vcek => SIGNED_BY_VCEK,
        EndorsementKind::Vlek => SIGNED_BY_VLEK,
    }
}

/// The simulated AMD of a product: its keys are made once in a process.
pub fn amd(product: Product) -> &'static Amd {
    static AMD: [OnceLock<Amd>; 3] = [const { OnceLock::new() }; 3];
    RsaKey::prepare(&[RsaKey::Ark, RsaKey::Ask, RsaKey::Asvk]);
    let [milan, genoa, turin] = &AMD;
    let cell = match product {
        Product::Milan => milan,
        Product::Genoa => genoa,
        Product::Turin => turin,
    };
    cell.get_or_init(|| Amd::new(simulated(product), time(NOW)))
}

impl From<CertificateError> for Refusal {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error)
    }
}

impl From<CrlError> for Refusal {
    fn from(error: CrlError) -> Self {
        Self::Crl(error)
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self::Report(error)
    }
}

impl From<(VerificationCheck, VerifyError)> for Refusal {
    fn from((check, error): (VerificationCheck, VerifyError)) -> Self {
        Self::Verify(check, error)
    }
}
