//! Who has neither challenge nor session costs next to nothing, however often they ask.

use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use keybroker_simulator::{
    Product,
    pki::{Amd, Chip},
    report::ReportFields,
};
use serde_json::json;

use super::{doubles::Empty, logs::Lines, *};
use crate::endorsements::parsed::PARSED;
use crate::{
    clock::SystemClock,
    endorsements::{EndorsementSource, Request as Endorsed, Settings},
    ids::{SessionId, WorkloadId},
    store::faulty::{FaultyStore, Method as Called},
};
use keybroker_snp::{anchors::TrustAnchors, report::Report};

/// What a stranger can send at most: a report as a chip signs it, and eight certificates that belong to it.
struct Sent {
    report: Vec<u8>,
    certificates: Vec<Vec<u8>>,
}

impl Sent {
    fn new() -> Self {
        let (amd, chip) = (Amd::new(Product::Milan, Timestamp::now()), Chip::new(Product::Milan, 1));
        let report = ReportFields::new(&chip).sign(&chip.vcek_key(chip.tcb)).to_vec();
        // Not one byte is the same in any two: PSS salts each signature.
        let veks = (0..7).map(|_| amd.vcek(&chip).certificate);
        let certificates = veks.chain([amd.ask().to_vec()]).collect();
        Self { report, certificates }
    }

    fn body(&self) -> String {
        let entry = |der: &Vec<u8>| json!({ "cert_type": "VCEK", "data": der });
        let chain: Vec<_> = self.certificates.iter().map(entry).collect();
        let evidence = json!({
            "gen": "milan", "report": HEXLOWER.encode(&self.report), "cert_chain": json!(chain).to_string(),
        });
        let key = json!({ "alg": "RSA", "k-mod": BASE64.encode(&[0xC3; 256]), "k-exp": "AQAB" });
        json!({ "tee-pubkey": key, "tee-evidence": evidence.to_string() }).to_string()
    }
}

fn under(session: &SessionId, mut request: Request<Body>) -> Request<Body> {
    let cookie = format!("session_id={}", session.expose());
    request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    request
}

fn stranger() -> SessionId {
    SessionId::random().unwrap()
}

/// Status and body, and how many certificates were parsed.
async fn counted(router: Router, request: Request<Body>) -> (StatusCode, String, usize) {
    PARSED.set(0);
    let (status, body) = answer(router, request).await;
    (status, body, PARSED.get())
}

/// And so none is verified: what is verified was parsed. Neither is one of a report that no challenge was
/// given for.
#[tokio::test]
async fn without_an_open_challenge_no_certificate_is_parsed() {
    let sent = Sent::new();
    let (status, text, parsed) = counted(all(), under(&stranger(), post(ATTEST, sent.body()))).await;
    assert_eq!((status, parsed), (StatusCode::UNAUTHORIZED, 0), "{text}");
    let challenge = SessionId::parse(CHALLENGE).unwrap();
    let (status, text, parsed) = counted(all(), under(&challenge, post(ATTEST, sent.body()))).await;
    assert_eq!((status, parsed), (StatusCode::FORBIDDEN, 0), "{text}");

    // What comes next parses them, so that the count means something.
    let settings = Settings { known_chips_only: true, ..Settings::default() };
    let (anchors, clock) = (TrustAnchors::default(), Arc::new(SystemClock));
    let source = EndorsementSource::new(anchors, Arc::new(Empty), clock, &settings);
    let report = Report::parse(&sent.report).unwrap();
    let request = Endorsed { report: &report, claimed_product: None, certificates: &sent.certificates };
    PARSED.set(0);
    let error = source.obtain(&request, None, &WorkloadId::new("open").unwrap()).await.unwrap_err();
    assert!(PARSED.get() > 0, "{error:?}");
}

/// Beyond the first few: no record, few lines, and an answer all the same that libkrun's guest can hold.
#[tokio::test]
async fn a_flood_of_strangers_leaves_few_records_and_few_lines() {
    const FLOOD: usize = 200;
    let (lines, _guard) = Lines::gather();
    let store = Arc::new(FaultyStore::new(Empty));
    let router = checked(router(doubles::services_over(store.clone())));
    let mut statuses = Vec::new();
    for nth in 0..FLOOD {
        let request = match nth % 2 {
            0 => bare(Method::GET, "/kbs/v0/key/open"),
            _ => post(ATTEST, attest_body(&[0xC3; 256], &[1, 0, 1], "00")),
        };
        let (status, body) = answer(router.clone(), under(&stranger(), request)).await;
        assert!((3..=199).contains(&body.len()), "{body}");
        statuses.push(status.as_u16());
    }
    // By the clock of the wall: one more for each two seconds that this took.
    let turned_away = statuses.iter().filter(|status| **status == 429).count();
    let recorded = statuses.iter().filter(|status| **status == 401).count();
    assert_eq!(turned_away + recorded, FLOOD, "{statuses:?}");
    assert!((20..60).contains(&recorded), "{recorded}");
    assert_eq!(store.calls(Called::Append) + store.calls(Called::Refuse), recorded);
    let text = lines.text();
    for line in ["request refused", "turned away without a record"] {
        let count = text.lines().filter(|logged| logged.contains(line)).count();
        assert!(count < 80, "{count} of {line:?}");
    }
    // Whoever has a session is served in the midst of it.
    let (status, _) = answer(router, with_session(bare(Method::GET, "/kbs/v0/key/open"))).await;
    assert_eq!(status, StatusCode::OK);
}
