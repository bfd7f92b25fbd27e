//! `keybroker verify`: one report and its certificates, offline, every check in a table.

mod policy;
mod verdict;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    appraisal::{self, AppraisalPolicy, Fleet, Measurement, ReferenceValues},
    audit::EvidenceSummary,
    encoding::Hex,
    snp::{
        anchors::{TrustAnchors, pem_certificates},
        certificate::{CertificateError, Defect, Role},
        chain::{Chain, Intermediate, TrustAnchor},
        crl::{Crl, CrlError},
        product::Product,
        report::{ParseError, Report},
        vek::Vek,
        verify::{self, Outcome, ReportData},
    },
};

use self::{
    policy::{PolicyArgs, Tried},
    verdict::Verdict,
};
use crate::{
    exit::{Exit, Failure},
    fleet::FleetArgs,
};

/// Verify one attestation report offline, against AMD's roots
///
/// Makes every check that the broker makes and shows each: passed, failed, or not checked because its input was not given.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  keybroker verify --report report.bin --endorsement vcek.der
  keybroker verify --report report.bin --endorsement vlek.der \\
      --endorsement asvk.der --accept-csp-id CN=cc-us-east-2.amazonaws.com
  keybroker verify --report report.bin --endorsement vcek.der \\
      --crl crl.der --measurement $MEASUREMENT --json
  keybroker verify --report report.bin --endorsement vcek.der \\
      --policy policy.rego --reference reference.json
  keybroker verify --report report.bin --endorsement vcek.der \\
      --query 'input.snp.reported_tcb.snp >= 8' --query 'input.snp.vmpl == 0'

A policy alone grants nothing: the broker asks it only once every check before it holds. A query that does not give true is a \
check that failed.

Exit status: 0 every check that was made holds, 3 one failed, 1 it could not be done (a file cannot be read, a policy does not \
compile, no certificate was given), 2 wrong usage.")]
pub(crate) struct VerifyArgs {
    /// The report: 1184 bytes, or their hex
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// A certificate in DER or PEM: one VCEK or VLEK, and for a VLEK the ASVK; any order
    #[arg(long = "endorsement", value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// The CRL of the product's ARK, DER
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// The time to verify at [default: now]
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
    /// An expected launch measurement, 96 hex digits
    #[arg(long = "measurement", value_name = "HEX", value_parser = hex::<48>)]
    measurements: Vec<Hex<48>>,
    /// What the report must be bound to, 128 hex digits
    #[arg(long, value_name = "HEX", value_parser = hex::<64>)]
    report_data: Option<Hex<64>>,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
}

fn hex<const N: usize>(text: &str) -> Result<Hex<N>, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| "not hex".to_owned())?;
    bytes.try_into().map(Hex).map_err(|_| format!("not {} hex digits", 2 * N))
}

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let inputs = Inputs::read(args)?;
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
        let error = anyhow!("no certificate of the signing key was given, so the signature was not checked");
        return Err(
            Failure::from(error).hint("give the chip's VCEK or the provider's VLEK with --endorsement")
        );
    }
    Ok(Exit::Ok)
}

/// Everything read from files, parsed as far as it goes.
struct Inputs<'a> {
    args: &'a VerifyArgs,
    fleet: Fleet,
    now: Timestamp,
    report: Result<Report, ParseError>,
    vek: Option<Vek>,
    chain: Option<Result<Chain, CertificateError>>,
    crl: Option<Result<Crl, CrlError>>,
    /// What is wrong with the certificates themselves.
    certificates: Result<(), String>,
    policy: Option<Tried>,
}

impl<'a> Inputs<'a> {
    fn read(args: &'a VerifyArgs) -> Result<Self, Failure> {
        let anchors = TrustAnchors::amd();
        let report = Report::parse(&read_report(&args.report)?);
        let mut vek = None;
        let mut intermediates = Product::ALL.map(|product| anchors.asks(product)).concat();
        let mut certificates = Ok(());
        for path in &args.endorsements {
            let found = match certificates_in(read(path)?) {
                Ok(found) => found,
                Err(error) => {
                    certificates = Err(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            for der in found {
                match Endorsement::parse(&der, &anchors) {
                    Ok(Endorsement::Vek) if vek.as_ref().is_some_and(|other| *other != der) => {
                        return Err(several_veks());
                    }
                    Ok(Endorsement::Vek) => vek = Some(der),
                    Ok(Endorsement::Intermediate(intermediate)) => intermediates.push(intermediate),
                    // The pinned ARKs are the ones that count.
                    Ok(Endorsement::Ark) => {}
                    Err(error) => certificates = Err(format!("{}: {error}", path.display())),
                }
            }
        }
        let parse = |der: &Vec<u8>| Vek::parse(der).ok();
        let chain = vek.as_ref().and_then(parse).map(|vek| Chain::verify(vek, &intermediates));
        let arks = Product::ALL.map(|product| anchors.arks(product)).concat();
        let crl = args.crl.as_ref().map(|path| read(path)).transpose()?;
        Ok(Self {
            args,
            fleet: args.fleet.read()?,
            now: args.at.unwrap_or_else(Timestamp::now),
            report,
            vek: vek.as_ref().and_then(parse),
            chain,
            crl: crl.map(|der| Crl::verify(&der, &arks)),
            certificates,
            policy: args.policy.read()?,
        })
    }

    /// Makes every check.
    fn examine(&self) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.add(
            "report",
            match &self.report {
                Ok(_) => Outcome::Passed,
                Err(error) => Outcome::Failed(error.to_string()),
            },
        );
        verdict.add(
            "certificates",
            match &self.certificates {
                Ok(()) if self.args.endorsements.is_empty() => Outcome::NotChecked,
                Ok(()) => Outcome::Passed,
                Err(error) => Outcome::Failed(error.clone()),
            },
        );
        let Ok(report) = &self.report else { return verdict };
        let report_data = self.args.report_data.map(|hex| ReportData(hex.0));
        for (check, outcome) in verify::examine(&self.verification(report, report_data.as_ref())) {
            verdict.add(check.name(), outcome);
        }
        let product = self.vek.as_ref().map(|vek| vek.product);
        for (check, outcome) in self.appraise(report, product) {
            verdict.add(check.name(), outcome);
        }
        if let Some(policy) = &self.policy {
            verdict.add_policy(&policy.queries, policy.results(report, self.vek.as_ref()));
        }
        let signed = verdict.has_passed("signature");
        verdict.evidence = Some(EvidenceSummary::of(report, product, signed && verdict.failed == 0));
        verdict
    }

    fn verification<'b>(
        &'b self,
        report: &'b Report,
        report_data: Option<&'b ReportData>,
    ) -> verify::Inputs<'b> {
        let csp_ids = self.fleet.accepted_csp_ids.as_slice();
        verify::Inputs {
            report,
            report_data,
            vek: self.vek.as_ref(),
            chain: self.chain.as_ref().map(|chain| chain.as_ref().map_err(|error| *error)),
            crl: self.crl.as_ref().map(|crl| match crl {
                Ok(crl) => Ok((crl, SignedDuration::ZERO)),
                Err(error) => Err(*error),
            }),
            accepted_csp_ids: (!csp_ids.is_empty()).then_some(csp_ids),
            now: self.now,
        }
    }

    /// The floor that holds for everybody, and the measurement where one is expected.
    fn appraise(
        &self,
        report: &Report,
        product: Option<Product>,
    ) -> Vec<(appraisal::Check, Outcome<appraisal::AppraisalError>)> {
        let measurements: Vec<_> = self.args.measurements.iter().map(|hex| Measurement(hex.0)).collect();
        let reference_values = (!measurements.is_empty()).then_some(ReferenceValues { measurements });
        let policy = AppraisalPolicy::default();
        let inputs = appraisal::Inputs {
            report,
            product,
            fleet: &self.fleet,
            reference_values: reference_values.as_ref(),
            policy: &policy,
        };
        let mut checks = appraisal::examine(&inputs);
        // A registration's other requirements cannot be given here.
        checks.retain(|(check, _)| {
            appraisal::Check::FLOOR.contains(check) || *check == appraisal::Check::Measurement
        });
        checks
    }
}

enum Endorsement {
    Vek,
    Intermediate(Arc<Intermediate>),
    Ark,
}

impl Endorsement {
    /// Takes `der` for what its subject says it is.
    fn parse(der: &[u8], anchors: &TrustAnchors) -> Result<Self, CertificateError> {
        let arks = Product::ALL.map(|product| anchors.arks(product)).concat();
        let other = |error: &CertificateError| error.defect == Defect::Subject;
        match Vek::parse(der) {
            Err(error) if other(&error) => {}
            result => return result.map(|_| Self::Vek),
        }
        match Intermediate::verify(der, &arks) {
            Err(error) if other(&error) && error.role == Role::Ask => {
                TrustAnchor::new(der).map(|_| Self::Ark)
            }
            result => result.map(|intermediate| Self::Intermediate(Arc::new(intermediate))),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The report's bytes; hex, as tools print it, is decoded.
pub(crate) fn read_report(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = read(path)?;
    let digits: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    Ok(HEXLOWER_PERMISSIVE.decode(&digits).unwrap_or(bytes))
}

fn certificates_in(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, CertificateError> {
    if bytes.starts_with(b"-----BEGIN") { pem_certificates(&bytes) } else { Ok(vec![bytes]) }
}

/// A verdict by one of them would not say which.
fn several_veks() -> Failure {
    Failure::new(Exit::Usage, anyhow!("more than one VCEK or VLEK was given"))
        .hint("a report has one signer: give its certificate alone, and those above it")
}
