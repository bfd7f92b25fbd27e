//! Pages of records that a test makes up.

use jiff::SignedDuration;
use keybroker_common::{
    audit::{AuditRecord, Check, FailedCheck, Operation},
    ids::WorkloadId,
};

use super::*;
use crate::when::When;

const NOW: &str = "2026-11-29T08:35:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn record(decision: Decision, hours_ago: i64) -> AuditRecord {
    let time = now() - SignedDuration::from_hours(hours_ago);
    let workload_id = Some(WorkloadId::new("web").unwrap());
    AuditRecord { workload_id, ..AuditRecord::new(time, Operation::Attest, decision) }
}

fn refused(check: &str, cause: &str, hours_ago: i64) -> AuditRecord {
    let failed = Some(FailedCheck { check: check.to_owned(), cause: cause.to_owned() });
    AuditRecord { failed, ..record(Decision::Refused, hours_ago) }
}

fn page(records: &[AuditRecord]) -> String {
    let span = Span::new(When::parse("30d").unwrap(), None, now()).unwrap();
    let mut figures = Figures::of([]);
    records.iter().for_each(|record| figures.add(record));
    Page {
        span: &span,
        made: now(),
        place: &StorePlace::none(),
        figures: &figures,
        registrations: &Registrations::default(),
        lists: &[],
        unreadable: &[],
    }
    .html()
}

#[test]
fn a_page_begins_as_the_file_knows_it() {
    assert!(page(&[]).starts_with(BEGIN));
}

#[test]
fn text_of_strangers_is_text() {
    let hostile = "</style><script>alert(1)</script><a href=javascript:alert(1) onclick='x'>\"&\u{202e}";
    let mut records = vec![refused(hostile, hostile, 1), refused("measurement", hostile, 2)];
    records.push(AuditRecord { principal: Some(hostile.to_owned()), ..record(Decision::Registered, 3) });
    records.push(AuditRecord { secret: Some(hostile.to_owned()), ..record(Decision::Released, 4) });
    let page = page(&records);
    assert_eq!(page.matches("<script").count(), 0);
    assert_eq!(page.matches("</style>").count(), 1);
    assert_eq!(page.matches("<a href=javascript").count(), 0);
    assert!(!page.contains('\u{202e}'), "a character that is not shown is spelt out");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
}

#[test]
fn a_revocation_is_shown_with_its_reason() {
    let why = |reason: &str| AuditRecord { reason: Some(reason.to_owned()), ..record(Decision::Revoked, 1) };
    let page = page(&[why("INC-4711: <b>leak</b>")]);
    assert!(page.contains("<p>The reason that was given: INC-4711: &lt;b&gt;leak&lt;/b&gt;</p>"), "{page}");
}

/// The style is the only text that is not escaped, so it must be what the policy says.
#[test]
fn the_policy_allows_the_style_of_the_page_and_nothing_else() {
    let page = page(&[]);
    let (_, style) = page.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let digest = BASE64.encode(digest::digest(&digest::SHA256, style.as_bytes()).as_ref());
    assert!(page.contains(&format!("default-src 'none'; style-src 'sha256-{digest}'")), "{page}");
    for loads in ["url(", "@import", "image-set(", "http"] {
        assert!(!style.contains(loads), "{loads}");
    }
}

/// No element and no attribute that could load, run or send anything: a list of all that there are.
#[test]
fn a_page_has_only_elements_that_show() {
    const ELEMENTS: &str = "!DOCTYPE html head meta title style body header nav main section footer figure figcaption \
        h1 h2 h3 p ul ol li a b strong small span code div time details summary table thead tbody tr th td \
        svg circle path rect line";
    const ATTRIBUTES: &str = "lang charset name content http-equiv class id href aria-label aria-labelledby \
        aria-hidden role datetime scope viewBox preserveAspectRatio width height x y x1 x2 y1 y2 cx cy r d";
    let page =
        page(&[refused("measurement", "x", 1), record(Decision::Released, 40), refused("vmpl", "y", 500)]);
    for tag in page.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
        let (name, attributes) = tag.trim_start_matches('/').split_once(' ').unwrap_or((tag, ""));
        let name = name.trim_start_matches('/');
        assert!(ELEMENTS.split_whitespace().any(|known| known == name), "{tag}");
        for attribute in attributes.split('"').step_by(2).filter_map(|name| name.trim().strip_suffix('=')) {
            assert!(ATTRIBUTES.split_whitespace().any(|known| known == attribute), "{tag}");
        }
    }
}

#[test]
fn every_link_leads_to_an_element() {
    let page = page(&[refused("measurement", "x", 1), record(Decision::Released, 40)]);
    let mut links = 0;
    for link in page.split("href=\"#").skip(1) {
        let anchor = link.split('"').next().unwrap();
        assert_eq!(page.matches(&format!(" id=\"{anchor}\"")).count(), 1, "{anchor}");
        links += 1;
    }
    assert!(links >= 14, "{links}");
}

#[test]
fn the_headline_says_what_became_of_requests() {
    let headline = |records: &[AuditRecord]| {
        let page = page(records);
        let (_, headline) = page.split_once("<h1>").unwrap();
        headline.split_once("</h1>").unwrap().0.to_owned()
    };
    let (a, b) = (refused("measurement", "x", 1), refused("vmpl", "x", 2));
    let released = || record(Decision::Released, 1);
    assert_eq!(headline(&[]), "Nothing was decided in this time.");
    assert_eq!(headline(&[released()]), "One release to an attested guest. No request was refused.");
    assert_eq!(
        headline(std::slice::from_ref(&a)),
        "No secret was released. One request was refused, by measurement."
    );
    assert_eq!(
        headline(&[released(), released(), a.clone(), a.clone()]),
        "2 releases to attested guests. 2 requests were refused, all by measurement."
    );
    assert_eq!(
        headline(&[a.clone(), a, b]),
        "No secret was released. 3 requests were refused, 2 of them by measurement."
    );
}

#[test]
fn a_check_is_told_with_what_helps_and_leads_to_all_its_records() {
    for check in Check::all() {
        let page = page(&[refused(check.name(), "the cause", 1)]);
        let helps = prose_of(check.meaning(false).helps);
        assert!(page.contains(&helps), "{}: {helps}", check.name());
        let command = format!(
            "keybroker audit --check {} --decision refused --since 2026-10-30T08:35:00Z --until {NOW}",
            check.name()
        );
        assert!(page.contains(&command), "{}: {page}", check.name());
    }
}

fn prose_of(words: &str) -> String {
    parts::prose(words).into_string()
}

/// A figure shows its newest records, and says how many there are.
#[test]
fn few_of_many_records_are_shown() {
    let records: Vec<_> = (1..=5000).map(|n| refused("measurement", "x", n % 700)).collect();
    let page = page(&records);
    assert!(page.contains("The newest 10 of 5,000:"), "{page}");
    assert!(page.len() < 300_000, "{} bytes", page.len());
}
