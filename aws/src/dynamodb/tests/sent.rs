//! Requests as they go over the wire, where an emulator does not look at them: the tokens of transactions. If
//! DynamoDB has seen a token within ten minutes, it takes the request for a repetition, whose answer it
//! repeats, and refuses it with another body.

use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use keybroker_common::store::{OperatorStore, RegistrationStore, ReleaseStore, RevocationStore};
use serde_json::Value;

use super::{AllTables, Client, DynamoStore, HashSet, config, sample, unavailable};

/// Cancelled for the reasons of these names.
fn canceled(reasons: &[&str]) -> (u16, String) {
    let reasons: Vec<_> = reasons.iter().map(|code| serde_json::json!({"Code": code})).collect();
    let name = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    (400, serde_json::json!({"__type": name, "CancellationReasons": reasons}).to_string())
}

fn error(status: u16, name: &str) -> (u16, String) {
    (status, serde_json::json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}")}).to_string())
}

fn done() -> (u16, String) {
    (200, "{}".to_owned())
}

/// A store whose requests are answered with these, one after the other.
fn answered(answers: Vec<(u16, String)>) -> (DynamoStore<AllTables>, StaticReplayClient) {
    let event = |(status, body): (u16, String)| {
        let response = HttpResponse::new(status.try_into().unwrap(), body.into());
        ReplayEvent::new(HttpRequest::empty(), response)
    };
    let client = StaticReplayClient::new(answers.into_iter().map(event).collect());
    let config = config().http_client(client.clone()).build();
    (DynamoStore::new(Client::from_conf(config), AllTables::with_prefix("test")), client)
}

/// The bodies that were sent.
fn sent(client: &StaticReplayClient) -> Vec<Value> {
    let body = |request: &HttpRequest| serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    client.actual_requests().map(body).collect()
}

/// Two repeat a request: the SDK after an error that it knows by its name, and this store after reasons.
#[tokio::test(start_paused = true)]
async fn each_attempt_at_a_transaction_sends_the_same_body_and_token() {
    let (store, client) = answered(vec![
        error(500, "InternalServerError"),
        canceled(&["ThrottlingError", "None"]),
        error(400, "ThrottlingException"),
        canceled(&["None", "ProvisionedThroughputExceeded"]),
        canceled(&["TransactionConflict", "None"]),
        done(),
    ]);
    assert_eq!(store.create(&sample::workload(), &sample::registered(), None).await, Ok(()));
    let sent = sent(&client);
    assert_eq!(sent.len(), 6);
    assert!(sent[0]["ClientRequestToken"].as_str().is_some_and(|token| token.len() == 36), "{}", sent[0]);
    assert_eq!(sent, vec![sent[0].clone(); 6]);
}

/// Not even equal ones: the items of each carry its own mark.
#[tokio::test(start_paused = true)]
async fn no_two_transactions_have_the_same_token() {
    let (store, client) = answered(vec![done(); 4]);
    let (workload, audit) = (sample::workload(), sample::registered());
    store.create(&workload, &audit, None).await.unwrap();
    store.create(&workload, &audit, None).await.unwrap();
    store.revoke(&workload.id, &audit).await.unwrap();
    store.restore(&workload.id, workload.digest(), &audit).await.unwrap();
    let sent = sent(&client);
    let tokens: HashSet<_> = sent.iter().map(|body| body["ClientRequestToken"].as_str().unwrap()).collect();
    assert_eq!((sent.len(), tokens.len()), (4, 4));
    assert_ne!(sent[0]["TransactItems"], sent[1]["TransactItems"]);
}

/// It would mean that a token was used for two requests, and nobody knows which of them was written.
#[tokio::test(start_paused = true)]
async fn a_token_that_dynamodb_knows_otherwise_fails_closed() {
    let (store, client) = answered(vec![error(400, "IdempotentParameterMismatchException"), done()]);
    let outcome = store.create(&sample::workload(), &sample::registered(), None).await;
    assert_eq!(outcome, unavailable("IdempotentParameterMismatchException"));
    assert_eq!(sent(&client).len(), 1);
}

/// Single writes name no token: the SDK repeats them after throttling, the store after a transaction that was
/// in the way.
#[tokio::test(start_paused = true)]
async fn a_release_is_noted_by_the_same_request_again() {
    let (store, client) = answered(vec![
        error(400, "TransactionConflictException"),
        error(400, "ThrottlingException"),
        error(400, "RequestLimitExceeded"),
        done(),
    ]);
    let workload = sample::workload();
    assert_eq!(store.mark_released(&workload.id, workload.digest(), sample::at(1)).await, Ok(()));
    let sent = sent(&client);
    assert_eq!(sent, vec![sent[0].clone(); 4]);
}
