//! The cost of an attestation, beside `sev` doing the same in the same run.
//!
//! `sev` checks signatures alone, so that the two are not equal work: it is the baseline, not a rival.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../tests/support/peer.rs"]
mod peer;

use std::{hint::black_box, sync::Arc};

use criterion::Criterion;
use keybroker_simulator::pki::pem;
use keybroker_snp::{
    anchors::pem_certificates,
    authority::TrustAnchor,
    chain::{Chain, Intermediate},
    product::Product::Milan,
    report::Report,
    vek::Vek,
    verify::{Endorsements, ReportData, verify},
};
use keybroker_testing::Attempt;
use peer::sev_report;
use sev::certs::snp::{Certificate, Chain as SevChain, Verifiable, ca};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let case = Case::new();
    warm(&mut criterion, &case);
    rules(&mut criterion, &case);
    new_vcek(&mut criterion, &case);
    full_chain(&mut criterion, &case);
    criterion.final_summary();
}

/// A simulated Milan: its certificates and reports have the form and the algorithms of AMD's own.
struct Case {
    attempt: Attempt,
    report: Vec<u8>,
    report_data: ReportData,
    endorsements: Endorsements,
    intermediate: Arc<Intermediate>,
    vek: Vec<u8>,
    ask_pem: String,
    ark_pem: String,
}

impl Case {
    fn new() -> Self {
        let attempt = Attempt::vcek(Milan);
        let endorsements = attempt.endorsements().unwrap();
        Self {
            report: attempt.report_bytes(),
            report_data: ReportData(attempt.report_data),
            intermediate: Arc::clone(endorsements.chain.intermediate()),
            vek: endorsements.chain.vek().der().to_vec(),
            ask_pem: pem(endorsements.chain.intermediate().der()),
            ark_pem: pem(&attempt.ark_der()),
            endorsements,
            attempt,
        }
    }

    fn verify(&self, report: &[u8], endorsements: &Endorsements) -> bool {
        let report = Report::parse(report).unwrap();
        let Attempt { accepted_csp_ids, now, .. } = &self.attempt;
        verify(&report, endorsements, &self.report_data, accepted_csp_ids, *now).is_ok()
    }

    fn with_chain(&self, chain: Chain) -> Endorsements {
        Endorsements { chain: Arc::new(chain), ..self.endorsements.clone() }
    }
}

/// The chain is in hand, as for every attestation of a chip but its first.
fn warm(criterion: &mut Criterion, case: &Case) {
    let mut group = criterion.benchmark_group("warm");
    group.bench_function("keybroker", |bencher| {
        bencher.iter(|| assert!(case.verify(black_box(&case.report), &case.endorsements)));
    });
    let vek = Certificate::from_der(&case.vek).unwrap();
    group.bench_function("sev", |bencher| {
        bencher.iter(|| (&vek, &sev_report(black_box(&case.report)).unwrap()).verify().unwrap());
    });
    group.finish();
}

/// The same without the P-384 signature: a report that is refused by the check before it, after all the
/// others.
fn rules(criterion: &mut Criterion, case: &Case) {
    let mut group = criterion.benchmark_group("without-signature");
    let mut report = case.report.clone();
    report[0x1DF] ^= 1;
    group.bench_function("keybroker", |bencher| {
        bencher.iter(|| assert!(!case.verify(black_box(&report), &case.endorsements)));
    });
    group.bench_function("sev-parse", |bencher| {
        bencher.iter(|| sev_report(black_box(&case.report)).unwrap());
    });
    group.finish();
}

/// The chip's certificate is new, its issuer is known.
fn new_vcek(criterion: &mut Criterion, case: &Case) {
    let mut group = criterion.benchmark_group("new-vcek");
    group.bench_function("keybroker", |bencher| {
        let intermediates = [Arc::clone(&case.intermediate)];
        bencher.iter(|| {
            let vek = Vek::parse(black_box(&case.vek)).unwrap();
            let endorsements = case.with_chain(Chain::verify(vek, &intermediates).unwrap());
            assert!(case.verify(&case.report, &endorsements));
        });
    });
    let ask = Certificate::from_pem(case.ask_pem.as_bytes()).unwrap();
    group.bench_function("sev", |bencher| {
        bencher.iter(|| {
            let vek = Certificate::from_der(black_box(&case.vek)).unwrap();
            (&ask, &vek).verify().unwrap();
            (&vek, &sev_report(&case.report).unwrap()).verify().unwrap();
        });
    });
    group.finish();
}

/// Nothing is known but bytes, as in a process that just started.
fn full_chain(criterion: &mut Criterion, case: &Case) {
    let mut group = criterion.benchmark_group("full-chain");
    let certificate = |pem: &str| pem_certificates(pem.as_bytes()).unwrap().remove(0);
    group.bench_function("keybroker", |bencher| {
        bencher.iter(|| {
            let anchors = [Arc::new(TrustAnchor::new(&certificate(black_box(&case.ark_pem))).unwrap())];
            let intermediate = Intermediate::verify(&certificate(&case.ask_pem), &anchors).unwrap();
            let vek = Vek::parse(&case.vek).unwrap();
            let endorsements = case.with_chain(Chain::verify(vek, &[Arc::new(intermediate)]).unwrap());
            assert!(case.verify(&case.report, &endorsements));
        });
    });
    group.bench_function("sev", |bencher| {
        bencher.iter(|| {
            let chain = SevChain {
                ca: ca::Chain {
                    ark: Certificate::from_pem(black_box(case.ark_pem.as_bytes())).unwrap(),
                    ask: Certificate::from_pem(case.ask_pem.as_bytes()).unwrap(),
                },
                vek: Certificate::from_der(&case.vek).unwrap(),
            };
            (&chain, &sev_report(&case.report).unwrap()).verify().unwrap();
        });
    });
    group.finish();
}
