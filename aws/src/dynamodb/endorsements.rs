//! Endorsements as items: `bytes`, `fetched_at` and `edition`; leases beside them, under the same name after
//! `lease/`: `holder`, `from` and `until`.

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{delete_item::DeleteItemError, put_item::PutItemError},
    types::ReturnValuesOnConditionCheckFailure,
};
use keybroker_common::store::{EndorsementStore, Lease, StoreError, StoredEndorsement};
use uuid::Uuid;

use super::{
    DynamoStore,
    errors::unavailable,
    item::{Attributes, FORMAT_NAME, Item, Map, bytes, format, instant, number, text},
    tables::EndorsementsTable,
};

const KEY: &str = "name";
const BYTES: &str = "bytes";
const FETCHED_AT: &str = "fetched_at";
const EDITION: &str = "edition";

/// A row with its key.
pub(super) struct Named(pub(super) String, pub(super) StoredEndorsement);

impl Item for Named {
    const TABLE: &'static str = "endorsements";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.0.clone()
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
        Ok(Self(item.text(KEY)?.to_owned(), row))
    }
}

const HOLDER: &str = "holder";
const FROM: &str = "from";
const UNTIL: &str = "until";

/// A lease with its key.
struct LeaseItem(String, Lease);

/// The prefix of every lease's key. No endorsement's key begins with it.
pub(super) const LEASES: &str = "lease/";

fn lease_key(key: &str) -> String {
    format!("{LEASES}{key}")
}

impl Item for LeaseItem {
    const TABLE: &'static str = "endorsements";
    const KEY: &'static str = KEY;

    fn key(&self) -> String {
        self.0.clone()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        let Self(_, lease) = self;
        item.insert(HOLDER.to_owned(), text(lease.holder.to_string()));
        item.insert(FROM.to_owned(), instant(lease.from));
        item.insert(UNTIL.to_owned(), instant(lease.until));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        let holder = Uuid::try_parse(item.text(HOLDER)?).map_err(Self::corrupt)?;
        Ok(Self(String::new(), Lease { holder, from: item.instant(FROM)?, until: item.instant(UNTIL)? }))
    }
}

/// Holds unless there is a lease that blocks this one, as [`Lease::blocks`] says; one that cannot be read
/// does not.
const NOT_BLOCKED: &str = "NOT (#format = :format AND attribute_type(#holder, :string) \
    AND attribute_type(#from, :number) AND attribute_type(#until, :number) \
    AND #holder <> :holder AND #until > :from AND #until <= :latest)";

/// Holds unless there is a row of a later edition that can be read.
const NOT_LATER: &str = "NOT (#format = :format AND attribute_type(#bytes, :binary) \
    AND attribute_type(#fetched_at, :number) AND attribute_type(#edition, :number) AND #edition > :edition)";

#[async_trait]
impl<T: EndorsementsTable> EndorsementStore for DynamoStore<T> {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        let named: Option<Named> = self.get(self.tables.endorsements(), key).await?;
        Ok(named.map(|Named(_, row)| row))
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        let answer = self
            .client
            .put_item()
            .table_name(self.tables.endorsements())
            .set_item(Some(Named(key.to_owned(), endorsement.clone()).to_item()?))
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

    async fn lease(&self, key: &str, lease: &Lease) -> Result<Option<Lease>, StoreError> {
        let answer = self
            .client
            .put_item()
            .table_name(self.tables.endorsements())
            .set_item(Some(LeaseItem(lease_key(key), *lease).to_item()?))
            .condition_expression(NOT_BLOCKED)
            .expression_attribute_names("#format", FORMAT_NAME)
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_names("#from", FROM)
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_values(":format", format())
            .expression_attribute_values(":holder", text(lease.holder.to_string()))
            .expression_attribute_values(":from", instant(lease.from))
            .expression_attribute_values(":latest", instant(lease.latest()))
            .expression_attribute_values(":string", text("S"))
            .expression_attribute_values(":number", text("N"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = answer else { return Ok(None) };
        let held = match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item(),
            _ => None,
        };
        // If a condition failed, DynamoDB always sends the item that it met.
        let Some(held) = held else { return Err(unavailable(error)) };
        let LeaseItem(_, held) = LeaseItem::decode(&Attributes::<LeaseItem>::read(held)?)?;
        Ok(Some(held))
    }

    async fn end_lease(&self, key: &str, holder: Uuid) -> Result<(), StoreError> {
        let answer = self
            .client
            .delete_item()
            .table_name(self.tables.endorsements())
            .key(KEY, text(lease_key(key)))
            .condition_expression("#holder = :holder")
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_values(":holder", text(holder.to_string()))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}
