//! Conditional writes, alone or several as one, that know their own work when they meet it.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{
        self, AttributeValue, CancellationReason, Delete, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
use keybroker_common::store::StoreError;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    DynamoStore, Tables,
    errors::{CONDITION, NOTHING, PASSING, unavailable},
    item::{Item, Map, WRITE, bytes},
};

/// Pause before a write is tried again, jittered up to twice that, and three times as long before the next
/// time: a hot partition has room again within a second.
const PAUSE: Duration = Duration::from_millis(25);
/// How often.
const RETRIES: usize = 4;
/// No attempt begins later than this after the first.
const PATIENCE: Duration = Duration::from_secs(3);

/// How an attempt at a write failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Its conditions were not looked at: a transaction was at work on the same items, or a table was
    /// throttled.
    Passing(StoreError),
    /// Every other error.
    Final(StoreError),
}

impl Failure {
    fn into_error(self) -> StoreError {
        let (Self::Passing(error) | Self::Final(error)) = self;
        error
    }
}

/// Attempts a write until it succeeds, fails for good, or has failed in passing too often or for too long.
///
/// Only for what the SDK does not repeat itself: it looks at the name of an error, and not at the reasons
/// behind it.
pub(super) async fn patiently<F>(mut attempt: impl FnMut() -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), Failure>>,
{
    let began = Instant::now();
    let mut pause = PAUSE;
    for _ in 0..RETRIES {
        match attempt().await {
            Err(Failure::Passing(_)) if began.elapsed() < PATIENCE => {}
            ended => return ended.map_err(Failure::into_error),
        }
        sleep(pause + jitter(pause)).await;
        pause *= 3;
    }
    attempt().await.map_err(Failure::into_error)
}

/// Up to as much again, at random: writers that met should not meet again.
fn jitter(pause: Duration) -> Duration {
    const PARTS: u32 = 1000;
    let share = Uuid::new_v4().as_u128() % u128::from(PARTS);
    pause * u32::try_from(share).unwrap_or_default() / PARTS
}

/// The place that an item is put in.
#[derive(Debug)]
pub(super) enum Place {
    /// Nothing.
    Empty,
    /// An item with this attribute of this value.
    Holding(&'static str, AttributeValue),
}

impl Place {
    /// The condition of a put of `I`: its expression, and the names and values in it.
    fn condition<I: Item>(self) -> (&'static str, Option<HashMap<String, String>>, Option<Map>) {
        let names = |name: &str, attribute: &str| Some(HashMap::from([(name.into(), attribute.into())]));
        match self {
            Self::Empty => ("attribute_not_exists(#key)", names("#key", I::KEY), None),
            Self::Holding(name, value) => {
                ("#there = :there", names("#there", name), Some(Map::from([(":there".to_owned(), value)])))
            }
        }
    }
}

/// The outcome of a put.
#[derive(Debug)]
pub(super) enum Put {
    /// This call wrote the item.
    Written,
    /// Its place was another: this item stands there, if any does.
    Met(Option<Map>),
}

/// One call's mark on what it writes, and its name for DynamoDB.
#[derive(Debug)]
struct Token(Uuid);

impl Token {
    fn new() -> Self {
        Self(Uuid::new_v4())
    }

    fn mark(&self, item: &mut Map) {
        item.insert(WRITE.to_owned(), bytes(self.0.as_bytes()));
    }

    /// Whether this call wrote `item`.
    fn is_on(&self, item: Option<&Map>) -> bool {
        item.and_then(|item| item.get(WRITE)) == Some(&bytes(self.0.as_bytes()))
    }
}

/// Several writes as one: all of them or none.
#[derive(Debug)]
pub(super) struct Transaction {
    token: Token,
    parts: Vec<Part>,
}

/// A write among several.
#[derive(Debug)]
struct Part {
    write: TransactWriteItem,
    /// How the transaction fails where this part's condition is the first that does not hold.
    refused: StoreError,
}

impl Transaction {
    /// One that writes nothing yet.
    pub(super) fn new() -> Self {
        Self { token: Token::new(), parts: Vec::new() }
    }

    /// Writes `row` where there is none.
    pub(super) fn put_new<I: Item>(self, table: &str, row: &I) -> Result<Self, StoreError> {
        self.put_in(table, Place::Empty, row)
    }

    /// Writes `row` in that `place`.
    pub(super) fn put_in<I: Item>(self, table: &str, place: Place, row: &I) -> Result<Self, StoreError> {
        let mut item = row.to_item()?;
        self.token.mark(&mut item);
        let (condition, names, values) = place.condition::<I>();
        self.put(
            types::Put::builder()
                .table_name(table)
                .set_item(Some(item))
                .condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .build(),
        )
    }

    /// Writes a whole item.
    pub(super) fn put(self, put: Result<types::Put, BuildError>) -> Result<Self, StoreError> {
        Ok(self.with(TransactWriteItem::builder().put(put.map_err(unbuilt)?).build()))
    }

    /// Deletes an item.
    pub(super) fn delete(self, delete: Result<Delete, BuildError>) -> Result<Self, StoreError> {
        Ok(self.with(TransactWriteItem::builder().delete(delete.map_err(unbuilt)?).build()))
    }

    /// Sets attributes of an item.
    pub(super) fn update(self, update: Result<Update, BuildError>) -> Result<Self, StoreError> {
        Ok(self.with(TransactWriteItem::builder().update(update.map_err(unbuilt)?).build()))
    }

    /// Has the transaction fail like this, and not with [`StoreError::Conflict`], where the condition of the
    /// part that was added last is the first that does not hold.
    pub(super) fn failing_as(mut self, refused: StoreError) -> Self {
        if let Some(last) = self.parts.last_mut() {
            last.refused = refused;
        }
        self
    }

    fn with(mut self, write: TransactWriteItem) -> Self {
        self.parts.push(Part { write, refused: StoreError::Conflict });
        self
    }
}

impl<T: Tables> DynamoStore<T> {
    /// Writes all of `transaction`. [`StoreError::Conflict`], or what [`Transaction::failing_as`] says, if
    /// one of its conditions does not hold, unless that is so because this very transaction was written
    /// before: each holds at least one item that must be new.
    ///
    /// Where another transaction is at work on the same items, or a table is throttled, its conditions are
    /// not looked at: then it is tried again. Every attempt is the same request under the same token, so that
    /// one whose answer was lost is written once.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        patiently(|| self.attempt(&transaction)).await
    }

    async fn attempt(&self, Transaction { token, parts }: &Transaction) -> Result<(), Failure> {
        let error = self
            .client
            .transact_write_items()
            .client_request_token(token.0.to_string())
            .set_transact_items(Some(parts.iter().map(|part| part.write.clone()).collect()))
            .send()
            .await;
        let Err(error) = error else { return Ok(()) };
        let reasons = match &error {
            SdkError::ServiceError(error) => match error.err() {
                TransactWriteItemsError::TransactionCanceledException(error) => error.cancellation_reasons(),
                _ => &[],
            },
            _ => &[],
        };
        if reasons.iter().any(|reason| token.is_on(reason.item())) {
            return Ok(());
        }
        // There is a reason for each part, in their order.
        if let Some(first) = reasons.iter().position(|reason| reason.code() == Some(CONDITION)) {
            let refused = parts.get(first).map_or(StoreError::Conflict, |part| part.refused.clone());
            return Err(Failure::Final(refused));
        }
        let mut given = reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != NOTHING);
        // Something for good among them would be in the way of every further attempt.
        let passing = given.clone().next().is_some() && given.all(|code| PASSING.contains(&code));
        let error = unavailable(error);
        Err(if passing { Failure::Passing(error) } else { Failure::Final(error) })
    }

    /// Writes `row` in that `place`.
    pub(super) async fn put<I: Item>(&self, table: &str, place: Place, row: &I) -> Result<Put, StoreError> {
        let (token, mut item) = (Token::new(), row.to_item()?);
        token.mark(&mut item);
        let (condition, names, values) = place.condition::<I>();
        let answer = self
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = answer else { return Ok(Put::Written) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) if token.is_on(failed.item()) => {
                Ok(Put::Written)
            }
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Put::Met(failed.item().cloned()))
            }
            _ => Err(unavailable(error)),
        }
    }

    /// Writes `row` where there is none. [`StoreError::Conflict`] if there is one that this call did not
    /// write.
    pub(super) async fn put_new<I: Item>(&self, table: &str, row: &I) -> Result<(), StoreError> {
        match self.put(table, Place::Empty, row).await? {
            Put::Written => Ok(()),
            Put::Met(_) => Err(StoreError::Conflict),
        }
    }
}

fn unbuilt(_: BuildError) -> StoreError {
    StoreError::Unavailable("a part of the request is missing".to_owned())
}
