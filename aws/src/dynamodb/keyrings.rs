//! The rings of the broker's own keys as items, under the ring's name: `ring` is the ring's JSON, and
//! `edition` stands beside it for conditions.

use async_trait::async_trait;
use keybroker_common::{
    keyring::{Keyring, Purpose},
    store::{KeyringStore, StoreError, StoredKeyring},
};

use super::{
    DynamoStore,
    item::{Attributes, Item, Map, number},
    tables::KeysTable,
    write::{Place, Put},
};

const RING: &str = "ring";
const EDITION: &str = "edition";

/// A ring and its purpose.
pub(super) struct KeyringItem(Purpose, StoredKeyring);

impl Item for KeyringItem {
    const TABLE: &'static str = "keys";
    const KEY: &'static str = "name";

    fn key(&self) -> String {
        self.0.name().to_owned()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        let Self(_, StoredKeyring { edition, ring }) = self;
        item.insert(RING.to_owned(), Self::json(ring)?);
        item.insert(EDITION.to_owned(), number(edition));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        let name = item.text(Self::KEY)?;
        let purpose = Purpose::ALL.into_iter().find(|purpose| purpose.name() == name);
        let purpose = purpose.ok_or_else(|| Self::corrupt("it is the ring of no purpose"))?;
        Ok(Self(purpose, StoredKeyring { edition: item.number(EDITION)?, ring: item.json(RING)? }))
    }
}

impl KeyringItem {
    /// The item that `ring` becomes in the place of the one with the edition `replaced`, behind that place.
    pub(super) fn replacing(purpose: Purpose, replaced: Option<u64>, ring: &Keyring) -> (Place, Self) {
        let edition = replaced.map_or(0, |edition| edition.wrapping_add(1));
        let place = replaced.map_or(Place::Empty, |edition| Place::Holding(EDITION, number(edition)));
        (place, Self(purpose, StoredKeyring { edition, ring: ring.clone() }))
    }
}

#[async_trait]
impl<T: KeysTable> KeyringStore for DynamoStore<T> {
    async fn keyring(&self, purpose: Purpose) -> Result<Option<StoredKeyring>, StoreError> {
        let item: Option<KeyringItem> = self.get(self.tables.keys(), purpose.name()).await?;
        Ok(item.map(|KeyringItem(_, stored)| stored))
    }

    async fn put_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
    ) -> Result<(), StoreError> {
        let (place, item) = KeyringItem::replacing(purpose, replaced, ring);
        match self.put(self.tables.keys(), place, &item).await? {
            Put::Written => Ok(()),
            Put::Met(_) => Err(StoreError::Conflict),
        }
    }
}
