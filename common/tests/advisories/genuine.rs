//! The genuine reports, by the table that this release ships: each verdict as a person gives it who reads the
//! report and the table.

use keybroker_common::advisories::{Advisories, Verdict};
use keybroker_snp::{
    product::{Product, TcbVersion},
    report::Report,
    silicon::Cpuid,
};
use keybroker_testing::genuine::{Genuine, sev_sample, vector};

/// The verdict on a report, with the numbers of its silicon's rows and of those that are unconfirmed.
type Expected<'a> = (Verdict, &'a [&'a str], (u16, u16), Option<&'a str>);

fn assert_judged(genuine: &Genuine, (verdict, bulletins, (rows, unconfirmed), silicon): Expected<'_>) {
    let report = Report::parse(&genuine.report).unwrap();
    let judged = Advisories::shipped().verdict(&report, genuine.product);
    let name = genuine.name;
    assert_eq!(judged.verdict, verdict, "{name}: {judged}");
    assert_eq!(judged.bulletins, bulletins, "{name}");
    assert_eq!((judged.rows, judged.unconfirmed), (rows, unconfirmed), "{name}");
    assert_eq!(judged.silicon.and_then(Cpuid::name), silicon, "{name}");
    let [reported, committed] = [report.reported_tcb(genuine.product), report.committed_tcb(genuine.product)];
    assert_eq!(judged.committed.or(reported), committed, "{name}");
}

/// Version 2 names no silicon, whatever its levels.
#[test]
fn nobody_can_say_of_which_silicon_reports_of_version_2_are() {
    let names = ["sev-milan", "trustee-milan", "go-milan"];
    for genuine in std::iter::once(sev_sample()).chain(names.into_iter().filter_map(vector)) {
        assert_judged(&genuine, (Verdict::NoSilicon, &[], (0, 0), None));
    }
}

/// SNP 24 is what SB-3019 demands, and the alias check was made (SB-3015). Microcode 217 is less than 219,
/// the report is of version 3 and has no mitigation vector, and SNP 27 is demanded since.
#[test]
fn a_milan_of_a_cloud_in_2025() {
    let Some(genuine) = vector("trustee-milan-vlek") else { return };
    let bulletins = ["AMD-SB-3019", "AMD-SB-3020", "AMD-SB-3027", "AMD-SB-3023", "AMD-SB-3016"];
    assert_judged(&genuine, (Verdict::Behind, &bulletins, (8, 8), Some("milan-b1")));
    // The host reports less than it committed to.
    let report = Report::parse(&genuine.report).unwrap();
    let judged = Advisories::shipped().verdict(&report, Product::Milan);
    let committed = TcbVersion { fmc: None, boot_loader: 4, tee: 0, snp: 24, microcode: 219 };
    assert_eq!(judged.committed, Some(committed));
}

/// Microcode 25 is what SB-3019 demands of this silicon: Genoa's 84 is of other silicon. SNP 23 is behind the
/// 27 that two bulletins of 2026 demand. Three rows have no number.
#[test]
fn a_siena_of_2025() {
    let Some(genuine) = vector("trustee-e2e-siena-v3") else { return };
    let bulletins = ["AMD-SB-3023", "AMD-SB-3016"];
    assert_judged(&genuine, (Verdict::Behind, &bulletins, (8, 8), Some("bergamo-siena")));
}

/// SNP 4 and microcode 81 are all that the table demands. Nobody read that at AMD, so it is not up to date.
#[test]
fn a_turin_of_2026() {
    let Some(genuine) = vector("ms-turin") else { return };
    assert_judged(&genuine, (Verdict::BehindNothing, &[], (7, 7), Some("turin-c1")));
    let report = Report::parse(&genuine.report).unwrap();
    let judged = Advisories::shipped().verdict(&report, Product::Turin);
    assert_eq!(judged.to_string(), "behind nothing in a table of 2026-11-29, 7 of 7 rows unconfirmed");
    assert_eq!(judged.committed, None, "it is the reported one");
}
