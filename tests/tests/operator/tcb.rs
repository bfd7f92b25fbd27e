//! A fleet's levels, and the workloads on platforms that are behind, on each kind of store.

use jiff::SignedDuration;
use keybroker_common::{
    advisories::{TcbVerdict, Verdict},
    audit::{AuditRecord, Decision, EvidenceSummary},
};
use keybroker_native::EvidenceForm;
use keybroker_snp::{
    product::{Product, TcbVersion},
    report::Report,
    silicon::Cpuid,
};
use keybroker_tests::operator::{Contents, Operator, record, workload};
use serde_json::json;

/// The record of a guest of `workload` that attested on `chip`, so many days ago, with this verdict.
fn attested(id: &str, chip: u8, days: i64, snp: u8, verdict: Option<Verdict>) -> AuditRecord {
    let reported = TcbVersion { fmc: None, boot_loader: 4, tee: 0, snp, microcode: 222 };
    let evidence = EvidenceSummary {
        verified: true,
        report_version: 5,
        chip_id: data_encoding::HEXLOWER.encode(&[chip; 64]),
        product: Some(Product::Milan),
        reported_tcb: Some(reported),
        ..EvidenceSummary::of(&Report::blank(), EvidenceForm::Snp, None, false)
    };
    let tcb = verdict.map(|verdict| TcbVerdict {
        table: "2026-11-29".parse().unwrap(),
        verdict,
        bulletins: if verdict == Verdict::Behind { vec!["AMD-SB-3016".to_owned()] } else { Vec::new() },
        rows: 8,
        unconfirmed: 8,
        silicon: Cpuid::parse("milan-b1"),
        committed: (snp == 24).then_some(TcbVersion { snp: 27, ..reported }),
    });
    let id = keybroker_common::ids::WorkloadId::new(id).unwrap();
    let ago = SignedDuration::from_hours(24 * days);
    AuditRecord { evidence: Some(evidence), tcb, ..record(&id, Decision::Attested, ago) }
}

fn contents() -> Contents {
    let workloads = ["current", "lagging", "mended", "left", "before"];
    let refused =
        AuditRecord { decision: Decision::Refused, ..attested("current", 9, 1, 24, Some(Verdict::Behind)) };
    Contents {
        workloads: workloads.map(|id| workload(id, None, SignedDuration::from_hours(24 * 90))).to_vec(),
        records: vec![
            attested("current", 1, 1, 29, Some(Verdict::BehindNothing)),
            attested("current", 2, 1, 29, Some(Verdict::BehindNothing)),
            attested("current", 2, 2, 29, Some(Verdict::BehindNothing)),
            attested("lagging", 1, 1, 29, Some(Verdict::BehindNothing)),
            attested("lagging", 3, 2, 24, Some(Verdict::Behind)),
            // It was behind, and is not: on the same chip.
            attested("mended", 4, 3, 24, Some(Verdict::Behind)),
            attested("mended", 4, 1, 29, Some(Verdict::BehindNothing)),
            attested("left", 0, 40, 24, Some(Verdict::Behind)),
            // As a release without verdicts wrote it.
            attested("before", 5, 1, 24, None),
            refused,
        ],
        ..Contents::default()
    }
}

#[tokio::test]
async fn a_fleet_s_levels_are_a_table() {
    for operator in Operator::everywhere(&contents()).await {
        let kind = operator.kind;
        let document = operator.json(&["audit", "--since", "30d", "--tcb"]);
        let rows: Vec<_> = document["levels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let of = |tcb: &str| row[tcb]["snp"].as_u64();
                json!([
                    row["silicon"],
                    of("reported"),
                    of("committed"),
                    row["verdict"],
                    row["bulletins"],
                    row["guests"],
                    row["chips"]
                ])
            })
            .collect();
        let expected = [
            json!(["milan-b1", 29, 29, "behind-nothing", [], 5, 3]),
            json!(["milan-b1", 24, 27, "behind", ["AMD-SB-3016"], 2, 2]),
            json!([null, 24, null, null, [], 1, 1]),
        ];
        assert_eq!(rows, expected, "{kind}");
        let table = operator.out(&["audit", "--since", "90d", "--tcb"]);
        let lines: Vec<_> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "SILICON REPORTED COMMITTED VERDICT GUESTS CHIPS",
            "milan-b1 bl 4 tee 0 snp 29 ucode 222 bl 4 tee 0 snp 29 ucode 222 behind-nothing 5 3",
            "milan-b1 bl 4 tee 0 snp 24 ucode 222 bl 4 tee 0 snp 27 ucode 222 behind AMD-SB-3016 3 2 and masked ones",
            "milan bl 4 tee 0 snp 24 ucode 222 - - 1 1",
        ];
        assert_eq!(lines, expected, "{kind}");
        let one = operator.json(&["audit", "--workload", "current", "--tcb"]);
        assert_eq!(one["levels"].as_array().unwrap().len(), 1, "{kind}: {one}");
        assert_eq!(operator.run(&["audit", "--since", "1s", "--tcb"]).code, Some(0), "{kind}");
    }
}

#[tokio::test]
async fn workloads_on_platforms_that_are_behind_are_listed() {
    for operator in Operator::everywhere(&contents()).await {
        let document = operator.json(&["workload", "list", "--behind"]);
        let ids: Vec<_> =
            document["workloads"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        // One of its chips is behind, whatever the others are.
        assert_eq!(ids, ["lagging"], "{}", operator.kind);
    }
}
