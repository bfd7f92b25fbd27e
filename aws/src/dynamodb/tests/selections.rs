//! A cancelled transaction that selects a workload: by its position, a reason belongs to one of the parts.

use super::{
    CONFLICT, CancellationReason, Client, Rule, StoreError, TransactWriteItem, TransactWriteItemsOutput,
    canceled, met_itself, mock, reason, sample, store,
};
use keybroker_common::{
    store::{Build, OperatorStore as _, RegistrationStore as _, StoreError::Selects, WorkloadStore as _},
    workload::Workload,
};
use std::sync::{Arc, Mutex};

const SELECTS: Result<(), StoreError> = Err(Selects);

/// Cancelled because of the parts at these positions, of so many.
fn refused(parts: usize, at: &[usize]) -> Vec<CancellationReason> {
    let code = |part| if at.contains(&part) { "ConditionalCheckFailed" } else { "None" };
    (0..parts).map(|part| reason(code(part), None)).collect()
}

/// A workload with something that selects it, and the same after it moved to something else.
fn moved() -> (Workload, Workload) {
    let first = sample::selected_by(&sample::init_data());
    let second = sample::moved_to(&first, &sample::init_data());
    (first, second)
}

/// Answers the first attempt so, and each later one with success. Keeps what was sent.
fn once(reasons: Vec<CancellationReason>) -> (Rule, Arc<Mutex<Vec<Sent>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let write = Arc::clone(&sent);
    let rule = mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let token = request.client_request_token().unwrap().to_owned();
            write.lock().unwrap().push((token, request.transact_items().to_vec()));
            true
        })
        .sequence()
        .error(move || canceled(reasons.clone()))
        .output(|| TransactWriteItemsOutput::builder().build())
        .build();
    (rule, sent)
}

type Sent = (String, Vec<TransactWriteItem>);

/// The key that each part writes, if it is a selection's.
fn selections(parts: &[TransactWriteItem]) -> Vec<String> {
    let keys = parts.iter().filter_map(|part| match (part.put(), part.delete()) {
        (Some(put), _) => Some(("put", put.item().get("workload_id")?)),
        (_, Some(delete)) => Some(("delete", delete.key().get("workload_id")?)),
        _ => None,
    });
    keys.map(|(what, key)| format!("{what} {}", key.as_s().unwrap()))
        .filter(|text| text.contains("host-data#"))
        .collect()
}

fn key(what: &str, workload: &Workload) -> String {
    format!("{what} host-data#{}", data_encoding::HEXLOWER.encode(&workload.selected_by().unwrap()))
}

/// The row is the first part and the record the second; then come the token and the selection.
#[tokio::test]
async fn only_the_selections_own_reason_says_that_another_is_selected() {
    let (workload, token) = (sample::selected_by(&sample::init_data()), sample::token().id);
    for (token, at, expected) in [
        (None, &[2][..], SELECTS),
        (None, &[0], CONFLICT),
        (None, &[1], CONFLICT),
        (None, &[0, 2], CONFLICT),
        (Some(&token), &[3], SELECTS),
        (Some(&token), &[2], CONFLICT),
        (Some(&token), &[2, 3], CONFLICT),
        // A reason that belongs to no part.
        (None, &[5], CONFLICT),
    ] {
        let reasons = refused(6, at);
        let rule = mock!(Client::transact_write_items).then_error(move || canceled(reasons.clone()));
        let created = store(&rule).create(&workload, &sample::registered(), token).await;
        assert_eq!((created, rule.num_calls()), (expected, 1), "{at:?}");
    }
}

/// Another transaction was at work on the row: nobody knows who will be selected.
#[tokio::test(start_paused = true)]
async fn a_selection_that_met_another_transaction_is_tried_again() {
    let (rule, sent) =
        once(vec![reason("None", None), reason("None", None), reason("TransactionConflict", None)]);
    let workload = sample::selected_by(&sample::init_data());
    assert_eq!(store(&rule).create(&workload, &sample::registered(), None).await, Ok(()));
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0], sent[1], "the same request");
}

#[tokio::test]
async fn a_selection_whose_answer_was_lost_knows_its_own_transaction() {
    let (first, second) = moved();
    for act in ["create", "replace"] {
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
        let (store, audit) = (store(&rule), sample::registered());
        let outcome = match act {
            "create" => store.create(&second, &audit, None).await,
            _ => store.replace(&first, Build::New, &second, &audit, None).await,
        };
        assert_eq!((outcome, rule.num_calls()), (Ok(()), 2), "{act}");
    }
}

/// It is another workload's, whatever the replaced row says: it stays, and the rest is done.
#[tokio::test]
async fn what_selects_another_workload_is_not_freed() {
    let (first, second) = moved();
    // Row, record, what selects it now, and what did.
    let (rule, sent) = once(refused(4, &[3]));
    let replaced = store(&rule).replace(&first, Build::New, &second, &sample::registered(), None).await;
    assert_eq!(replaced, Ok(()));
    let attempts: Vec<_> = sent.lock().unwrap().iter().map(|(_, parts)| selections(parts)).collect();
    assert_eq!(attempts, [vec![key("put", &second), key("delete", &first)], vec![key("put", &second)]]);
    let tokens: Vec<_> = sent.lock().unwrap().iter().map(|(token, _)| token.clone()).collect();
    assert_ne!(tokens[0], tokens[1], "a token names one body");

    let (rule, sent) = once(refused(3, &[2]));
    assert_eq!(store(&rule).delete(&first, &sample::deleted(1)).await, Ok(()));
    let attempts: Vec<_> = sent.lock().unwrap().iter().map(|(_, parts)| selections(parts)).collect();
    assert_eq!(attempts, [vec![key("delete", &first)], vec![]]);
}

/// The attempt without the part that frees ends as the first did.
#[tokio::test]
async fn a_replacement_by_anothers_host_data_is_refused_with_and_without_freeing() {
    let (first, second) = moved();
    let rule = mock!(Client::transact_write_items).then_error(|| canceled(refused(4, &[2])));
    let replaced = store(&rule).replace(&first, Build::New, &second, &sample::registered(), None).await;
    assert_eq!((replaced, rule.num_calls()), (SELECTS, 2));
    let rule = mock!(Client::transact_write_items).then_error(|| canceled(refused(4, &[0, 2, 3])));
    let replaced = store(&rule).replace(&first, Build::New, &second, &sample::registered(), None).await;
    assert_eq!((replaced, rule.num_calls()), (CONFLICT, 1));
}

/// DynamoDB takes no transaction with two parts on one item.
#[tokio::test]
async fn what_selects_both_registrations_is_one_part() {
    let init_data = sample::init_data();
    let first = sample::selected_by(&init_data);
    let second = sample::moved_to(&first, &init_data);
    let (rule, sent) = once(vec![reason("TransactionConflict", None)]);
    let replaced = store(&rule).replace(&first, Build::New, &second, &sample::registered(), None).await;
    assert_eq!(replaced, Ok(()));
    assert_eq!(selections(&sent.lock().unwrap()[0].1), [key("put", &second)]);
}

#[tokio::test]
async fn what_selects_a_workload_is_read_as_of_now() {
    let rule = mock!(Client::get_item)
        .match_requests(|request| request.consistent_read() == Some(true))
        .then_output(|| aws_sdk_dynamodb::operation::get_item::GetItemOutput::builder().build());
    assert_eq!(store(&rule).selected(&[7; 32]).await, Ok(None));
    assert_eq!(rule.num_calls(), 1);
}
