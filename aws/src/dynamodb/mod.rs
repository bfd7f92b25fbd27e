//! The stores on DynamoDB: six tables, of which each function holds only those that it uses.
//!
//! Every item carries `format`; one of a format that this release does not know is [`StoreError::Corrupt`],
//! so that a later release may write another and still read today's. Points in time are numbers of
//! nanoseconds since 1970, which conditions compare exactly; `expires` is the same in whole seconds, rounded
//! up, for DynamoDB's TTL to clean up by. Nothing is decided by `expires`.
//!
//! No function scans, and nothing is read to be written back: what must hold of a row is the condition of its
//! write. Reads are strongly consistent, because the contracts promise that they see every acknowledged
//! write; what an operator asks of an index is not
//! ([`OperatorStore::audit_records`](keybroker_common::store::OperatorStore::audit_records)).
//!
//! **Lost answers.** A put whose answer was lost is repeated by the SDK and then meets its own item. So every
//! item that must be new carries `write`, drawn at random for each call: the condition's failure brings the
//! item that is there, and if that is the call's own, the call has succeeded. Transactions also carry a
//! client request token, by which DynamoDB itself recognises a repetition for ten minutes. If no attempt is
//! answered, the call ends with [`StoreError::Unavailable`]. A caller that asks again meets the row that the
//! call wrote: that fails closed.

mod audit;
mod decisions;
mod endorsements;
mod errors;
mod item;
mod keyrings;
mod listing;
mod of_workload;
mod operator;
mod record;
mod selections;
mod tables;
mod tcb;
mod tokens;
mod verdict;
mod workloads;
mod write;

use aws_sdk_dynamodb::Client;
use jiff::SignedDuration;
use keybroker_common::store::StoreError;

use self::item::{Attributes, Item};
pub use self::tables::{
    AllTables, AttestTables, AuditTable, AuthTables, DecisionsTable, EndorsementsTable, KeysTable,
    OperatorTables, RegisterTables, Tables, TokensTable, WorkloadsTable,
};

/// The stores whose tables `T` names: [`AuthTables`], [`RegisterTables`], [`AttestTables`],
/// [`OperatorTables`] or [`AllTables`].
#[derive(Debug, Clone)]
pub struct DynamoStore<T> {
    client: Client,
    tables: T,
    audit_kept_for: Option<SignedDuration>,
}

impl<T: Tables> DynamoStore<T> {
    /// The stores over `tables`, by way of `client`, whose retries and time limits apply to every call.
    pub fn new(client: Client, tables: T) -> Self {
        Self { client, tables, audit_kept_for: None }
    }

    /// Lets DynamoDB delete audit records this long after their time. Without it they are kept for good.
    pub fn keep_audit_for(mut self, time: SignedDuration) -> Self {
        self.audit_kept_for = Some(time);
        self
    }

    /// The tables.
    pub fn tables(&self) -> &T {
        &self.tables
    }

    /// The item under `key`, as of now.
    async fn get<I: Item>(&self, table: &str, key: &str) -> Result<Option<I>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(table)
            .key(I::KEY, item::text(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(errors::unavailable)?;
        answer.item.map(|item| I::decode(&Attributes::<I>::read(&item)?)).transpose()
    }
}

#[cfg(test)]
mod tests;
