//! Registrations as items: `registration` as its bytes, `secrets` as JSON, and beside them what conditions
//! look at: `digest` of the registration in hex, `revoked_at`, `released_at`, `restored_by`. `revocation` is
//! JSON, and for operators alone.
//!
//! `digest` is for conditions alone. A caller that reads a row hashes the bytes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    error::BuildError,
    operation::update_item::UpdateItemError,
    types::{Put, Update},
};
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    revocation::Revocation,
    secret::WrappedSecret,
    store::{
        Build, DecisionStore as _, RegistrationStore, ReleaseStore, RevocationStore, StoreError,
        WorkloadStore,
    },
    token::Token,
    workload::{Standing, Workload},
};

use super::{
    DynamoStore,
    errors::unavailable,
    item::{Attributes, Item, Map, bytes, instant, text},
    selections::{self, Selection},
    tables::{AuditTable, DecisionsTable, TokensTable, WorkloadsTable},
    write::{Failure, Transaction, patiently},
};

pub(super) const KEY: &str = "workload_id";
const REGISTRATION: &str = "registration";
pub(super) const DIGEST: &str = "digest";
const SECRETS: &str = "secrets";
const FIRST_REGISTERED_AT: &str = "first_registered_at";
pub(super) const REVOKED_AT: &str = "revoked_at";
pub(super) const REVOCATION: &str = "revocation";
pub(super) const RELEASED_AT: &str = "released_at";
pub(super) const RESTORED_BY: &str = "restored_by";

impl Item for Workload {
    const TABLE: &'static str = "workloads";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.id.as_str().to_owned()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        item.insert(REGISTRATION.to_owned(), bytes(&self.registration));
        item.insert(DIGEST.to_owned(), digest(self.digest()));
        item.insert(SECRETS.to_owned(), Self::json(&self.secrets)?);
        item.insert(FIRST_REGISTERED_AT.to_owned(), instant(self.first_registered_at));
        // Absent, not null: the conditions ask whether they exist.
        item.extend(self.revoked_at.map(|at| (REVOKED_AT.to_owned(), instant(at))));
        item.extend(self.released_at.map(|at| (RELEASED_AT.to_owned(), instant(at))));
        item.extend(self.restored_by.map(|id| (RESTORED_BY.to_owned(), text(id.to_string()))));
        if let Some(revocation) = &self.revocation {
            item.insert(REVOCATION.to_owned(), Self::json(revocation)?);
        }
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        Ok(Self {
            id: WorkloadId::new(item.text(KEY)?).map_err(Self::corrupt)?,
            registration: item.bytes(REGISTRATION)?,
            secrets: item.json(SECRETS)?,
            first_registered_at: item.instant(FIRST_REGISTERED_AT)?,
            revoked_at: item.optional(REVOKED_AT, Attributes::instant)?,
            released_at: item.optional(RELEASED_AT, Attributes::instant)?,
            restored_by: item.optional(RESTORED_BY, Attributes::text)?.map(audit_id).transpose()?,
            revocation: item.optional(REVOCATION, Attributes::json)?,
        })
    }
}

fn audit_id(text: &str) -> Result<AuditId, StoreError> {
    text.parse().map(AuditId).map_err(|_| Workload::corrupt("restored_by is no id of a record"))
}

fn digest(digest: RegistrationDigest) -> aws_sdk_dynamodb::types::AttributeValue {
    text(digest.to_string())
}

#[async_trait]
impl<T: WorkloadsTable> WorkloadStore for DynamoStore<T> {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.get(self.tables.workloads(), id.as_str()).await
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        let key = selections::key(host_data);
        let selection: Option<Selection> = self.get(self.tables.workloads(), &key).await?;
        Ok(selection.map(Selection::into_workload_id))
    }
}

#[async_trait]
impl<T: WorkloadsTable + TokensTable + AuditTable> RegistrationStore for DynamoStore<T> {
    async fn token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.get(self.tables.tokens(), &id.to_string()).await
    }

    async fn create(
        &self,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        let transaction = || {
            let transaction = Transaction::new()
                .put_new(self.tables.workloads(), workload)?
                .put_new(self.tables.audit(), &self.audit_item(audit))?;
            self.with_token(transaction, token, Build::New, &workload.id, audit)
        };
        self.commit_selecting(None, Some(workload), transaction).await
    }

    async fn replace(
        &self,
        replaced: &Workload,
        build: Build,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        let mut condition = "#digest = :replaced AND attribute_not_exists(#revoked)".to_owned();
        let mut put = Put::builder()
            .table_name(self.tables.workloads())
            .set_item(Some(workload.to_item()?))
            .expression_attribute_names("#digest", DIGEST)
            .expression_attribute_names("#revoked", REVOKED_AT)
            .expression_attribute_values(":replaced", digest(replaced.digest()));
        if build == Build::Same {
            condition += " AND attribute_not_exists(#released)";
            put = put.expression_attribute_names("#released", RELEASED_AT);
        }
        let put = put.condition_expression(condition);
        let transaction = || {
            let transaction = Transaction::new()
                .put(put.clone().build())?
                .put_new(self.tables.audit(), &self.audit_item(audit))?;
            self.with_token(transaction, token, build, &workload.id, audit)
        };
        self.commit_selecting(Some(replaced), Some(workload), transaction).await
    }
}

#[async_trait]
impl<T: WorkloadsTable + DecisionsTable> ReleaseStore for DynamoStore<T> {
    /// Repeating it changes nothing, so an answer that was lost needs no recognition, and neither does what
    /// an operator's transaction on the row is in the way of.
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(self.tables.workloads())
            .key(KEY, text(id.as_str()))
            .update_expression("SET #released = if_not_exists(#released, :at)")
            .condition_expression("#digest = :registration")
            .expression_attribute_names("#released", RELEASED_AT)
            .expression_attribute_names("#digest", DIGEST)
            .expression_attribute_values(":at", instant(at))
            .expression_attribute_values(":registration", digest(registration));
        patiently(|| async {
            let Err(error) = update.clone().send().await else { return Ok(()) };
            Err(match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    Failure::Final(StoreError::Conflict)
                }
                Some(UpdateItemError::TransactionConflictException(_)) => {
                    Failure::Passing(unavailable(error))
                }
                _ => Failure::Final(unavailable(error)),
            })
        })
        .await
    }

    /// The record alone: as a part of one transaction with the row, the releases of one workload would be in
    /// each other's way.
    async fn record_release(
        &self,
        _: &WorkloadId,
        _: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.record(audit).await
    }
}

#[async_trait]
impl<T: WorkloadsTable + AuditTable> RevocationStore for DynamoStore<T> {
    async fn revoke(&self, id: &WorkloadId, audit: &AuditRecord) -> Result<(), StoreError> {
        let update = revocation::<Workload>(self.tables.workloads(), id.as_str(), audit)?;
        let transaction =
            Transaction::new().update(update)?.put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }
}

/// Sets registration and secrets of a row that has those of `seen`, and no other attribute. The registration
/// alone would not do: a row whose secrets were moved to another key has the same one.
pub(super) fn amendment(
    table: &str,
    seen: &Workload,
    amended: &Workload,
) -> Result<Result<Update, BuildError>, StoreError> {
    Ok(Update::builder()
        .table_name(table)
        .key(KEY, text(amended.id.as_str()))
        .update_expression("SET #registration = :registration, #digest = :digest, #secrets = :secrets")
        .condition_expression("#digest = :replaced AND #secrets = :seen")
        .expression_attribute_names("#registration", REGISTRATION)
        .expression_attribute_names("#digest", DIGEST)
        .expression_attribute_names("#secrets", SECRETS)
        .expression_attribute_values(":registration", bytes(&amended.registration))
        .expression_attribute_values(":digest", digest(amended.digest()))
        .expression_attribute_values(":secrets", Workload::json(&amended.secrets)?)
        .expression_attribute_values(":replaced", digest(seen.digest()))
        .expression_attribute_values(":seen", Workload::json(&seen.secrets)?)
        .build())
}

/// Sets the secrets of a row that has registration and secrets of `seen`, and no other attribute.
pub(super) fn rewrapping(
    table: &str,
    seen: &Workload,
    secrets: &BTreeMap<String, WrappedSecret>,
) -> Result<Result<Update, BuildError>, StoreError> {
    Ok(Update::builder()
        .table_name(table)
        .key(KEY, text(seen.id.as_str()))
        .update_expression("SET #secrets = :secrets")
        .condition_expression("#digest = :digest AND #secrets = :seen")
        .expression_attribute_names("#digest", DIGEST)
        .expression_attribute_names("#secrets", SECRETS)
        .expression_attribute_values(":digest", digest(seen.digest()))
        .expression_attribute_values(":secrets", Workload::json(secrets)?)
        .expression_attribute_values(":seen", Workload::json(&seen.secrets)?)
        .build())
}

/// Sets `revoked_at` and `revocation` of a row that is there, each unless it is set.
///
/// A release that does not know `revocation` leaves it where it is when it takes a revocation back. A later
/// one then keeps it, and nobody takes it for its own: it has another time.
pub(super) fn revocation<I: Item>(
    table: &str,
    id: &str,
    audit: &AuditRecord,
) -> Result<Result<Update, BuildError>, StoreError> {
    Ok(Update::builder()
        .table_name(table)
        .key(I::KEY, text(id))
        .update_expression(
            "SET #revoked = if_not_exists(#revoked, :at), #revocation = if_not_exists(#revocation, :revocation)",
        )
        .condition_expression("attribute_exists(#key)")
        .expression_attribute_names("#revoked", REVOKED_AT)
        .expression_attribute_names("#revocation", REVOCATION)
        .expression_attribute_names("#key", I::KEY)
        .expression_attribute_values(":at", instant(audit.time))
        .expression_attribute_values(":revocation", I::json(&Revocation::of(audit))?)
        .build())
}
