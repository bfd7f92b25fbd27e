//! Values to fill a store with, each unlike any other.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU16, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    ids::{AuditId, RegistrationDigest, SessionId, WorkloadId},
    secret::{WrappedSecret, seal::GuestKey},
    session::{Challenge, Claim, EvidenceDigest, Nonce, Session},
    store::{Lease, StoredEndorsement},
    token::{Token, TokenText},
    workload::{Standing, Workload},
};
use serde_json::json;
use uuid::{Builder, Uuid};

/// When the suite takes place, in seconds since 1970: the year 2100.
const BEGIN: i64 = 4_102_444_800;

/// So many seconds into the suite.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(BEGIN + seconds)
}

/// When a sample challenge or session expires.
pub fn expiry() -> Timestamp {
    at(300)
}

/// A workload just registered. Its registration is no JSON: to a store it is bytes.
pub fn workload() -> Workload {
    let id = WorkloadId::new(format!("contract-{}", Uuid::new_v4())).expect("a workload id");
    registered_anew(&Workload {
        id,
        registration: Vec::new(),
        secrets: BTreeMap::new(),
        first_registered_at: at(0),
        revoked_at: None,
        released_at: None,
        restored_by: None,
    })
}

/// The same workload with another registration and another secret.
pub fn registered_anew(workload: &Workload) -> Workload {
    let ciphertext = Uuid::new_v4().as_bytes().to_vec();
    let secret = WrappedSecret { key_id: "local:0000000000000000".to_owned(), ciphertext };
    Workload {
        registration: [b"\x00\xff", Uuid::new_v4().as_bytes().as_slice()].concat(),
        secrets: BTreeMap::from([("passphrase".to_owned(), secret)]),
        ..workload.clone()
    }
}

/// A token that nobody has used, with everything that one may have.
pub fn token() -> Token {
    Token {
        id: TokenText::random().expect("randomness").id(),
        created_at: at(0),
        expires_at: at(3600),
        note: Some("a build".to_owned()),
        made_for: None,
        bound: None,
        revoked_at: None,
    }
}

/// The record of a token that was made.
pub fn token_made() -> AuditRecord {
    audit(0, Operation::Operate, Decision::TokenCreated)
}

/// An unanswered challenge.
pub fn challenge() -> Challenge {
    Challenge {
        session_id: SessionId::random().expect("randomness"),
        nonce: Nonce::random().expect("randomness"),
        claim: Claim::Named { workload_id: workload().id },
        expires_at: expiry(),
    }
}

/// A session that answers `challenge`, recorded by `audit`; no two have the same key.
pub fn session(challenge: &Challenge, audit: &AuditRecord) -> Session {
    session_until(challenge, audit, expiry())
}

/// The same that counts until `expires_at`.
pub fn session_until(challenge: &Challenge, audit: &AuditRecord, expires_at: Timestamp) -> Session {
    let workload_id = match &challenge.claim {
        Claim::Named { workload_id } => workload_id.clone(),
        Claim::HostData => workload().id,
    };
    let registration = RegistrationDigest::of(Uuid::new_v4().as_bytes());
    stored(&workload_id, Standing { registration, restored_by: None }, challenge, audit, expires_at)
}

/// The same of a guest that was appraised as `workload`, and for as long as the challenge.
pub fn session_as(workload: &Workload, challenge: &Challenge, audit: &AuditRecord) -> Session {
    stored(&workload.id, workload.standing(), challenge, audit, challenge.expires_at)
}

/// No guest was appraised, so there is no other way to a session than a row that says so.
fn stored(
    workload_id: &WorkloadId,
    standing: Standing,
    challenge: &Challenge,
    audit: &AuditRecord,
    expires_at: Timestamp,
) -> Session {
    let modulus = [[0xff; 240].as_slice(), Uuid::new_v4().as_bytes()].concat();
    let row = json!({
        "session_id": challenge.session_id,
        "workload_id": workload_id,
        "registration": standing.registration,
        "restored_by": standing.restored_by,
        "guest_key": GuestKey::rsa(&odd(modulus), &[1, 0, 1]).expect("a guest's key"),
        "attestation": audit.id,
        "evidence": EvidenceDigest::of(Uuid::new_v4().as_bytes()),
        "expires_at": expires_at,
    });
    serde_json::from_value(row).expect("a session")
}

fn odd(mut number: Vec<u8>) -> Vec<u8> {
    if let Some(last) = number.last_mut() {
        *last |= 1;
    }
    number
}

/// A record of a decision taken so many seconds into the suite, and with an id of that time: those of one
/// time are in the order in which they were made.
pub fn audit(seconds: i64, operation: Operation, decision: Decision) -> AuditRecord {
    let time = at(seconds);
    AuditRecord { id: id_at(time), ..AuditRecord::new(time, operation, decision) }
}

fn id_at(time: Timestamp) -> AuditId {
    static MADE: AtomicU16 = AtomicU16::new(0);
    let mut random = Uuid::new_v4().into_bytes();
    // Behind the time come 12 bits that a counter may have.
    for (byte, counted) in random.iter_mut().zip(MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes()) {
        *byte = counted;
    }
    let mut rest = [0; 10];
    rest.iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
    let milliseconds = u64::try_from(time.as_millisecond()).expect("a time after 1970");
    AuditId(Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid())
}

/// The record of a registration.
pub fn registered() -> AuditRecord {
    audit(0, Operation::Register, Decision::Registered)
}

/// The record of an attestation, so many seconds into the suite.
pub fn attested(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Attest, Decision::Attested)
}

/// The record of a release, so many seconds into the suite.
pub fn released(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Key, Decision::Released)
}

/// The record of a refusal.
pub fn refused() -> AuditRecord {
    audit(2, Operation::Attest, Decision::Refused)
}

/// The record of a revocation, so many seconds into the suite.
pub fn revoked(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Operate, Decision::Revoked)
}

/// The record of a restoration, so many seconds into the suite.
pub fn restored(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Operate, Decision::Restored)
}

/// The record of a deletion, so many seconds into the suite.
pub fn deleted(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Operate, Decision::Deleted)
}

/// A key of the endorsement cache.
pub fn endorsement_key() -> String {
    format!("Contract/{}/crl", Uuid::new_v4())
}

/// An endorsement of this edition; no two have the same bytes.
pub fn endorsement(edition: i64) -> StoredEndorsement {
    StoredEndorsement { bytes: Uuid::new_v4().as_bytes().to_vec(), fetched_at: at(0), edition }
}

/// The lease of a process that no other sample is of, so many seconds into the suite.
pub fn lease(seconds: i64) -> Lease {
    Lease::new(Uuid::new_v4(), at(seconds))
}
