//! Items as they stand in the tables: what DynamoDB cleans up by, and what another release may have written.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use jiff::SignedDuration;
use keybroker_aws::dynamodb::{AuthTables, DynamoStore};
use keybroker_common::{
    audit::{AuditRecord, Basis, CrlEdition, EvidenceSummary, FailedCheck},
    decision::AttestDecision,
    encoding::{Base64, Hex},
    keyring::Purpose,
    requirements::EvidenceForm,
    store::{
        AuditStore, DecisionStore, EndorsementStore, KeyringStore, OperatorStore, RegistrationStore,
        StoreError, WorkloadStore,
    },
};
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
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

/// Nothing is decided by `expires`, but what it lets DynamoDB delete is gone.
#[tokio::test]
async fn no_decision_may_be_deleted_while_its_challenge_or_session_could_count() {
    let store = moto::store().await;
    let table = &store.tables().decisions;
    for (kept_for, expires) in [
        (None, None),
        (Some(SignedDuration::ZERO), Some(1200)),
        (Some(SignedDuration::from_secs(1198)), Some(1200)),
        (Some(SignedDuration::from_secs(1500)), Some(1502)),
    ] {
        let store = kept_for.into_iter().fold(store.clone(), DynamoStore::keep_audit_for);
        for mut decision in [sample::attest_decision(2), sample::refusal(2)] {
            decision.keep_until = sample::at(1200);
            store.decide(&decision).await.unwrap();
            let found = attribute(table, "id", &decision.record.id.to_string(), "expires").await;
            assert_eq!(found, expires.map(|seconds| number(sample::at(seconds).as_second())));
        }
        let released = sample::released(2);
        store.record(&released).await.unwrap();
        let found = attribute(table, "id", &released.id.to_string(), "expires").await;
        let expires = kept_for.map(|time| number((released.time + time).as_second()));
        assert_eq!(found, expires, "a record beside the decisions");
    }
}

/// A second that has begun has not passed.
#[tokio::test]
async fn a_decision_may_be_deleted_in_the_second_after() {
    let store = moto::store().await.keep_audit_for(SignedDuration::ZERO);
    for (nanoseconds, expires) in [(0, 300), (1, 301), (999_999_999, 301)] {
        let mut decision = sample::attest_decision(2);
        decision.keep_until = sample::at(300) + SignedDuration::from_nanos(nanoseconds);
        store.decide(&decision).await.unwrap();
        let id = decision.record.id;
        let found = attribute(&store.tables().decisions, "id", &id.to_string(), "expires").await;
        assert_eq!(found, Some(number(sample::at(expires).as_second())));
        assert_eq!(store.decision(id).await, Ok(Some(decision)), "to the nanosecond");
    }
}

/// `auth` holds the name of one table.
#[tokio::test]
async fn rings_can_be_written_with_the_name_of_their_table_alone() {
    let store = moto::store().await;
    let auth = DynamoStore::new(moto::dynamodb(), AuthTables { keys: store.tables().keys.clone() });
    let ring = sample::ring();
    auth.put_keyring(Purpose::Challenge, None, &ring).await.unwrap();
    assert_eq!(store.keyring(Purpose::Challenge).await.unwrap().map(|stored| stored.ring), Some(ring));
}

#[tokio::test]
async fn a_decision_that_this_release_does_not_read_is_corrupt() {
    let store = moto::store().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    for (name, value, cause) in [
        ("format", number(2), "it has the format 2, which this release does not read"),
        ("evidence", text("digest"), "evidence is not what it should be"),
        ("evidence", AttributeValue::B(Blob::new([0; 31])), "evidence is not what it should be"),
        ("modulus", AttributeValue::B(Blob::new([0xff; 128])), "the modulus has 1024 bits, fewer than 2048"),
        ("dialect", text("v9"), "dialect is not what it should be"),
        ("decision", text("granted"), "decision is not what it should be"),
        ("key", number(256), "key is not what it should be"),
    ] {
        let decision = sample::attest_decision(1);
        store.decide(&decision).await.unwrap();
        let id = decision.record.id;
        moto::set(&store.tables().decisions, "id", &id.to_string(), name, value).await;
        let outcome = store.decision(id).await;
        let Err(StoreError::Corrupt { table, cause: found }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(table, "decisions");
        assert!(found.contains(cause), "{found}");
        // Nothing is decided anew in its place.
        assert_eq!(store.decide(&decision).await, outcome);
    }
}

#[tokio::test]
async fn a_key_of_another_kind_that_this_release_does_not_read_is_corrupt() {
    let store = moto::store().await;
    let [_, oaep, p256] = sample::guest_keys();
    for (key, value) in [
        (oaep.clone(), serde_json::to_string(&oaep).unwrap().replace("AQAB", "AQ==")),
        (p256.clone(), r#"{"p256_x":"AAAA","p256_y":"AAAA"}"#.to_owned()),
        (p256.clone(), r#"{"p521_x":"AAAA","p521_y":"AAAA"}"#.to_owned()),
        (p256, "{".to_owned()),
    ] {
        let mut decision = sample::attest_decision(1);
        decision.session.as_mut().unwrap().guest_key = key;
        store.decide(&decision).await.unwrap();
        let id = decision.record.id;
        moto::set(&store.tables().decisions, "id", &id.to_string(), "sealed_to", AttributeValue::S(value))
            .await;
        let outcome = store.decision(id).await;
        assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
    }
}

/// Every field that a guest's record and a session can have, and none of what they need not have.
#[tokio::test]
async fn a_decision_with_everything_is_read_back() {
    let store = moto::store().await;
    let mut decision = sample::attest_decision(1);
    let key = decision.session.as_ref().unwrap().guest_key.clone();
    let crl =
        |number: Option<&str>| CrlEdition { this_update: sample::at(-5), number: number.map(str::to_owned) };
    let tcb = |fmc| TcbVersion { fmc, boot_loader: 4, tee: 0, snp: 22, microcode: 213 };
    let evidence = |product, tcb, host_data: Option<[u8; 32]>| EvidenceSummary {
        verified: true,
        form: if host_data.is_some() { EvidenceForm::AzSnpVtpm } else { EvidenceForm::Snp },
        report_version: 5,
        measurement: "4d".repeat(48),
        chip_id: "c5".repeat(64),
        product,
        endorsement: product.map(|_| EndorsementKind::Vlek),
        reported_tcb: tcb,
        policy: "0x30000".to_owned(),
        vmpl: 3,
        host_data: host_data.map(Hex),
        id_key_digest: host_data.map(|_| Hex([7; 48])),
    };
    let basis = |simulated, crls, guest_key| Basis {
        anchor: Base64([1; 32]),
        simulated,
        vek: Base64([2; 32]),
        crls,
        guest_key: Base64(guest_key),
        fleet: Base64([3; 32]),
    };
    for (evidence, basis, restored_by, failed) in [
        (None, None, None, None),
        (
            Some(evidence(Some(Product::Turin), Some(tcb(Some(9))), Some([5; 32]))),
            Some(basis(
                true,
                vec![crl(Some("12345678901234567890123456789012345678901234567890")), crl(None)],
                key.thumbprint(),
            )),
            Some(sample::restored(0).id),
            Some(FailedCheck { check: "check".to_owned(), cause: String::new() }),
        ),
        (
            Some(evidence(Some(Product::Milan), Some(tcb(None)), None)),
            Some(basis(false, vec![], [9; 32])),
            None,
            None,
        ),
        (Some(evidence(None, None, None)), None, None, None),
    ] {
        let id = sample::attested(1).id;
        decision = sample::under(id, decision);
        (decision.record.evidence, decision.record.basis, decision.record.failed) = (evidence, basis, failed);
        decision.session.as_mut().unwrap().standing.restored_by = restored_by;
        store.decide(&decision).await.unwrap();
        assert_eq!(store.decision(id).await, Ok(Some(decision.clone())));
        let refused =
            AttestDecision { session: None, ..sample::under(sample::attested(1).id, decision.clone()) };
        store.decide(&refused).await.unwrap();
        assert_eq!(store.decision(refused.record.id).await, Ok(Some(refused)));
    }
}

#[tokio::test]
async fn a_release_with_everything_is_read_back() {
    let store = moto::store().await;
    let mut released = sample::released(1);
    released.workload_id = Some(sample::workload().id);
    released.registration = Some(sample::workload().digest());
    released.secret = Some("passphrase".to_owned());
    released.attestation = Some(sample::attested(0).id);
    store.record(&released).await.unwrap();
    assert_eq!(store.audit_record(released.id).await, Ok(Some(released)));
}

/// Otherwise a field of it would be lost.
#[tokio::test]
async fn a_record_that_is_no_guests_is_not_written() {
    let store = moto::store().await;
    let principal = AuditRecord { principal: Some("somebody".to_owned()), ..sample::refused() };
    let token = AuditRecord { token: Some(sample::token().id), ..sample::refused() };
    for record in [principal, token] {
        assert!(matches!(store.record(&record).await, Err(StoreError::Corrupt { .. })));
        assert_eq!(store.audit_record(record.id).await, Ok(None));
    }
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
