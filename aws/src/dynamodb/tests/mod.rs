//! Answers that a local DynamoDB does not give: lost ones, throttling, conflicts between transactions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod selections;
mod sent;

use std::{
    collections::HashSet,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::{
    config::{BehaviorVersion, Credentials, Region, timeout::TimeoutConfig},
    operation::{
        put_item::{PutItemError, PutItemInput, PutItemOutput},
        transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput},
        update_item::{UpdateItemError, UpdateItemOutput},
    },
    types::{
        CancellationReason, TransactWriteItem,
        error::{
            ConditionalCheckFailedException, ProvisionedThroughputExceededException,
            TransactionCanceledException, TransactionConflictException,
        },
    },
};
use aws_smithy_mocks::{
    MockResponse, MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock,
};
use keybroker_common::{
    decision::AttestDecision,
    keyring::Purpose,
    store::{
        AuditStore, DecisionStore, KeyringStore, RegistrationStore, ReleaseStore, StoreError, WorkloadStore,
    },
};
use keybroker_testing::sample;

use super::*;

const CONFLICT: Result<(), StoreError> = Err(StoreError::Conflict);

fn config() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
}

fn store(rule: &Rule) -> DynamoStore<AllTables> {
    let rules = MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny).with_rule(rule);
    let config = config().http_client(create_mock_http_client()).interceptor(rules).build();
    DynamoStore::new(Client::from_conf(config), AllTables::with_prefix("test"))
}

fn unavailable(cause: &str) -> Result<(), StoreError> {
    Err(StoreError::Unavailable(format!("DynamoDB: {cause}")))
}

/// The condition of a put failed on `item`.
fn put_failed(item: Option<item::Map>) -> PutItemError {
    let failed = ConditionalCheckFailedException::builder().set_item(item).build();
    PutItemError::ConditionalCheckFailedException(failed)
}

fn canceled(reasons: Vec<CancellationReason>) -> TransactWriteItemsError {
    let error = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
    TransactWriteItemsError::TransactionCanceledException(error)
}

fn reason(code: &str, item: Option<item::Map>) -> CancellationReason {
    CancellationReason::builder().code(code).set_item(item).build()
}

/// Why a transaction fails that was written before: each condition meets what the transaction itself wrote.
fn met_itself(parts: &[TransactWriteItem]) -> TransactWriteItemsError {
    let met =
        |part: &TransactWriteItem| reason("ConditionalCheckFailed", part.put().map(|put| put.item().clone()));
    canceled(parts.iter().map(met).collect())
}

/// The first attempt lands and its answer is lost; the SDK tries again.
#[tokio::test]
async fn a_put_whose_answer_was_lost_knows_its_own_item() {
    let rule = lost(None);
    assert_eq!(store(&rule).append(&sample::refused()).await, Ok(()));
    assert_eq!(rule.num_calls(), 2);
}

/// A put that meets `there`, and what DynamoDB shows of it.
fn met(there: Option<item::Map>) -> Rule {
    mock!(Client::put_item).then_error(move || put_failed(there.clone()))
}

/// A put whose first attempt lands and is never answered; each later one meets `there`, or what it wrote.
fn lost(there: Option<item::Map>) -> Rule {
    let written = Arc::new(Mutex::new(None));
    let (write, met) = (Arc::clone(&written), written);
    mock!(Client::put_item)
        .match_requests(move |request| {
            *write.lock().unwrap() = request.item().cloned();
            true
        })
        .sequence()
        .http_status(500, None)
        .error(move || put_failed(there.clone().or_else(|| met.lock().unwrap().clone())))
        .build()
}

/// The item of a decision, as another call wrote it.
async fn written(decision: &AttestDecision) -> item::Map {
    let written = Arc::new(Mutex::new(None));
    let write = Arc::clone(&written);
    let rule = mock!(Client::put_item)
        .match_requests(move |request| {
            *write.lock().unwrap() = request.item().cloned();
            true
        })
        .then_output(|| PutItemOutput::builder().build());
    store(&rule).decide(decision).await.unwrap();
    written.lock().unwrap().clone().unwrap()
}

#[tokio::test]
async fn a_decision_whose_answer_was_lost_is_this_calls_own() {
    for decision in [sample::attest_decision(1), sample::refusal(1)] {
        let rule = lost(None);
        assert_eq!(store(&rule).decide(&decision).await, Ok(None));
        assert_eq!(rule.num_calls(), 2);
    }
}

/// An equal decision by another call is another's: only one of the two may say that it decided.
#[tokio::test]
async fn a_decision_by_another_call_is_given_without_another_read() {
    let decision = sample::attest_decision(1);
    let there = written(&decision).await;
    for rule in [met(Some(there.clone())), lost(Some(there))] {
        assert_eq!(store(&rule).decide(&decision).await, Ok(Some(decision.clone())));
    }
}

#[tokio::test]
async fn a_decision_that_met_nothing_it_is_shown_is_unavailable() {
    let outcome = store(&met(None)).decide(&sample::refusal(1)).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_ring_whose_answer_was_lost_is_this_calls_own() {
    for replaced in [None, Some(3)] {
        let rule = lost(None);
        let ring = sample::ring();
        assert_eq!(store(&rule).put_keyring(Purpose::Challenge, replaced, &ring).await, Ok(()));
        assert_eq!(rule.num_calls(), 2);
        assert_eq!(store(&met(None)).put_keyring(Purpose::Challenge, replaced, &ring).await, CONFLICT);
    }
}

/// The same record, by another call: audit ids are written once.
#[tokio::test]
async fn a_put_does_not_take_an_equal_item_for_its_own() {
    let rule = mock!(Client::put_item).then_compute_response(|request: &PutItemInput| {
        let mut item = request.item().cloned().unwrap_or_default();
        item.insert("write".to_owned(), item::text("another call"));
        MockResponse::Error(put_failed(Some(item)))
    });
    assert_eq!(store(&rule).append(&sample::refused()).await, CONFLICT);
}

#[tokio::test]
async fn a_put_that_met_nothing_it_is_shown_is_a_conflict() {
    let rule = mock!(Client::put_item).then_error(|| put_failed(None));
    assert_eq!(store(&rule).append(&sample::refused()).await, CONFLICT);
}

#[tokio::test]
async fn a_put_that_is_never_answered_fails_closed() {
    let rule = mock!(Client::put_item).sequence().http_status(500, None).repeatedly().build();
    let outcome = store(&rule).append(&sample::refused()).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert_eq!(rule.num_calls(), 3);
}

#[tokio::test]
async fn a_transaction_whose_answer_was_lost_knows_its_own_items() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let (write, met) = (Arc::clone(&written), written);
    let rule = mock!(Client::transact_write_items)
        .match_requests(move |request| {
            *write.lock().unwrap() = request.transact_items().to_vec();
            true
        })
        .sequence()
        .http_status(500, None)
        .error(move || met_itself(&met.lock().unwrap()))
        .build();
    assert_eq!(store(&rule).create(&sample::workload(), &sample::registered(), None).await, Ok(()));
}

/// The reasons of a cancelled transaction whose conditions were not looked at.
const PASSING: [&str; 5] = [
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "ThrottlingException",
    "RequestLimitExceeded",
];

/// Its conditions were not looked at: who wins is for the next attempt to say.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_met_another_is_tried_again() {
    for code in PASSING {
        let passing = move || canceled(vec![reason("None", None), reason(code, None)]);
        let rule = mock!(Client::transact_write_items)
            .sequence()
            .error(passing)
            .error(passing)
            .output(|| TransactWriteItemsOutput::builder().build())
            .build();
        assert_eq!(store(&rule).create(&sample::workload(), &sample::registered(), None).await, Ok(()));
        assert_eq!(rule.num_calls(), 3, "{code}");
        let lost = move || canceled(vec![reason(code, None), reason("ConditionalCheckFailed", None)]);
        let rule = mock!(Client::transact_write_items).sequence().error(passing).error(lost).build();
        assert_eq!(store(&rule).create(&sample::workload(), &sample::registered(), None).await, CONFLICT);
        assert_eq!(rule.num_calls(), 2, "{code}");
    }
}

/// For different reasons, one after the other and at once.
#[tokio::test(start_paused = true)]
async fn a_transaction_is_tried_again_whatever_it_meets_in_passing() {
    let rule = mock!(Client::transact_write_items)
        .sequence()
        .error(|| canceled(PASSING.map(|code| reason(code, None)).into()))
        .error(|| canceled(vec![reason("ThrottlingError", None)]))
        .error(|| canceled(vec![reason("TransactionConflict", None), reason("None", None)]))
        .output(|| TransactWriteItemsOutput::builder().build())
        .build();
    assert_eq!(store(&rule).create(&sample::workload(), &sample::registered(), None).await, Ok(()));
    assert_eq!(rule.num_calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_always_meets_others_fails_closed() {
    for code in PASSING {
        let rule = mock!(Client::transact_write_items).then_error(move || canceled(vec![reason(code, None)]));
        let began = tokio::time::Instant::now();
        let outcome = store(&rule).create(&sample::workload(), &sample::registered(), None).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        assert_eq!(rule.num_calls(), 5, "{code}");
        let paused = began.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&paused), "{paused:?}");
    }
}

/// An obstacle that stays is there at the next attempt, too.
#[tokio::test]
async fn a_transaction_that_can_never_be_written_is_tried_once() {
    let reasons: [fn() -> Vec<CancellationReason>; 4] = [
        || vec![reason("ThrottlingError", None), reason("ValidationError", None)],
        || vec![reason("TransactionConflict", None), reason("AccessDenied", None)],
        || vec![reason("None", None)],
        Vec::new,
    ];
    for reasons in reasons {
        let rule = mock!(Client::transact_write_items).then_error(move || canceled(reasons()));
        let outcome = store(&rule).create(&sample::workload(), &sample::registered(), None).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        assert_eq!(rule.num_calls(), 1, "{:?}", reasons());
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_when_patience_is_over() {
    let attempts = std::cell::Cell::new(0);
    let outcome = write::patiently(|| async {
        attempts.set(attempts.get() + 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        Err(write::Failure::Passing(StoreError::Unavailable("slow".to_owned())))
    });
    assert_eq!(outcome.await, Err(StoreError::Unavailable("slow".to_owned())));
    assert_eq!(attempts.get(), 2, "one at 0 s, one after 2 s, none after 4 s");
}

async fn created(reasons: fn() -> Vec<CancellationReason>) -> Result<(), StoreError> {
    let rule = mock!(Client::transact_write_items).then_error(move || canceled(reasons()));
    store(&rule).create(&sample::workload(), &sample::registered(), None).await
}

#[tokio::test]
async fn a_transaction_whose_condition_failed_is_a_conflict() {
    let reasons = || vec![reason("ConditionalCheckFailed", None), reason("None", None), reason("None", None)];
    assert_eq!(created(reasons).await, CONFLICT);
    // It wrote nothing and never will, whatever else was in its way.
    let reasons = || vec![reason("TransactionConflict", None), reason("ConditionalCheckFailed", None)];
    assert_eq!(created(reasons).await, CONFLICT);
}

#[tokio::test]
async fn a_throttled_put_is_tried_three_times() {
    let rule = mock!(Client::put_item)
        .sequence()
        .http_status(400, Some(r#"{"__type":"ThrottlingException"}"#.to_owned()))
        .repeatedly()
        .build();
    assert_eq!(store(&rule).append(&sample::refused()).await, unavailable("ThrottlingException"));
    assert_eq!(rule.num_calls(), 3);
}

#[tokio::test]
async fn an_update_beyond_the_throughput_is_unavailable() {
    let rule = mock!(Client::update_item).then_error(|| {
        UpdateItemError::ProvisionedThroughputExceededException(
            ProvisionedThroughputExceededException::builder().build(),
        )
    });
    let workload = sample::workload();
    let outcome = store(&rule).mark_released(&workload.id, workload.digest(), sample::at(1)).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

fn in_a_transaction() -> UpdateItemError {
    UpdateItemError::TransactionConflictException(TransactionConflictException::builder().build())
}

/// An operator revokes or restores the workload at this moment.
#[tokio::test(start_paused = true)]
async fn a_release_that_met_an_operators_transaction_is_noted_again() {
    let workload = sample::workload();
    let marked =
        async |rule: &Rule| store(rule).mark_released(&workload.id, workload.digest(), sample::at(1)).await;
    let rule = mock!(Client::update_item)
        .sequence()
        .error(in_a_transaction)
        .error(in_a_transaction)
        .output(|| UpdateItemOutput::builder().build())
        .build();
    assert_eq!((marked(&rule).await, rule.num_calls()), (Ok(()), 3));

    // Replaced, by that transaction.
    let replaced = || {
        UpdateItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().build())
    };
    let rule = mock!(Client::update_item).sequence().error(in_a_transaction).error(replaced).build();
    assert_eq!((marked(&rule).await, rule.num_calls()), (CONFLICT, 2));

    let rule = mock!(Client::update_item).then_error(in_a_transaction);
    let outcome = marked(&rule).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert_eq!(rule.num_calls(), 5);
}

/// Set if absent: the second attempt finds what the first wrote and leaves it.
#[tokio::test]
async fn a_release_whose_answer_was_lost_is_noted_by_the_next_attempt() {
    let rule = mock!(Client::update_item)
        .match_requests(|request| {
            request.update_expression() == Some("SET #released = if_not_exists(#released, :at)")
        })
        .sequence()
        .http_status(500, None)
        .output(|| UpdateItemOutput::builder().build())
        .build();
    let workload = sample::workload();
    assert_eq!(store(&rule).mark_released(&workload.id, workload.digest(), sample::at(1)).await, Ok(()));
}

#[tokio::test]
async fn every_read_is_consistent() {
    let rule = mock!(Client::get_item)
        .match_requests(|request| request.consistent_read() == Some(true))
        .then_output(|| aws_sdk_dynamodb::operation::get_item::GetItemOutput::builder().build());
    let store = store(&rule);
    let workload = sample::workload();
    assert_eq!(store.decision(sample::refused().id).await, Ok(None));
    assert_eq!(store.keyring(Purpose::Session).await, Ok(None));
    assert_eq!(store.workload(&workload.id).await, Ok(None));
    assert_eq!(keybroker_common::store::EndorsementStore::endorsement(&store, "key").await, Ok(None));
    assert_eq!(rule.num_calls(), 4);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable() {
    // Takes connections into its backlog and reads nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let time = Duration::from_millis(100);
    let config = config()
        .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
        .timeout_config(TimeoutConfig::builder().operation_timeout(time).build())
        .build();
    let store = DynamoStore::new(Client::from_conf(config), AllTables::with_prefix("test"));
    let outcome = store.append(&sample::refused()).await;
    assert_eq!(outcome, Err(StoreError::Unavailable("DynamoDB did not answer in time".to_owned())));
}
