//! Conditional writes, alone or several as one, that know their own work when they meet it.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{
        CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use backon::{ExponentialBuilder, Retryable};
use uuid::Uuid;

use super::{
    DynamoStore, Tables,
    errors::{CONDITION, CONTENTION, unavailable},
    item::{Item, Map, WRITE, text},
};
use crate::store::StoreError;

/// Pause before a transaction that met another is tried again, and twice that before the next time.
const PAUSE: Duration = Duration::from_millis(20);
/// How often.
const RETRIES: usize = 4;

/// How an attempt at a transaction ended.
#[derive(Debug)]
enum Failure {
    /// Another transaction was at work on the same items.
    Contended(StoreError),
    /// Whatever else.
    Final(StoreError),
}

/// One call's mark on what it writes, and its name for DynamoDB.
#[derive(Debug)]
struct Token(String);

impl Token {
    fn new() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    fn mark(&self, item: &mut Map) {
        item.insert(WRITE.to_owned(), text(self.0.as_str()));
    }

    /// Whether this call wrote `item`.
    fn is_on(&self, item: Option<&Map>) -> bool {
        item.and_then(|item| item.get(WRITE)) == Some(&text(self.0.as_str()))
    }
}

/// Several writes as one: all of them or none.
#[derive(Debug)]
pub(super) struct Transaction {
    token: Token,
    parts: Vec<TransactWriteItem>,
}

impl Transaction {
    /// One that writes nothing yet.
    pub(super) fn new() -> Self {
        Self { token: Token::new(), parts: Vec::new() }
    }

    /// Writes `row` where there is none.
    pub(super) fn put_new<I: Item>(self, table: &str, row: &I) -> Result<Self, StoreError> {
        let mut item = row.to_item()?;
        self.token.mark(&mut item);
        self.put(
            Put::builder()
                .table_name(table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#key)")
                .expression_attribute_names("#key", I::KEY)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .build(),
        )
    }

    /// Writes a whole item.
    pub(super) fn put(self, put: Result<Put, BuildError>) -> Result<Self, StoreError> {
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

    fn with(mut self, part: TransactWriteItem) -> Self {
        self.parts.push(part);
        self
    }
}

impl<T: Tables> DynamoStore<T> {
    /// Writes all of `transaction`. [`StoreError::Conflict`] if one of its conditions does not hold, unless that is so
    /// because this very transaction was written before: each holds at least one item that must be new.
    ///
    /// Where another transaction is at work on the same items its conditions are not looked at: then it is tried again.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        let tried = (|| self.attempt(&transaction))
            .retry(ExponentialBuilder::new().with_min_delay(PAUSE).with_max_times(RETRIES).with_jitter())
            .sleep(tokio::time::sleep)
            .when(|failure| matches!(failure, Failure::Contended(_)));
        tried.await.map_err(|(Failure::Contended(error) | Failure::Final(error))| error)
    }

    async fn attempt(&self, Transaction { token, parts }: &Transaction) -> Result<(), Failure> {
        let error = self
            .client
            .transact_write_items()
            .client_request_token(token.0.as_str())
            .set_transact_items(Some(parts.clone()))
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
        let given = |code| reasons.iter().any(|reason: &CancellationReason| reason.code() == Some(code));
        let (failed, contended) = (given(CONDITION), given(CONTENTION));
        Err(match (failed, contended) {
            (true, _) => Failure::Final(StoreError::Conflict),
            (false, true) => Failure::Contended(unavailable(error)),
            (false, false) => Failure::Final(unavailable(error)),
        })
    }

    /// Writes `row` where there is none. [`StoreError::Conflict`] if there is one that this call did not write.
    pub(super) async fn put_new<I: Item>(&self, table: &str, row: &I) -> Result<(), StoreError> {
        let (token, mut item) = (Token::new(), row.to_item()?);
        token.mark(&mut item);
        let error = self
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", I::KEY)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = error else { return Ok(()) };
        match &error {
            SdkError::ServiceError(service) => match service.err() {
                PutItemError::ConditionalCheckFailedException(failed) if token.is_on(failed.item()) => Ok(()),
                PutItemError::ConditionalCheckFailedException(_) => Err(StoreError::Conflict),
                _ => Err(unavailable(error)),
            },
            _ => Err(unavailable(error)),
        }
    }
}

fn unbuilt(_: BuildError) -> StoreError {
    StoreError::Unavailable("a part of the request is missing".to_owned())
}
