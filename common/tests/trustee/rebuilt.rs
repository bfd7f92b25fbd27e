//! Genuine reports, put together from each shape of their JSON, and verified.

use std::fs;

use keybroker_common::wire::trustee::evidence::read;
use keybroker_snp::{
    product::Product,
    report::Report,
    verify::{Inputs, Outcome, ReportData, VerificationCheck, examine},
};
use keybroker_testing::{
    genuine::{self, Genuine, skip, vector, vectors_directory},
    time,
};

use crate::shapes::{Shape, evidence, sayable};

/// Whether every check holds that can be made without AMD's revocation list.
fn verifies(genuine: &Genuine, report: &[u8]) -> bool {
    let (chain, report) = (genuine.chain().unwrap(), Report::parse(report).unwrap());
    let in_cloud = genuine.asvk.is_some();
    let csp_ids = ["CN=cc-us-east-2.amazonaws.com".to_owned()];
    let outcomes = examine(&Inputs {
        report: &report,
        report_data: Some(&ReportData(*report.report_data())),
        vek: Some(chain.vek()),
        chain: Some(Ok(&chain)),
        crl: None,
        further_crls: &[],
        accepted_csp_ids: in_cloud.then_some(&csp_ids),
        now: time(if in_cloud { "2025-06-01T00:00:00Z" } else { "2026-06-01T00:00:00Z" }),
    });
    let mut others = outcomes.into_iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Passed));
    others.next() == Some((VerificationCheck::Revocation, Outcome::NotChecked)) && others.next().is_none()
}

/// The samples that releases of `sev` wrote themselves.
#[test]
fn what_sev_wrote_of_a_genuine_report_is_that_report() {
    let Some(directory) = vectors_directory() else { return skip("samples of sev's JSON") };
    let mut count = 0;
    for name in ["sev-milan", "trustee-e2e-siena-v3", "ms-turin"] {
        for shape in ["A", "B", "C"] {
            let Ok(text) = fs::read_to_string(directory.join(format!("trustee-json/{shape}-{name}.json")))
            else {
                // The crate cannot write a report of version 5 with mitigation vectors in this shape.
                assert_eq!((shape, name), ("B", "ms-turin"));
                continue;
            };
            let genuine = vector(name).unwrap();
            let read = read(&format!(r#"{{"attestation_report":{text},"cert_chain":null}}"#)).unwrap();
            assert_eq!(read.report.bytes, genuine.report, "{shape} {name}");
            assert_eq!(read.certificates, Vec::<Vec<u8>>::new());
            assert!(verifies(&genuine, &read.report.bytes), "{shape} {name}");
            count += 1;
        }
    }
    assert_eq!(count, 8);
}

#[test]
fn every_genuine_report_comes_through_every_shape() {
    for genuine in genuine::all() {
        let turin = genuine.product == Product::Turin;
        for shape in Shape::ALL {
            let read = read(&evidence(shape, turin, &genuine.report).to_string()).unwrap();
            // Shape B has no mitigation vectors, so it lacks a part of what Turin signed.
            let whole = !(shape == Shape::B && turin);
            assert_eq!(read.report.bytes == genuine.report, whole, "{} {shape:?}", genuine.name);
            assert_eq!(read.report.bytes, sayable(shape, turin, &genuine.report));
            assert_eq!(verifies(&genuine, &read.report.bytes), whole, "{} {shape:?}", genuine.name);
        }
    }
}

/// Guests pass their evidence through maps that sort, and lay it out as they like.
#[test]
fn the_order_of_members_and_blanks_mean_nothing() {
    let genuine = genuine::sev_sample();
    for shape in Shape::ALL {
        let mut sorted = evidence(shape, false, &genuine.report);
        sorted.sort_all_objects();
        let reversed = reversed(&sorted);
        for text in [sorted.to_string(), reversed.to_string(), serde_json::to_string_pretty(&sorted).unwrap()]
        {
            assert_eq!(read(&text).unwrap().report.bytes, genuine.report, "{shape:?}");
        }
    }
}

fn reversed(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect()
        }
        other => other.clone(),
    }
}
