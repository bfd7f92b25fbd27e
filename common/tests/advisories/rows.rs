//! Each thing that a row demands, as rows of platforms that have it and that lack it.

use keybroker_common::advisories::{Advisories, Verdict};
use keybroker_simulator::report::ReportFields;
use keybroker_snp::report::Report;
use serde_json::{Value, json};

use super::{report, row, table, verdict};

const ALIAS_CHECK: u64 = 1 << 5;
const IOMMU_WRITES: u64 = 1 << 6;

/// The causes for which a report of milan-b1 misses the one row of a table.
fn misses(members: Value, report: &Report) -> Vec<String> {
    let table = table(&[row("AMD-SB-1", "milan-b1", members)]);
    let judged = verdict(&table, "milan-b1", report);
    let milan = keybroker_snp::product::Product::Milan;
    let misses: Vec<_> = table.rows()[0].misses(report, milan).iter().map(ToString::to_string).collect();
    assert_eq!(judged.is_behind(), !misses.is_empty(), "{judged}");
    assert_eq!(judged.bulletins.len(), usize::from(judged.is_behind()), "{judged}");
    misses
}

fn nothing(_: &mut ReportFields) {}

#[test]
fn each_level_is_a_least_one() {
    let milan = |levels| report("milan-b1", levels, nothing);
    for (component, name, place) in
        [("boot_loader", "bl", 1), ("tee", "tee", 2), ("snp", "snp", 3), ("microcode", "ucode", 4)]
    {
        let demanded = json!({"levels": {component: 7}});
        for (level, missed) in [(6, true), (7, false), (8, false), (255, false), (0, true)] {
            // Every other component is as low as it can be: a level that is not named demands nothing.
            let mut levels = [0; 5];
            levels[place] = level;
            let expected = missed.then(|| format!("reports {name} {level}, and 7 is the least"));
            let found = misses(demanded.clone(), &milan(levels));
            assert_eq!(found, Vec::from_iter(expected), "{component} {level}");
        }
    }
    // All that is missed is said.
    let both = misses(json!({"levels": {"snp": 7, "microcode": 9}}), &milan([0, 0, 0, 6, 8]));
    assert_eq!(both, ["reports snp 6, and 7 is the least", "reports ucode 8, and 9 is the least"]);
}

#[test]
fn fmc_is_a_level_of_turin() {
    let table = table(&[row("AMD-SB-1", "turin-c1", json!({"levels": {"fmc": 2}}))]);
    for (fmc, behind) in [(1, true), (2, false), (3, false)] {
        let report = report("turin-c1", [fmc, 0, 0, 0, 0], nothing);
        assert_eq!(verdict(&table, "turin-c1", &report).is_behind(), behind, "{fmc}");
    }
}

/// The key that signs is derived for REPORTED_TCB alone.
#[test]
fn the_reported_tcb_counts_and_no_other() {
    let demanded = json!({"levels": {"snp": 27}});
    let raised = report("milan-b1", [0, 0, 0, 26, 0], |fields| {
        let newer = keybroker_simulator::Tcb { snp: 30, ..fields.reported_tcb };
        (fields.current_tcb, fields.committed_tcb, fields.launch_tcb) = (newer, newer, newer);
    });
    assert_eq!(misses(demanded.clone(), &raised), ["reports snp 26, and 27 is the least"]);
    let lowered = report("milan-b1", [0, 0, 0, 27, 0], |fields| {
        let older = keybroker_simulator::Tcb { snp: 1, ..fields.reported_tcb };
        (fields.current_tcb, fields.committed_tcb, fields.launch_tcb) = (older, older, older);
    });
    assert!(misses(demanded, &lowered).is_empty());
}

#[test]
fn a_reserved_byte_of_the_tcb_shows_no_level() {
    let mut bytes = report("milan-b1", [0, 0, 0, 30, 230], nothing).as_bytes().to_vec();
    bytes[0x184] = 1;
    let report = Report::parse(&bytes).unwrap();
    let found = misses(json!({"levels": {"snp": 1}}), &report);
    assert_eq!(found, ["reports no level of snp, and 1 is the least"]);
}

#[test]
fn the_mitigations_that_are_verified_now_count() {
    let demanded = json!({"mitigations": [1, 3]});
    let with = |current, launch| {
        report("milan-b1", [0; 5], |fields| {
            (fields.current_mit_vector, fields.launch_mit_vector) = (current, launch)
        })
    };
    for (current, missing) in [
        (0b1010, None),
        (u64::MAX, None),
        (0b0010, Some("3")),
        (0b1000, Some("1")),
        (0b0101, Some("1+3")),
        (0, Some("1+3")),
    ] {
        // The vector at launch changes nothing.
        for launch in [0, u64::MAX] {
            let words = |bits| format!("has not verified the mitigation of bit {bits} (CURRENT_MIT_VECTOR)");
            assert_eq!(misses(demanded.clone(), &with(current, launch)), Vec::from_iter(missing.map(words)));
        }
    }
}

#[test]
fn a_report_without_vectors_shows_no_mitigation() {
    for version in [3, 4] {
        // The bytes of a vector that a report of an earlier version does not have count for nothing.
        let report = report("milan-b1", [0; 5], |fields| {
            (fields.version, fields.current_mit_vector) = (version, u64::MAX);
        });
        let found = misses(json!({"mitigations": [1]}), &report);
        assert_eq!(found, ["makes reports without mitigation vectors, so that none shows bit 1"]);
    }
}

#[test]
fn conditions_are_bits_of_platform_info() {
    let with = |platform_info| report("milan-b1", [0; 5], |fields| fields.platform_info = platform_info);
    for (condition, bit) in [("alias-check", ALIAS_CHECK), ("iommu-writes", IOMMU_WRITES)] {
        let demanded = json!({"conditions": [condition]});
        assert!(misses(demanded.clone(), &with(bit)).is_empty(), "{condition}");
        assert!(misses(demanded.clone(), &with(u64::MAX)).is_empty(), "{condition}");
        assert_eq!(misses(demanded, &with(!bit)).len(), 1, "{condition}");
    }
    assert_eq!(misses(json!({"conditions": ["alias-check", "iommu-writes"]}), &with(0)).len(), 2);
}

/// A row that demands nothing says that the bulletin exists, and that its numbers are not known.
#[test]
fn a_row_without_numbers_puts_nobody_behind_and_is_no_evidence() {
    for demanded in [json!({}), json!({"read_at_amd": "2026-12-01"})] {
        let table = table(&[row("AMD-SB-1", "milan-b1", demanded)]);
        let judged = verdict(&table, "milan-b1", &report("milan-b1", [0; 5], nothing));
        assert_eq!((judged.verdict, judged.rows, judged.unconfirmed), (Verdict::BehindNothing, 1, 1));
        assert_eq!(judged.to_string(), "behind nothing in a table of 2026-12-31, 1 of 1 rows unconfirmed");
    }
}

/// A table of three rows, of which the first `read` were read at AMD.
fn three(read: usize) -> Advisories {
    let rows = ["AMD-SB-1", "AMD-SB-2", "AMD-SB-3"].into_iter().enumerate().map(|(index, bulletin)| {
        let date = (index < read).then_some("2026-12-01");
        row(bulletin, "milan-b1", json!({"levels": {"snp": 10 + index}, "read_at_amd": date}))
    });
    table(&rows.collect::<Vec<_>>())
}

#[test]
fn only_rows_that_were_read_at_amd_make_a_platform_up_to_date() {
    let current = report("milan-b1", [0, 0, 0, 12, 0], nothing);
    for (read, verdict_then, words) in [
        (3, Verdict::UpToDate, "up to date by a table of 2026-12-31, all 3 rows read at AMD"),
        (2, Verdict::BehindNothing, "behind nothing in a table of 2026-12-31, 1 of 3 rows unconfirmed"),
        (0, Verdict::BehindNothing, "behind nothing in a table of 2026-12-31, 3 of 3 rows unconfirmed"),
    ] {
        let judged = verdict(&three(read), "milan-b1", &current);
        assert_eq!((judged.verdict, judged.to_string().as_str()), (verdict_then, words));
    }
    let behind = verdict(&three(3), "milan-b1", &report("milan-b1", [0, 0, 0, 10, 0], nothing));
    assert_eq!(behind.bulletins, ["AMD-SB-2", "AMD-SB-3"]);
    assert_eq!(
        behind.to_string(),
        "behind AMD-SB-2, AMD-SB-3 by a table of 2026-12-31, 0 of 3 rows unconfirmed"
    );
}

#[test]
fn other_silicon_has_its_own_words() {
    // Nothing of another stepping, or of the product, is held against it.
    for silicon in ["milan-x", "milan-b0", "genoa-b1", "turin-c1", "0x00A00F15"] {
        let judged = verdict(&three(3), silicon, &report(silicon, [0; 5], nothing));
        assert_eq!((judged.verdict, judged.rows), (Verdict::UnnamedSilicon, 0), "{silicon}");
        assert_eq!(judged.to_string(), "of silicon that the table of 2026-12-31 does not name");
    }
}

#[test]
fn version_2_has_its_own_words() {
    for snp in [0, 255] {
        let report = report("milan-b1", [0, 0, 0, snp, 0], |fields| fields.version = 2);
        let judged = verdict(&three(3), "milan-b1", &report);
        assert_eq!((judged.verdict, judged.silicon, judged.rows), (Verdict::NoSilicon, None, 0));
        let words = judged.to_string();
        assert!(words.starts_with("of unknown silicon: a report of version 2 does not name it"), "{words}");
    }
}
