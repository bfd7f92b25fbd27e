//! Tokens as items, under the id in hex: `created_at` and `expires_at`, and where they have one `note`,
//! `made_for`, `bound_to` with `bound_at`, `created_by`, and `revoked_at` with
//! `revocation`. The token itself is nowhere.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::Update;
use keybroker_common::{
    audit::AuditRecord,
    ids::{TokenId, WorkloadId},
    store::{Build, Cursor, Page, StoreError, TokenStore},
    token::{Bound, Token},
};

use super::{
    DynamoStore,
    errors::unavailable,
    item::{Attributes, EXPIRES, Item, Map, instant, text, ttl},
    operator::{key_of, page},
    tables::{AuditTable, TokensTable},
    workloads::{REVOCATION, REVOKED_AT, revocation},
    write::Transaction,
};

const KEY: &str = "token";
const CREATED_AT: &str = "created_at";
const EXPIRES_AT: &str = "expires_at";
const NOTE: &str = "note";
const MADE_FOR: &str = "made_for";
const BOUND_TO: &str = "bound_to";
const BOUND_AT: &str = "bound_at";
const CREATED_BY: &str = "created_by";

impl Item for Token {
    const TABLE: &'static str = "tokens";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        item.insert(CREATED_AT.to_owned(), instant(self.created_at));
        item.insert(EXPIRES_AT.to_owned(), instant(self.expires_at));
        // Absent, not null: the conditions ask whether they exist.
        item.extend(self.note.as_deref().map(|note| (NOTE.to_owned(), text(note))));
        item.extend(self.made_for.as_ref().map(|id| (MADE_FOR.to_owned(), text(id.as_str()))));
        if let Some(bound) = &self.bound {
            item.insert(BOUND_TO.to_owned(), text(bound.workload_id.as_str()));
            item.insert(BOUND_AT.to_owned(), instant(bound.at));
        }
        item.extend(self.revoked_at.map(|at| (REVOKED_AT.to_owned(), instant(at))));
        item.extend(self.created_by.as_deref().map(|by| (CREATED_BY.to_owned(), text(by))));
        if let Some(revocation) = &self.revocation {
            item.insert(REVOCATION.to_owned(), Self::json(revocation)?);
        }
        item.extend(self.unlisted_at().map(|at| (EXPIRES.to_owned(), ttl(at))));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        let workload = |id: &str| WorkloadId::new(id).map_err(Self::corrupt);
        let bound =
            match (item.optional(BOUND_TO, Attributes::text)?, item.optional(BOUND_AT, Attributes::instant)?)
            {
                (None, None) => None,
                (Some(id), Some(at)) => Some(Bound { workload_id: workload(id)?, at }),
                _ => return Err(Self::corrupt("it is bound by half")),
            };
        Ok(Self {
            id: TokenId::parse(item.text(KEY)?).ok_or_else(|| Self::corrupt("its key is no id"))?,
            created_at: item.instant(CREATED_AT)?,
            expires_at: item.instant(EXPIRES_AT)?,
            note: item.optional(NOTE, Attributes::text)?.map(str::to_owned),
            made_for: item.optional(MADE_FOR, Attributes::text)?.map(workload).transpose()?,
            bound,
            revoked_at: item.optional(REVOKED_AT, Attributes::instant)?,
            created_by: item.optional(CREATED_BY, Attributes::text)?.map(str::to_owned),
            revocation: item.optional(REVOCATION, Attributes::json)?,
        })
    }
}

/// Holds for a token that may be used, whatever it is bound to.
const USABLE: &str = "attribute_exists(#key) AND attribute_not_exists(#revoked) AND #expires > :now \
    AND (attribute_not_exists(#made_for) OR #made_for = :workload)";

impl<T: TokensTable> DynamoStore<T> {
    /// `transaction`, in which `token`, if there is one, is used as well.
    pub(super) fn with_token(
        &self,
        transaction: Transaction,
        token: Option<&TokenId>,
        build: Build,
        workload: &WorkloadId,
        audit: &AuditRecord,
    ) -> Result<Transaction, StoreError> {
        let Some(token) = token else { return Ok(transaction) };
        let bound = match build {
            Build::New => "attribute_not_exists(#bound_to)",
            Build::Same => "#bound_to = :workload",
        };
        let update = Update::builder()
            .table_name(self.tables.tokens())
            .key(KEY, text(token.to_string()))
            .update_expression("SET #bound_to = :workload, #bound_at = if_not_exists(#bound_at, :now)")
            .condition_expression(format!("{USABLE} AND {bound}"))
            .expression_attribute_names("#key", KEY)
            .expression_attribute_names("#revoked", REVOKED_AT)
            .expression_attribute_names("#expires", EXPIRES_AT)
            .expression_attribute_names("#made_for", MADE_FOR)
            .expression_attribute_names("#bound_to", BOUND_TO)
            .expression_attribute_names("#bound_at", BOUND_AT)
            .expression_attribute_values(":workload", text(workload.as_str()))
            .expression_attribute_values(":now", instant(audit.time))
            .build();
        transaction.update(update)
    }
}

#[async_trait]
impl<T: TokensTable + AuditTable> TokenStore for DynamoStore<T> {
    async fn put_token(&self, token: &Token, audit: &AuditRecord) -> Result<(), StoreError> {
        let transaction = Transaction::new()
            .put_new(self.tables.tokens(), token)?
            .put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }

    async fn stored_token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.get(self.tables.tokens(), &id.to_string()).await
    }

    async fn revoke_token(&self, id: &TokenId, audit: &AuditRecord) -> Result<(), StoreError> {
        let update = revocation::<Token>(self.tables.tokens(), &id.to_string(), audit)?;
        let transaction =
            Transaction::new().update(update)?.put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }

    async fn tokens(&self, after: Option<&Cursor>) -> Result<Page<Token>, StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(self.tables.tokens())
            .set_exclusive_start_key(after.map(|Cursor(key)| key_of::<Token>(key)));
        let answer = scan.consistent_read(true).send().await.map_err(unavailable)?;
        page(answer.items.unwrap_or_default(), answer.last_evaluated_key)
    }
}
