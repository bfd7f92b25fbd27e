//! Items as they stand in the tables: what DynamoDB cleans up by, and what another release may have written.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use jiff::SignedDuration;
use keybroker_aws::dynamodb::{AuthTables, DynamoStore};
use keybroker_common::{
    session::Challenge,
    store::{
        AuditStore, ChallengeStore, EndorsementStore, RegistrationStore, SessionStore, StoreError,
        WorkloadStore,
    },
};
use keybroker_testing::{
    moto::{self, Store},
    sample,
};

/// An attribute of the item under `id`.
async fn attribute(table: &str, key: &str, id: &str, name: &str) -> Option<AttributeValue> {
    let key_value = AttributeValue::S(id.to_owned());
    let answer = moto::dynamodb().get_item().table_name(table).key(key, key_value).send().await.unwrap();
    answer.item.unwrap().get(name).cloned()
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[tokio::test]
async fn a_challenge_is_deleted_in_the_second_after_it_expired() {
    let store = moto::store().await;
    for (nanoseconds, expires) in [(0, 300), (1, 301), (999_999_999, 301)] {
        let expires_at = sample::expiry() + SignedDuration::from_nanos(nanoseconds);
        let challenge = Challenge { expires_at, ..sample::challenge() };
        store.put_challenge(&challenge).await.unwrap();
        let id = challenge.session_id.expose();
        let found = attribute(&store.tables().challenges, "session_id", &id, "expires").await;
        assert_eq!(found, Some(number(sample::at(expires).as_second())));
        assert_eq!(store.challenge(&challenge.session_id).await, Ok(Some(challenge)), "to the nanosecond");
    }
}

/// The condition compares nanoseconds, not the seconds that DynamoDB cleans up by.
#[tokio::test]
async fn a_challenge_expires_to_the_nanosecond() {
    let store = moto::store().await;
    let nanosecond = SignedDuration::from_nanos(1);
    let challenge = Challenge { expires_at: sample::expiry() + nanosecond, ..sample::challenge() };
    store.put_challenge(&challenge).await.unwrap();
    let mut audit = sample::attested(0);
    audit.time = challenge.expires_at;
    let session = sample::session(&challenge, &audit);
    assert_eq!(store.attest(&session, &audit).await, Err(StoreError::Conflict));
    audit.time = challenge.expires_at - nanosecond;
    assert_eq!(store.attest(&session, &audit).await, Ok(()));
}

#[tokio::test]
async fn audit_records_are_kept_for_good_unless_told_otherwise() {
    let store = moto::store().await;
    let (kept, cleared) = (sample::refused(), sample::refused());
    store.append(&kept).await.unwrap();
    store.clone().keep_audit_for(SignedDuration::from_hours(24)).append(&cleared).await.unwrap();
    let table = &store.tables().audit;
    assert_eq!(attribute(table, "id", &kept.id.to_string(), "expires").await, None);
    let expires = attribute(table, "id", &cleared.id.to_string(), "expires").await;
    assert_eq!(expires, Some(number(cleared.time.as_second() + 86_400)));
}

/// `auth` holds the name of one table.
#[tokio::test]
async fn challenges_can_be_written_by_whoever_holds_their_table_alone() {
    let store = moto::store().await;
    let auth =
        DynamoStore::new(moto::dynamodb(), AuthTables { challenges: store.tables().challenges.clone() });
    let challenge = sample::challenge();
    auth.put_challenge(&challenge).await.unwrap();
    assert_eq!(store.challenge(&challenge.session_id).await, Ok(Some(challenge)));
}

/// A registered workload, one of whose attributes is set to `value`.
async fn altered(store: &Store, name: &str, value: AttributeValue) -> StoreError {
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    moto::set(&store.tables().workloads, "workload_id", workload.id.as_str(), name, value).await;
    store.workload(&workload.id).await.unwrap_err()
}

#[tokio::test]
async fn an_item_that_this_release_does_not_read_is_corrupt() {
    let store = moto::store().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    for (name, value, cause) in [
        ("format", number(2), "it has the format 2, which this release does not read"),
        ("format", text("1"), "it names no format"),
        ("registration", text("bytes"), "registration is not what it should be"),
        ("secrets", text("{"), "its JSON has an error of Eof at column 1"),
        ("first_registered_at", text("2026"), "first_registered_at is not what it should be"),
        ("revoked_at", AttributeValue::Null(true), "revoked_at is not what it should be"),
    ] {
        let expected = StoreError::Corrupt { table: "workloads".into(), cause: cause.to_owned() };
        assert_eq!(altered(&store, name, value).await, expected);
    }
}

/// A later edition that cannot be read must not stand in the cache for good.
#[tokio::test]
async fn an_endorsement_that_cannot_be_read_gives_way() {
    let store = moto::store().await;
    for (name, value) in [
        ("format", number(2)),
        ("edition", AttributeValue::S("later".to_owned())),
        ("bytes", AttributeValue::S("bytes".to_owned())),
        ("fetched_at", AttributeValue::Bool(true)),
    ] {
        let (key, later, earlier) =
            (sample::endorsement_key(), sample::endorsement(2), sample::endorsement(1));
        store.put_endorsement(&key, &later).await.unwrap();
        moto::set(&store.tables().endorsements, "name", &key, name, value).await;
        assert!(matches!(store.endorsement(&key).await, Err(StoreError::Corrupt { .. })), "{name}");
        store.put_endorsement(&key, &earlier).await.unwrap();
        assert_eq!(store.endorsement(&key).await, Ok(Some(earlier)), "{name}");
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_gives_way() {
    let store = moto::store().await;
    for (name, value) in [
        ("format", number(2)),
        ("holder", AttributeValue::B(Blob::new(b"holder"))),
        ("until", AttributeValue::S("later".to_owned())),
        ("from", AttributeValue::Bool(true)),
    ] {
        let key = sample::endorsement_key();
        store.lease(&key, &sample::lease(0)).await.unwrap();
        moto::set(&store.tables().endorsements, "name", &format!("lease/{key}"), name, value).await;
        assert_eq!(store.lease(&key, &sample::lease(1)).await, Ok(None), "{name}");
    }
}
