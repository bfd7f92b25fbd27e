//! `keybroker verify`: it verifies one report and its certificates offline, and prints every check.

mod policy;
mod verdict;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    advisories::Advisories,
    appraisal::{self, Fleet},
    audit::EvidenceSummary,
    binding::NotBound,
    encoding::Hex,
    requirements::{AppraisalPolicy, EvidenceForm, Measurement, ReferenceValues},
};
use keybroker_snp::{
    anchors::TrustAnchors,
    certificate::CertificateError,
    chain::Chain,
    crl::{Crl, CrlError},
    product::Product,
    report::Report,
    vek::Vek,
    verify::{self, Outcome, ReportData, VerificationCheck},
};

use self::{
    policy::{PolicyArgs, Tried},
    verdict::Verdict,
};
use crate::{
    evidence::{self, Endorsement, Evidence, Rejected},
    exit::{Exit, Failure, Unusable},
    fleet::FleetArgs,
    hex, when,
};

/// Verify one attestation report offline, against AMD's roots
///
/// The command makes every check that the broker makes, and shows each as passed, failed, or not checked
/// because you did not give its input.
#[derive(Debug, Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker verify --report report.bin --endorsement vcek.der
  keybroker verify --report report.bin --endorsement vlek.der \\
      --endorsement asvk.der --accept-csp-id CN=cc-us-east-2.amazonaws.com
  keybroker verify --report report.bin --endorsement vcek.der \\
      --crl crl.der --measurement $MEASUREMENT --json
  With the host's certificate table, as configfs-tsm has it in auxblob:
      keybroker verify --report outblob --endorsement auxblob
  keybroker verify --report report.bin --endorsement vcek.der \\
      --policy policy.rego --reference reference.json
  keybroker verify --report report.bin --endorsement vcek.der \\
      --query 'input.snp.reported_tcb.snp >= 8' --query 'input.snp.vmpl == 0'

A policy alone grants nothing: the broker evaluates it only after every other check holds. A query that does not give \
true is a check that failed.

The command ends with 0 if every check that was made holds, with 3 if one failed, and with 1 if none failed, but you \
gave no certificate of the signing key.

{}", Exit::TABLE))]
pub(crate) struct VerifyArgs {
    /// The report: 1184 bytes, raw, in hex or in base64; alone, with the host's certificate table behind it,
    /// in the driver's answer, or in Azure's blob
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// Certificates: one VCEK or VLEK, and for a VLEK its ASVK, in any order; as DER, PEM, the host's
    /// certificate table, or the answer of Azure's THIM
    #[arg(long = "endorsement", value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// The revocation list (CRL) of the product's ARK, as DER or PEM
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// The time to verify at [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = when::time)]
    at: Option<Timestamp>,
    /// A launch measurement that you expect, 96 hex digits
    #[arg(long = "measurement", value_name = "HEX", value_parser = hex::parse::<48>)]
    measurements: Vec<Hex<48>>,
    /// The REPORT_DATA that the report must have: 128 hex digits, or a file of these 64 bytes, such as
    /// snpguest's request file. With Azure's blob: the 64 bytes that the guest wrote into the vTPM
    #[arg(long, value_name = "HEX|FILE", value_parser = Bound::parse)]
    report_data: Option<Bound>,
    /// The HOST_DATA that the report must have: 64 hex digits, or base64
    #[arg(long, value_name = "HEX", value_parser = hex::parse_or_base64::<32>)]
    host_data: Option<Hex<32>>,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let inputs = Given::read(args)?;
    let verdict = inputs.examine();
    if args.json {
        let verdict = serde_json::to_string_pretty(&verdict).context("printing the verdict")?;
        writeln!(io::stdout(), "{verdict}").context("printing the verdict")?;
    } else {
        verdict.print_table().context("printing the verdict")?;
    }
    if verdict.failed > 0 {
        return Ok(Exit::Denied);
    }
    if inputs.vek.is_none() {
        let error = anyhow!("you gave no certificate of the signing key, so the signature was not checked");
        return Err(
            Failure::from(error).hint("give the chip's VCEK or the provider's VLEK with --endorsement")
        );
    }
    Ok(Exit::Ok)
}

/// The REPORT_DATA that the report must have.
#[derive(Debug, Clone)]
enum Bound {
    To(Hex<64>),
    /// The 64 bytes in this file.
    ToFile(PathBuf),
}

impl Bound {
    fn parse(text: &str) -> Result<Self, String> {
        match hex::parse(text) {
            Ok(hex) => Ok(Self::To(hex)),
            Err(_) if Path::new(text).is_file() => Ok(Self::ToFile(text.into())),
            Err(error) => Err(format!("{error}, and not a file")),
        }
    }

    fn read(&self) -> anyhow::Result<ReportData> {
        match self {
            Self::To(hex) => Ok(ReportData(hex.0)),
            Self::ToFile(path) => evidence::fixed(path).map(ReportData),
        }
    }
}

/// Everything that the command was given. A file that cannot be read ends the command without a verdict.
struct Given<'a> {
    args: &'a VerifyArgs,
    fleet: Fleet,
    advisories: Arc<Advisories>,
    now: Timestamp,
    report: Report,
    form: EvidenceForm,
    /// The REPORT_DATA that the report must have, where it is known. Azure's claims may not be those that the
    /// report binds.
    report_data: Result<Option<ReportData>, NotBound>,
    /// Whether any certificate was given.
    certified: bool,
    vek: Option<Vek>,
    chain: Option<Result<Chain, CertificateError>>,
    crl: Option<Result<Crl, CrlError>>,
    /// Whether the certificates themselves are in order.
    certificates: Result<(), String>,
    policy: Option<Tried>,
}

impl<'a> Given<'a> {
    fn read(args: &'a VerifyArgs) -> Result<Self, Failure> {
        let (fleet, advisories) = args.fleet.read()?;
        let anchors = TrustAnchors::amd();
        let arks = Product::ALL.map(|product| anchors.arks(product)).concat();
        let (sent, came_with) = Evidence::with_report(&args.report)?;
        let read = sent.read().map_err(anyhow::Error::from)?;
        let (report, form) = (read.report().clone(), read.form());
        let mut ders: Vec<(&Path, Vec<u8>)> = came_with.into_iter().map(|der| (&*args.report, der)).collect();
        for path in &args.endorsements {
            ders.extend(Evidence::certificates(path)?.into_iter().map(|der| (&**path, der)));
        }
        let mut veks: BTreeMap<&Path, Vec<Vek>> = BTreeMap::new();
        let mut intermediates = Product::ALL.map(|product| anchors.asks(product)).concat();
        let mut certificates = Ok(());
        for (path, der) in &ders {
            match Endorsement::of(der, &arks) {
                Ok(Endorsement::Vek(vek)) => {
                    let of_file = veks.entry(path).or_default();
                    if of_file.iter().all(|other| other.der() != der) {
                        of_file.push(vek);
                    }
                }
                Ok(Endorsement::Intermediate(intermediate)) => intermediates.push(intermediate),
                Ok(Endorsement::Ark) => {}
                Ok(Endorsement::List(_)) => {
                    say!("note: the revocation list in {} is ignored: give it with --crl", path.display())
                }
                Err(Rejected::Denied(error)) => certificates = Err(format!("{}: {error}", path.display())),
                Err(Rejected::Unread(error)) => {
                    return Err(anyhow!("{error}").context(Unusable::content(path)).into());
                }
            }
        }
        let vek = signer(&report, veks)?;
        let chain =
            vek.as_ref().map(|vek| Vek::parse(vek.der()).and_then(|vek| Chain::verify(vek, &intermediates)));
        let list = args.crl.as_deref().map(list).transpose()?;
        let crl = list.map(|der| Crl::verify(&der, &arks));
        if let (Some(Err(error @ CrlError::Malformed)), Some(path)) = (&crl, &args.crl) {
            return Err(anyhow!("{error}").context(Unusable::content(path)).into());
        }
        Ok(Self {
            args,
            fleet,
            advisories,
            now: args.at.unwrap_or_else(Timestamp::now),
            report,
            form,
            report_data: match args.report_data.as_ref().map(Bound::read).transpose()? {
                Some(ReportData(bound)) => read.report_data(bound).map(|bound| Some(ReportData(bound))),
                None => read.check_claims().map(|()| None),
            },
            certified: !ders.is_empty(),
            vek,
            chain,
            crl,
            certificates,
            policy: args.policy.read()?,
        })
    }

    /// Makes every check.
    fn examine(&self) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.add("report", Outcome::<String>::Passed);
        verdict.add(
            "certificates",
            match &self.certificates {
                Ok(()) if !self.certified => Outcome::NotChecked,
                Ok(()) => Outcome::Passed,
                Err(error) => Outcome::Failed(error.clone()),
            },
        );
        let report = &self.report;
        for (check, outcome) in verify::examine(&self.verification()) {
            match (check, &self.report_data) {
                (VerificationCheck::Challenge, Err(error)) => {
                    verdict.add(check.name(), Outcome::Failed(error));
                }
                _ => verdict.add(check.name(), outcome),
            }
        }
        let product = self.vek.as_ref().map(|vek| vek.product);
        for (check, outcome) in self.appraise(product) {
            verdict.add(check.name(), outcome);
        }
        if let Some(policy) = &self.policy {
            verdict.add_policy(&policy.queries, policy.results(report, self.vek.as_ref()));
        }
        let signed = verdict.has_passed("signature");
        verdict.tcb = product.map(|product| self.advisories.verdict(report, product));
        verdict.evidence =
            Some(EvidenceSummary::of(report, self.form, product, signed && verdict.failed == 0));
        verdict
    }

    fn verification(&self) -> verify::Inputs<'_> {
        let csp_ids = self.fleet.accepted_csp_ids.as_slice();
        verify::Inputs {
            report: &self.report,
            report_data: self.report_data.as_ref().ok().and_then(Option::as_ref),
            vek: self.vek.as_ref(),
            chain: self.chain.as_ref().map(|chain| chain.as_ref().map_err(|error| *error)),
            crl: self.crl.as_ref().map(|crl| match crl {
                Ok(crl) => Ok((crl, SignedDuration::ZERO)),
                Err(error) => Err(*error),
            }),
            further_crls: &[],
            accepted_csp_ids: (!csp_ids.is_empty()).then_some(csp_ids),
            now: self.now,
        }
    }

    /// Appraises the report: by the floor that holds for every guest, and by what was given.
    fn appraise(
        &self,
        product: Option<Product>,
    ) -> Vec<(appraisal::AppraisalCheck, Outcome<appraisal::AppraisalError>)> {
        let measurements: Vec<_> = self.args.measurements.iter().map(|hex| Measurement(hex.0)).collect();
        let reference_values = (!measurements.is_empty()).then_some(ReferenceValues { measurements });
        let host_data = self.args.host_data;
        let policy = AppraisalPolicy { host_data, evidence: self.form, ..AppraisalPolicy::default() };
        let inputs = appraisal::Inputs {
            report: &self.report,
            form: self.form,
            product,
            fleet: &self.fleet,
            reference_values: reference_values.as_ref(),
            policy: &policy,
            init_data: None,
        };
        let mut checks = appraisal::examine(&inputs);
        // The command has no arguments for a registration's other requirements.
        let given = [appraisal::AppraisalCheck::Measurement, appraisal::AppraisalCheck::HostData];
        checks.retain(|(check, _)| check.is_floor() || given.contains(check));
        // A registration that demands no HOST_DATA accepts any. Here nobody has given one to compare with.
        for (check, outcome) in &mut checks {
            if *check == appraisal::AppraisalCheck::HostData && host_data.is_none() {
                *outcome = Outcome::NotChecked;
            }
        }
        checks
    }
}

/// The certificate of the key that signed. One file, such as a host's table, may hold a VCEK and a VLEK: the
/// report says which of them signed. Certificates in several files contradict each other: each was given as
/// the signer's.
fn signer<'p>(
    report: &Report,
    files: impl IntoIterator<Item = (&'p Path, Vec<Vek>)>,
) -> Result<Option<Vek>, Failure> {
    let mut signer: Option<Vek> = None;
    for (_, mut veks) in files {
        if veks.len() > 1 {
            veks.retain(|vek| Some(vek.kind()) == report.signing_key());
        }
        let [vek] = <[Vek; 1]>::try_from(veks).map_err(|_| several_veks())?;
        if signer.as_ref().is_some_and(|other| other.der() != vek.der()) {
            return Err(several_veks());
        }
        signer = Some(vek);
    }
    Ok(signer)
}

/// The one revocation list in the file at `path`.
fn list(path: &Path) -> anyhow::Result<Vec<u8>> {
    <[Vec<u8>; 1]>::try_from(Evidence::certificates(path)?).map(|[der]| der).map_err(|ders| {
        anyhow!("it holds {} certificates and lists, and --crl takes one list", ders.len())
            .context(Unusable::content(path))
    })
}

/// The failure for several signers: a verdict by one of them would not say which.
fn several_veks() -> Failure {
    Failure::new(Exit::Usage, anyhow!("more than one VCEK or VLEK was given"))
        .hint("a report has one signer: give only its certificate, and those above it")
}
