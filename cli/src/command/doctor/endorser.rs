//! AMD's KDS, the clock compared with it, and the revocation lists in the store.

use jiff::{SignedDuration, Timestamp};
use keybroker_kds::KdsError;
use keybroker_snp::{anchors::TrustAnchors, crl::Crl, product::Product};

use super::{finding::Finding, local};
use crate::{
    counted::counted,
    endorsement_row::{self as row, EndorsementRow, RowKind},
    endorser::KdsArgs,
    operator::OperatorHandle,
};

/// A clock that is off by more may take valid certificates and AWS's signatures for expired.
const TOLERATED: SignedDuration = SignedDuration::from_mins(5);
/// A clock that is set over the network is better than this.
const USUAL: SignedDuration = SignedDuration::from_secs(30);
/// A broker that runs renews a list once a day.
const RENEWED: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Whether the KDS answers, and how far the clock is from the KDS's.
pub(super) async fn kds(args: &KdsArgs) -> Vec<Finding> {
    let kds = match args.kds() {
        Ok(kds) => kds,
        Err(failure) => return vec![Finding::failed("kds", &failure)],
    };
    let url = &args.kds_url;
    match kds.probe().await {
        Ok(date) => vec![Finding::ok("kds", format!("{url} answers")), clock(date, Timestamp::now())],
        Err(error @ KdsError::Status { status: 429, .. }) => vec![Finding::warn(
            "kds",
            format!("{url}: {error}"),
            "this address asked it too often: wait a minute. `keybroker certificates list` shows what the \
             store has",
        )],
        Err(error) => vec![Finding::fail(
            "kds",
            format!("{url}: {error}"),
            "guests on known chips still boot, guests on new chips wait. Open the way to the KDS, or name a \
             mirror with --kds-url. If a mirror or a TLS proxy has an authority of its own, name that with \
             --kds-ca. Or bring certificates with `keybroker certificates import FILE`",
        )],
    }
}

fn clock(theirs: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(theirs) = theirs else {
        return Finding::warn(
            "clock",
            "the KDS did not say what time it is",
            "compare the clock yourself (timedatectl)",
        );
    };
    let off = now.duration_since(theirs);
    let by = format!(
        "{} s {} the KDS's",
        off.as_secs().abs(),
        if off.is_negative() { "behind" } else { "ahead of" }
    );
    let set = "let the system set the clock (timedatectl set-ntp true)";
    if off.abs() > TOLERATED {
        Finding::fail("clock", format!("it is {by}"), set)
    } else if off.abs() > USUAL {
        Finding::warn("clock", format!("it is {by}"), set)
    } else {
        Finding::ok("clock", "it is within half a minute of the KDS's")
    }
}

/// Whether the store can be read, and the list of each product of which the store has something.
pub(super) async fn revocation_lists(operator: &OperatorHandle, anchors: &TrustAnchors) -> Vec<Finding> {
    let now = Timestamp::now();
    let (rows, unreadable) = match row::all(operator, anchors, now).await {
        Ok(rows) => rows,
        Err(failure) => return vec![Finding::failed("store", &failure)],
    };
    let mut findings = vec![local::backend(operator.backend)];
    if !unreadable.is_empty() {
        findings.push(Finding::warn(
            "endorsements",
            format!("{} cannot be read", counted(unreadable.len(), "row")),
            "they cost requests to AMD and nothing else. If there are more tomorrow, find out who writes \
             them",
        ));
    }
    let held: Vec<_> = Product::ALL.into_iter().filter_map(|product| list(product, &rows, now)).collect();
    if held.is_empty() {
        findings.push(Finding::ok(
            "revocation-list",
            "none yet: the broker fetches each with its product's first guest",
        ));
    }
    findings.extend(held);
    findings
}

/// The list for chips of `product`, if there is one or should be.
fn list(product: Product, rows: &[EndorsementRow], now: Timestamp) -> Option<Finding> {
    const CHECK: &str = "revocation-list";
    let renew = "check whether the KDS answers, or bring a list with `keybroker certificates import FILE`";
    let of_product = |row: &&EndorsementRow| row.kind.product() == Some(product);
    let found = rows.iter().filter(of_product).find(|row| matches!(row.kind, RowKind::RevocationList(..)));
    let Some(row) = found else {
        let chips = rows.iter().filter(of_product).any(|row| matches!(row.kind, RowKind::Certificate(_)));
        return chips.then(|| {
            Finding::warn(CHECK, format!("{product}: the store has chips' certificates, and no list"), renew)
        });
    };
    let Some((this, next)) = row.updates else {
        let cause = row.cause.as_deref().unwrap_or_default();
        return Some(Finding::fail(CHECK, format!("{product}: not usable: {cause}"), renew));
    };
    let text = format!(
        "{product}: of {}, counts until {}, fetched {} ago",
        this.strftime("%F"),
        next.strftime("%F"),
        row::days(now, row.fetched_at)
    );
    let over = now.duration_since(next);
    Some(if now < this {
        Finding::fail(CHECK, format!("{text}: it does not count before {this}"), "compare the clock")
    } else if over > Crl::GRACE {
        Finding::fail(CHECK, format!("{text}: too old, so no guest gets anything"), renew)
    } else if over.is_positive() {
        Finding::warn(
            CHECK,
            format!("{text}: over, so the broker uses it only while the KDS is silent"),
            renew,
        )
    } else if now.duration_since(row.fetched_at) > RENEWED {
        Finding::warn(
            CHECK,
            format!("{text}: not renewed"),
            "no guest came, or the KDS does not answer the broker",
        )
    } else {
        Finding::ok(CHECK, text)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn a_clock_may_be_off_by_half_a_minute() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (seconds, verdict, said) in [
            (0, Severity::Ok, "within"),
            (30, Severity::Ok, "within"),
            (31, Severity::Warn, "31 s behind the KDS's"),
            (-31, Severity::Warn, "31 s ahead of the KDS's"),
            (300, Severity::Warn, "300 s behind"),
            (301, Severity::Fail, "301 s behind"),
            (-86_400, Severity::Fail, "86400 s ahead of"),
        ] {
            let found = clock(Some(now + SignedDuration::from_secs(seconds)), now);
            assert!(found.verdict == verdict && found.finding.contains(said), "{found:?}");
        }
        assert_eq!(clock(None, now).verdict, Severity::Warn);
    }

    fn held(fetched: i64, this: i64, next: i64, now: Timestamp) -> EndorsementRow {
        let day = |days: i64| now + SignedDuration::from_hours(24 * days);
        EndorsementRow {
            key: String::new(),
            kind: RowKind::RevocationList(Product::Milan, keybroker_snp::endorsement::EndorsementKind::Vcek),
            fetched_at: day(fetched),
            updates: Some((day(this), day(next))),
            state: row::RowState::Ok,
            cause: None,
        }
    }

    #[test]
    fn a_list_is_judged_by_its_times() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let verdict = |rows: &[EndorsementRow]| list(Product::Milan, rows, now).map(|found| found.verdict);
        assert_eq!(verdict(&[]), None);
        for (fetched, this, next, expected) in [
            (0, -1, 180, Severity::Ok),
            (-4, -5, 180, Severity::Warn),
            (0, -180, -1, Severity::Warn),
            (0, -180, -8, Severity::Fail),
            (0, 1, 180, Severity::Fail),
        ] {
            assert_eq!(verdict(&[held(fetched, this, next, now)]), Some(expected), "{fetched} {this} {next}");
        }
        let unusable = EndorsementRow { updates: None, ..held(0, 0, 0, now) };
        assert_eq!(verdict(&[unusable]), Some(Severity::Fail));
        assert_eq!(list(Product::Genoa, &[held(0, -1, 180, now)], now), None);
    }
}
