//! Text of strangers, as it stands in records: it steers neither a terminal nor a spreadsheet.

use jiff::SignedDuration;
use keybroker_common::{
    audit::{AuditRecord, Decision, EvidenceSummary, FailedCheck},
    ids::WorkloadId,
    requirements::EvidenceForm,
};
use keybroker_tests::operator::{Contents, Operator, record, workload};

/// Text that terminals obey, that spreadsheets take for a formula, and that ends a cell or a row.
const TEXTS: [&str; 14] = [
    "=HYPERLINK(\"http://x\",\"a\")",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\r\n=1,=1",
    "\",=1,\"",
    "a;=1",
    "＝1",
    "\u{1b}]0;title\u{7}\u{1b}[2J",
    "\u{9b}31m\u{85}\u{7f}\0",
    "\u{202e}txt.exe\u{2066}\u{200b}",
    "\u{2028}=1\u{2029}=1",
];

fn records() -> Vec<AuditRecord> {
    let ago = SignedDuration::from_mins(10);
    let ids = ["=1+1", "-w", "@w", "+w", "＝w", "a;=1", "a,=1"].map(|id| WorkloadId::new(id).unwrap());
    let of = |(index, text): (usize, &&str)| {
        let text = (*text).to_owned();
        let evidence = EvidenceSummary {
            verified: false,
            form: EvidenceForm::default(),
            report_version: 3,
            measurement: text.clone(),
            chip_id: text.clone(),
            product: None,
            endorsement: None,
            reported_tcb: None,
            policy: text.clone(),
            vmpl: 0,
            host_data: None,
            id_key_digest: None,
        };
        AuditRecord {
            principal: Some(text.clone()),
            reason: Some(text.clone()),
            secret: Some(text.clone()),
            secrets: vec![text.clone(), text.clone()],
            evidence: Some(evidence),
            failed: Some(FailedCheck { check: text.clone(), cause: text }),
            ..record(&ids[index % ids.len()], Decision::Refused, ago)
        }
    };
    TEXTS.iter().enumerate().map(of).collect()
}

/// Whether a terminal shows every character of it, and in its place.
fn is_plain(text: &str) -> bool {
    let steers = |c: char| {
        let invisible = ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{2028}'..='\u{202e}').contains(&c);
        c != '\n' && (c.is_control() || invisible || ('\u{2060}'..='\u{206f}').contains(&c))
    };
    !text.chars().any(steers)
}

/// The cells of comma-separated values, row by row.
fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quoted) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => cell.push('"'),
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut cell)),
            ('\n', false) => {
                row.push(std::mem::take(&mut cell).trim_end_matches('\r').to_owned());
                rows.push(std::mem::take(&mut row));
            }
            _ => cell.push(c),
        }
    }
    rows
}

#[tokio::test]
async fn what_strangers_wrote_steers_neither_a_terminal_nor_a_spreadsheet() {
    let records = records();
    let workloads = vec![workload("=1+1", Some("\u{1b}[2J=1"), SignedDuration::from_mins(9))];
    let operator =
        Operator::file(&Contents { workloads, records: records.clone(), ..Contents::default() }).await;
    let all = ["audit", "--since", "1h"];
    let first = records[0].id.to_string();
    for more in [&[][..], &["--json"], &["--json-lines"], &["--limit", "99"], &["--decision", "refused"]] {
        let ended = operator.run(&[&all[..], more].concat());
        assert!(ended.code == Some(0) && is_plain(&ended.out) && is_plain(&ended.log), "{more:?}: {ended:?}");
    }
    for record in &records {
        for more in [&[][..], &["--json"]] {
            let ended = operator.run(&[&["audit", &record.id.to_string()], more].concat());
            assert!(is_plain(&ended.out) && is_plain(&ended.log), "{more:?}: {ended:?}");
        }
    }
    for arguments in [
        &["audit", "--check", TEXTS[10], "--since", "1h"][..],
        &["audit", "--principal", TEXTS[12], "--since", "1h"],
        &["audit", "--released", "--since", "1h"],
        &["audit", "export"],
        &["workload", "list"],
        &["workload", "list", "--json"],
        &["workload", "show", "--", "=1+1"],
        &["workload", "show", "\u{1b}[2J"],
        &["workload", "revoke", "--owner", "\u{1b}[2J=1", "--dry-run"],
        &["token", "show", "\u{1b}[2J"],
        &["token", "show", "--token-file", "/\u{202e}\r\u{7f}"],
        &["verify", "--report", "\u{1b}[2J"],
        &["doctor"],
    ] {
        let ended = operator.run(arguments);
        assert!(is_plain(&ended.out) && is_plain(&ended.log), "{arguments:?}: {ended:?}");
    }
    let csv = operator.out(&[&all[..], &["--csv"]].concat());
    let rows = cells(&csv);
    assert_eq!(rows.len(), records.len() + 2, "a header, the records, and that of the registration");
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{rows:?}");
    let formulas = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', ' '];
    let begins = |cell: &&String| cell.starts_with(formulas);
    assert_eq!(rows.iter().flatten().find(begins), None);
    assert!(is_plain(&csv.replace("\r\n", "\n")) && csv.contains(&first), "{csv}");
}
