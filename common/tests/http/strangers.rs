//! Requests without a challenge or a session cost next to nothing, however many come.

use keybroker_common::ids::SessionId;
use keybroker_testing::faulty::Method as Called;

use super::{logs::Lines, *};

fn under_another_session(mut request: Request<Body>) -> Request<Body> {
    let cookie = format!("session_id={}", SessionId::random().unwrap().expose());
    request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    request
}

/// Beyond the first few: no record, few lines, and an answer all the same that libkrun's guest can hold.
#[tokio::test]
async fn a_flood_of_strangers_leaves_few_records_and_few_lines() {
    const FLOOD: usize = 200;
    let (lines, _guard) = Lines::gather();
    let (broker, store) = doubles::with_store().await;
    let router = checked(router(broker));
    let mut statuses = Vec::new();
    for nth in 0..FLOOD {
        let request = match nth % 2 {
            0 => bare(Method::GET, "/kbs/v0/key/open"),
            _ => post(ATTEST, attest_body(&[0xC3; 256], &[1, 0, 1], "00")),
        };
        let (status, body) = answer(router.clone(), under_another_session(request)).await;
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
    // A guest with a session is served in the midst of it.
    let (status, _) = answer(router, with_session(bare(Method::GET, "/kbs/v0/key/open"))).await;
    assert_eq!(status, StatusCode::OK);
}
