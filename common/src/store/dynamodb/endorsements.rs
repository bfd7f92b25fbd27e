//! Endorsements as items: `bytes`, `fetched_at` and `edition`.

use async_trait::async_trait;
use aws_sdk_dynamodb::{error::SdkError, operation::put_item::PutItemError};

use super::{
    DynamoStore,
    errors::unavailable,
    item::{Attributes, FORMAT_NAME, Item, Map, bytes, format, instant, number, text},
    tables::EndorsementsTable,
};
use crate::store::{EndorsementStore, StoreError, StoredEndorsement};

const KEY: &str = "name";
const BYTES: &str = "bytes";
const FETCHED_AT: &str = "fetched_at";
const EDITION: &str = "edition";

/// A row with its key.
struct Named<'a>(&'a str, StoredEndorsement);

impl Item for Named<'_> {
    const TABLE: &'static str = "endorsements";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.0.to_owned()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        let Self(_, row) = self;
        item.insert(BYTES.to_owned(), bytes(&row.bytes));
        item.insert(FETCHED_AT.to_owned(), instant(row.fetched_at));
        item.insert(EDITION.to_owned(), number(row.edition));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        let row = StoredEndorsement {
            bytes: item.bytes(BYTES)?,
            fetched_at: item.instant(FETCHED_AT)?,
            edition: item.number(EDITION)?,
        };
        Ok(Self("", row))
    }
}

/// Holds unless there is a row of a later edition that can be read. A comparison of what is absent, or of another type,
/// does not hold, so its negation does.
const NOT_LATER: &str = "NOT (#format = :format AND #edition > :edition \
    AND attribute_type(#bytes, :binary) AND attribute_type(#fetched_at, :number))";

#[async_trait]
impl<T: EndorsementsTable> EndorsementStore for DynamoStore<T> {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        let named: Option<Named<'_>> = self.get(self.tables.endorsements(), key).await?;
        Ok(named.map(|Named(_, row)| row))
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        let answer = self
            .client
            .put_item()
            .table_name(self.tables.endorsements())
            .set_item(Some(Named(key, endorsement.clone()).to_item()?))
            .condition_expression(NOT_LATER)
            .expression_attribute_names("#format", FORMAT_NAME)
            .expression_attribute_names("#edition", EDITION)
            .expression_attribute_names("#bytes", BYTES)
            .expression_attribute_names("#fetched_at", FETCHED_AT)
            .expression_attribute_values(":format", format())
            .expression_attribute_values(":edition", number(endorsement.edition))
            .expression_attribute_values(":binary", text("B"))
            .expression_attribute_values(":number", text("N"))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}
