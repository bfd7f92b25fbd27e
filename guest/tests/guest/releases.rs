//! The guest and each answer of a broker, and no answer.

use std::{collections::BTreeSet, time::Duration};

use keybroker_guest::{
    document::Place,
    exit::Exit,
    release::{AskError, Limits, ReleaseError, Released, Unanswered},
    transport::TransportError,
};
use keybroker_native::AnswerError;
use serde_json::{Value, json};

use crate::{
    doubles::{Answer, DECISION, Network, refusal},
    world::{URLS, World},
};

const SECOND: Duration = Duration::from_secs(1);

fn world(answers: impl IntoIterator<Item = Answer>) -> World {
    let mut world = World::new();
    world.network = world.network.then(answers);
    world.network.time = Some(world.time.clone());
    world
}

fn release(world: &World) -> Result<Released, AskError> {
    let found = world.found(Place::FwCfg);
    world.asker(&found, &world.processor()).release(&["passphrase".to_owned()])
}

fn failed(world: &World) -> ReleaseError {
    match release(world) {
        Err(AskError::Release(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The brokers that were asked, one for each request.
fn asked(network: &Network) -> Vec<&'static str> {
    let short = |url: String| if url.starts_with(URLS[0]) { "first" } else { "second" };
    network.urls().into_iter().map(short).collect()
}

fn no_answer(reason: TransportError) -> Unanswered {
    reason.into()
}

#[test]
fn the_first_broker_gives_the_secret() {
    let world = world([]);
    let released = release(&world).unwrap();
    assert_eq!(released.decision, DECISION);
    assert_eq!(**released.secret("passphrase").unwrap(), b"correct horse\n\0battery".to_vec());
    assert!(released.secret("data").is_none());
    assert_eq!(
        world.network.urls(),
        ["https://k.example.org/v1/challenge", "https://k.example.org/v1/release"]
    );
    assert_eq!(world.console.lines(), [""; 0]);
}

#[test]
fn the_request_says_what_the_document_says() {
    let world = world([]);
    release(&world).unwrap();
    let request = &world.network.releases()[0];
    let digest = world.document().digest();
    assert_eq!(request["workload"], "web");
    assert_eq!(request["secrets"], json!(["passphrase"]));
    assert_eq!(request["init_data"], json!({"algorithm": "sha256", "digest": digest.to_string()}));
    assert_eq!(request["broker_keys"], json!([world.network.key.broker_key().id().to_string()]));
    assert_eq!(request["challenge"], format!("{:078}", 1));
}

#[test]
fn a_refusal_is_final_at_once() {
    for (status, decision, words) in [
        (
            403,
            Some(DECISION),
            format!(" (decision {DECISION}; ask the operator for: keybroker audit {DECISION})"),
        ),
        (404, None, String::new()),
    ] {
        let world = world([Answer::Sound, refusal(status, decision)]);
        let error = failed(&world);
        assert_eq!(error.exit(), Exit::Refused);
        assert_eq!(
            error.to_string(),
            format!("refused: the broker refused this guest: The evidence is refused.{words}")
        );
        assert!(
            matches!(&error, ReleaseError::Refused { url, status: is, .. } if url == URLS[0] && *is == status)
        );
        assert_eq!(asked(&world.network), ["first", "first"], "somebody was asked after the refusal");
        assert_eq!(world.time.pauses.lock().unwrap().len(), 0);
    }
}

/// A person is told to type the id, and nobody signs a refusal.
#[test]
fn a_decision_that_is_no_uuid_is_not_shown() {
    for decision in
        ["$(reboot)", "0199c5c2-0000-7000-8000-00000000000d;reboot", "0199c5c2-0000-7000-8000-00000000000;"]
    {
        let world = world([Answer::Sound, refusal(403, Some(decision))]);
        let error = failed(&world);
        assert_eq!(error.to_string(), "refused: the broker refused this guest: The evidence is refused.");
    }
}

#[test]
fn a_refused_challenge_is_final_too() {
    let world = world([refusal(400, None)]);
    assert!(matches!(failed(&world), ReleaseError::Refused { status: 400, .. }));
    assert_eq!(world.network.urls().len(), 1);
}

#[test]
fn the_brokers_are_asked_in_their_order() {
    let world = world([Answer::LostBefore]);
    assert!(release(&world).is_ok());
    assert_eq!(
        world.network.urls(),
        ["http://10.0.2.2:8000/broker/v1/challenge", "http://10.0.2.2:8000/broker/v1/release"]
    );
}

#[test]
fn after_all_brokers_there_is_a_pause_that_grows() {
    let world = world((0..12).map(|_| Answer::LostBefore));
    assert!(release(&world).is_ok());
    let pauses: Vec<u64> = world.time.pauses.lock().unwrap().iter().map(Duration::as_secs).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
    assert_eq!(
        world.console.lines()[0],
        "keybroker-guest: waiting: http://10.0.2.2:8000/broker/: no connection: connection refused (asks again in \
         1 s, gives up in 300 s)"
    );
}

#[test]
fn nobody_there_ends_after_the_total_time() {
    let world = world((0..500).map(|_| Answer::LostBefore));
    let error = failed(&world);
    assert_eq!(error.exit(), Exit::NotReached);
    assert_eq!(
        error,
        ReleaseError::NotReached {
            url: URLS[1].to_owned(),
            reason: no_answer(TransportError::Connect("connection refused".to_owned())),
        }
    );
    assert_eq!(
        error.to_string(),
        "not reached: http://10.0.2.2:8000/broker/: no connection: connection refused"
    );
    let waited: Duration = world.time.pauses.lock().unwrap().iter().sum();
    assert!(waited <= Duration::from_secs(300) && waited > Duration::from_secs(280), "{waited:?}");
}

/// An answer that is lost on its way is asked for anew: nothing of the first request is used again.
#[test]
fn a_lost_answer_is_asked_for_with_a_new_challenge_key_and_report() {
    let world =
        world([Answer::Sound, Answer::LostAfter, Answer::LostBefore, Answer::Sound, Answer::LostAfter]);
    assert!(release(&world).is_ok());
    let requests = world.network.releases();
    assert_eq!(requests.len(), 3);
    for field in ["challenge", "public_key"] {
        let values: BTreeSet<String> = requests.iter().map(|request| request[field].to_string()).collect();
        assert_eq!(values.len(), 3, "{field} was used twice");
    }
    let reports: BTreeSet<String> =
        requests.iter().map(|request| request["evidence"]["report"].to_string()).collect();
    assert_eq!(reports.len(), 3);
}

#[test]
fn retry_after_is_honoured() {
    for status in [429, 503] {
        let busy = |seconds| Answer::Reply(status, Some(seconds), json!({}));
        let world = world([busy(20), busy(7)]);
        assert!(release(&world).is_ok());
        // The second broker may be asked again first.
        assert_eq!(*world.time.pauses.lock().unwrap(), [7 * SECOND]);
        assert_eq!(asked(&world.network), ["first", "second", "second", "second"]);
        assert_eq!(
            world.console.lines(),
            [format!(
                "keybroker-guest: waiting: {}: the broker answered {status} and asks for 7 s of patience (asks \
                 again in 7 s, gives up in 300 s)",
                URLS[1]
            )]
        );
    }
}

#[test]
fn retry_after_beyond_the_time_that_is_left_ends_at_once() {
    let world =
        world([Answer::Reply(503, Some(4000), json!({})), Answer::Reply(503, Some(u64::MAX), json!({}))]);
    world.time.advance(5 * SECOND);
    let error = failed(&world);
    assert_eq!(error.exit(), Exit::NotReached);
    assert!(matches!(
        error,
        ReleaseError::NotReached { reason: Unanswered::Patience { status: 503, .. }, .. }
    ));
    assert_eq!(world.time.pauses.lock().unwrap().len(), 0);
}

#[test]
fn a_503_at_the_second_request_takes_a_new_challenge() {
    let world = world([Answer::Sound, Answer::Reply(503, Some(1), json!({})), Answer::LostBefore]);
    assert!(release(&world).is_ok());
    let challenges: Vec<Value> =
        world.network.releases().iter().map(|request| request["challenge"].clone()).collect();
    assert_eq!(challenges, [format!("{:078}", 1), format!("{:078}", 2)]);
}

#[test]
fn a_server_error_goes_on_to_the_next_broker() {
    for status in [500, 502, 503, 429, 408, 401] {
        let world = world([Answer::Reply(status, None, json!({}))]);
        assert!(release(&world).is_ok());
        assert_eq!(asked(&world.network), ["first", "second", "second"], "{status}");
    }
}

/// A challenge that counts no more refuses no guest: the answer to a new one does.
#[test]
fn a_challenge_that_counts_no_more_is_replaced() {
    let mut world = world([Answer::Sound, refusal(401, None)]);
    world.settings.brokers.truncate(1);
    assert!(release(&world).is_ok());
    let challenges: Vec<Value> =
        world.network.releases().iter().map(|request| request["challenge"].clone()).collect();
    assert_eq!(challenges, [format!("{:078}", 1), format!("{:078}", 2)]);
    assert_eq!(*world.time.pauses.lock().unwrap(), [SECOND]);
}

#[test]
fn something_that_is_no_broker_is_asked_no_more() {
    let html = || Answer::Reply(404, None, json!("<html>"));
    let another = || Answer::Reply(403, None, json!({"title": "x", "status": 404, "detail": ""}));
    for (answer, status) in [(html(), 404), (another(), 403), (Answer::Reply(302, None, json!({})), 302)] {
        let world = world([answer, Answer::LostBefore, Answer::LostBefore]);
        assert!(release(&world).is_ok());
        assert_eq!(asked(&world.network), ["first", "second", "second"]);
        assert_eq!(
            world.console.lines()[0],
            format!(
                "keybroker-guest: {} is asked no more: what answers there is no broker: {status}",
                URLS[0]
            )
        );
    }
}

#[test]
fn where_no_broker_is_left_the_time_is_not_spent() {
    let html = || Answer::Reply(404, None, json!("<html>"));
    let world = world([html(), html()]);
    assert_eq!(
        failed(&world),
        ReleaseError::NotReached { url: URLS[1].to_owned(), reason: Unanswered::NoBroker(404) }
    );
    assert_eq!(world.time.pauses.lock().unwrap().len(), 0);
}

/// Runs against an answer that the document's broker did not give, from every URL.
fn not_authentic(answer: impl Fn() -> Answer, expected: AnswerError) {
    let world = world([Answer::Sound, answer(), Answer::Sound, answer()]);
    let error = failed(&world);
    assert_eq!(error.exit(), Exit::NotReached);
    assert_eq!(error.to_string(), format!("not reached: {}: {expected}", URLS[1]));
    assert_eq!(
        error,
        ReleaseError::NotReached { url: URLS[1].to_owned(), reason: Unanswered::Answer(expected) }
    );
    // Each URL was asked once, and no passphrase was used.
    assert_eq!(asked(&world.network), ["first", "first", "second", "second"]);
}

#[test]
fn an_answer_under_another_key_is_not_taken() {
    not_authentic(|| Answer::OtherKey, AnswerError::Key);
}

#[test]
fn an_altered_answer_is_not_taken() {
    not_authentic(|| Answer::Altered(|answer| answer["decision"] = "another".into()), AnswerError::Signature);
    let swap = |answer: &mut Value| answer["secrets"][0]["name"] = "data".into();
    not_authentic(|| Answer::Altered(swap), AnswerError::Signature);
    let empty = |answer: &mut Value| answer["secrets"] = json!([]);
    not_authentic(|| Answer::Altered(empty), AnswerError::Signature);
    not_authentic(|| Answer::Altered(|answer| *answer = json!({})), AnswerError::Form);
}

/// The broker of the document answers, and the first URL is somebody else's: the second is asked.
#[test]
fn behind_an_answer_that_is_not_authentic_the_next_broker_is_asked() {
    let world = world([Answer::Sound, Answer::OtherKey]);
    assert!(release(&world).is_ok());
    assert_eq!(asked(&world.network), ["first", "first", "second", "second"]);
}

#[test]
fn a_key_whose_time_is_over_does_not_count() {
    let mut world = world([]);
    world.settings.broker_keys[0].not_after = "2026-11-28T00:00:00Z".parse().unwrap();
    let error = failed(&world);
    assert!(matches!(error, ReleaseError::NoKey(_)));
    assert_eq!(error.exit(), Exit::NotTrusted);
    assert_eq!(world.network.urls(), [""; 0], "somebody was asked");
}

#[test]
fn a_slow_broker_is_waited_for_within_bounds() {
    let limits = Limits { total: Duration::from_secs(60), ..Limits::default() };
    let mut patient = world([Answer::Slow(Duration::from_secs(25)), Answer::Slow(Duration::from_secs(30))]);
    patient.limits = limits;
    assert!(release(&patient).is_ok());
    let mut hopeless = world((0..100).map(|_| Answer::Slow(Duration::from_secs(1000))));
    hopeless.limits = limits;
    let error = failed(&hopeless);
    // 40 s for the first, and the 20 s that are left for the second.
    let silent = no_answer(TransportError::Silent(Duration::from_secs(20)));
    assert_eq!(error, ReleaseError::NotReached { url: URLS[1].to_owned(), reason: silent });
    assert_eq!(error.to_string(), "not reached: http://10.0.2.2:8000/broker/: no answer within 20 s");
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let world = world([]);
    let released = format!("{:?}", release(&world).unwrap());
    assert!(released.contains(DECISION) && !released.contains("correct"), "{released}");
}
