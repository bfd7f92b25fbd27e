//! Requests without a challenge or a session cost next to nothing, however many come.

use keybroker_testing::{faulty::Method as Called, world::stranger};

use super::{logs::Lines, *};

/// The request under `session`.
fn under(session: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(header::COOKIE, format!("session_id={session}").parse().unwrap());
    request
}

fn nth_request(nth: usize) -> Request<Body> {
    match nth % 2 {
        0 => bare(Method::GET, "/kbs/v0/key/open"),
        _ => post(ATTEST, attest_body(&[0xC3; 256], &[1, 0, 1], "00")),
    }
}

/// No call of the store and no record: the id alone is enough to refuse it.
#[tokio::test]
async fn a_flood_of_made_up_ids_leaves_nothing_behind() {
    let (lines, _guard) = Lines::gather();
    let (broker, store) = doubles::with_store().await;
    let router = checked(router(broker));
    // The keys are at hand from here on.
    answer(router.clone(), under(&CHALLENGE, nth_request(0))).await;
    let recorded = |lines: &Lines| lines.text().matches("keybroker::audit").count();
    let (calls, before) = (store.log(), recorded(&lines));
    for nth in 0..200 {
        let (status, body) = answer(router.clone(), under(&stranger().expose(), nth_request(nth))).await;
        assert_eq!((status.as_u16(), body.as_str()), (401, r#"{"error":"no such session"}"#));
    }
    assert_eq!(store.log(), calls);
    assert_eq!(recorded(&lines), before);
}

/// Beyond the first few: no record, few lines, and an answer all the same that libkrun's guest can hold.
#[tokio::test]
async fn a_flood_under_a_spent_challenge_leaves_few_records_and_few_lines() {
    const FLOOD: usize = 200;
    let (lines, _guard) = Lines::gather();
    let (broker, store) = doubles::with_store().await;
    let router = checked(router(broker));
    let mut statuses = Vec::new();
    for _ in 0..FLOOD {
        let (status, body) = answer(router.clone(), under(&SESSION, nth_request(1))).await;
        assert!((3..=199).contains(&body.len()), "{body}");
        statuses.push(status.as_u16());
    }
    // By the clock of the wall: one more for each two seconds that this took.
    let turned_away = statuses.iter().filter(|status| **status == 429).count();
    let recorded = statuses.iter().filter(|status| **status == 401).count();
    assert_eq!(turned_away + recorded, FLOOD, "{statuses:?}");
    assert!((20..60).contains(&recorded), "{recorded}");
    assert_eq!(store.calls(Called::Record), recorded);
    let text = lines.text();
    for line in ["request refused", "turned away without a record"] {
        let count = text.lines().filter(|logged| logged.contains(line)).count();
        assert!(count < 80, "{count} of {line:?}");
    }
    // A guest with a session is served in the midst of it.
    let (status, _) = answer(router, with_session(bare(Method::GET, "/kbs/v0/key/open"))).await;
    assert_eq!(status, StatusCode::OK);
}
