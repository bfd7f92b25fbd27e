//! The cost of appraisal, and of sealing a secret to a guest's key.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::BTreeMap, hint::black_box};

use criterion::Criterion;
use jiff::Timestamp;
use keybroker_common::{
    appraisal::{Fleet, appraise},
    dialect::Dialect,
    ids::WorkloadId,
    requirements::{AppraisalPolicy, EvidenceForm, Measurement, ReferenceValues},
    secret::{Secret, seal::GuestKey},
    workload::{Registration, Workload},
};
use keybroker_simulator::pki::RsaKey;
use keybroker_snp::product::Product::Milan;
use keybroker_testing::Attempt;
use uuid::Uuid;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    native(&mut criterion);
    seal(&mut criterion);
    criterion.final_summary();
}

/// Every native requirement of a registration that sets none but the measurement.
fn native(criterion: &mut Criterion) {
    let verified = Attempt::vcek(Milan).verify().unwrap();
    let fleet = Fleet::default();
    let registration = Registration {
        serial: Uuid::from_u128(1),
        dialects: Dialect::Libkrun.into(),
        owner: None,
        reference_values: ReferenceValues {
            measurements: vec![Measurement(*verified.report().measurement())],
        },
        policy: AppraisalPolicy::default(),
        rego: None,
    };
    let workload = Workload {
        id: WorkloadId::new("web").unwrap(),
        registration: registration.to_bytes().unwrap(),
        secrets: BTreeMap::new(),
        first_registered_at: Timestamp::UNIX_EPOCH,
        revoked_at: None,
        released_at: None,
        restored_by: None,
        revocation: None,
    };
    let registered = workload.read().unwrap();
    criterion.bench_function("appraise", |bencher| {
        bencher
            .iter(|| appraise(black_box(&verified), EvidenceForm::Snp, &fleet, &registered, None).unwrap());
    });
}

/// A passphrase to a guest's key of 2048 bits, as libkrun makes it. `sev` has nothing of the kind.
fn seal(criterion: &mut Criterion) {
    let der = RsaKey::Rsa2048.public_key();
    // RSAPublicKey: the header of the SEQUENCE, that of the modulus with its leading zero, the modulus.
    let key = GuestKey::rsa(&der[9..265], &[1, 0, 1]).unwrap();
    let secret = Secret::new(vec![b's'; 32]);
    criterion.bench_function("seal", |bencher| bencher.iter(|| key.seal_pkcs1(black_box(&secret)).unwrap()));
}
