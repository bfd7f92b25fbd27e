//! Sessions as items, and the transactions that make them: `session` is the session's JSON, `expires_at` and
//! `expires` stand beside it.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::Delete;
use keybroker_common::{
    audit::AuditRecord,
    ids::SessionId,
    session::{Challenge, Session},
    store::{SessionStore, StoreError},
};

use super::{
    DynamoStore,
    challenges::{EXPIRES_AT, KEY},
    item::{Attributes, EXPIRES, Item, Map, instant, text, ttl},
    tables::{AuditTable, ChallengesTable, SessionsTable},
    write::Transaction,
};

const SESSION: &str = "session";

impl Item for Session {
    const TABLE: &'static str = "sessions";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.session_id().expose()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        item.insert(SESSION.to_owned(), Self::json(self)?);
        item.insert(EXPIRES_AT.to_owned(), instant(self.expires_at()));
        item.insert(EXPIRES.to_owned(), ttl(self.expires_at()));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        item.json(SESSION)
    }
}

#[async_trait]
impl<T: ChallengesTable + SessionsTable + AuditTable> SessionStore for DynamoStore<T> {
    async fn challenge(&self, id: &SessionId) -> Result<Option<Challenge>, StoreError> {
        self.get(self.tables.challenges(), &id.expose()).await
    }

    async fn attest(&self, session: &Session, audit: &AuditRecord) -> Result<(), StoreError> {
        // Holds of no item that is absent.
        let delete = Delete::builder()
            .table_name(self.tables.challenges())
            .key(KEY, text(session.session_id().expose()))
            .condition_expression("#expires_at > :now")
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":now", instant(audit.time))
            .build();
        let transaction = Transaction::new()
            .delete(delete)?
            .put_new(self.tables.sessions(), session)?
            .put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }

    async fn refuse(&self, id: &SessionId, audit: &AuditRecord) -> Result<(), StoreError> {
        let delete =
            Delete::builder().table_name(self.tables.challenges()).key(KEY, text(id.expose())).build();
        let transaction =
            Transaction::new().delete(delete)?.put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.get(self.tables.sessions(), &id.expose()).await
    }
}
