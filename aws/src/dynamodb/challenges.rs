//! Challenges as items: `challenge` is the challenge's JSON, `expires_at` and `expires` stand beside it.

use async_trait::async_trait;
use keybroker_common::{
    session::Challenge,
    store::{ChallengeStore, StoreError},
};

use super::{
    DynamoStore,
    item::{Attributes, EXPIRES, Item, Map, instant, ttl},
    tables::ChallengesTable,
};

/// The key of challenges and of sessions.
pub(super) const KEY: &str = "session_id";
/// First instant at which the row no longer counts: for conditions.
pub(super) const EXPIRES_AT: &str = "expires_at";
const CHALLENGE: &str = "challenge";

impl Item for Challenge {
    const TABLE: &'static str = "challenges";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.session_id.expose()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        item.insert(CHALLENGE.to_owned(), Self::json(self)?);
        item.insert(EXPIRES_AT.to_owned(), instant(self.expires_at));
        item.insert(EXPIRES.to_owned(), ttl(self.expires_at));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        item.json(CHALLENGE)
    }
}

#[async_trait]
impl<T: ChallengesTable> ChallengeStore for DynamoStore<T> {
    async fn put_challenge(&self, challenge: &Challenge) -> Result<(), StoreError> {
        self.put_new(self.tables.challenges(), challenge).await
    }
}
