//! Values to fill a store with, each unlike any other.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    advisories::{TcbVerdict, Verdict},
    audit::{AuditRecord, Decision, Operation},
    decision::{AttestDecision, EvidenceDigest, SealedSession},
    dialect::Dialect,
    encoding::Base64,
    ids::{AuditId, WorkloadId},
    keyring::{Keyring, signing},
    requirements::{AppraisalPolicy, BoundBy, InitDataRequirement, ReferenceValues},
    secret::{WrappedSecret, seal::GuestKey},
    store::{Lease, StoredEndorsement},
    token::{Token, TokenText},
    workload::{Registration, Workload},
};
use keybroker_initdata::{Algorithm, InitDataDigest};
use keybroker_snp::{product::TcbVersion, silicon::Cpuid};
use uuid::{Builder, Uuid};

/// When the suite takes place, in seconds since 1970: the year 2100.
const BEGIN: i64 = 4_102_444_800;

/// So many seconds into the suite.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(BEGIN + seconds)
}

/// When a sample session expires.
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
        revocation: None,
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

/// The digest of an init data document that no other sample has.
pub fn init_data() -> InitDataDigest {
    Algorithm::Sha384.digest(&Uuid::new_v4().to_string())
}

/// A workload just registered, whose guests are selected by this init data, as HOST_DATA.
pub fn selected_by(init_data: &InitDataDigest) -> Workload {
    moved_to(&workload(), init_data)
}

/// The same workload with another registration and another secret, selected by this init data.
pub fn moved_to(workload: &Workload, init_data: &InitDataDigest) -> Workload {
    let required =
        InitDataRequirement { digest: init_data.clone(), bound_by: BoundBy::HostData, broker_keys: None };
    let registration = Registration {
        serial: Uuid::new_v4(),
        dialects: Dialect::Trustee.into(),
        owner: None,
        reference_values: ReferenceValues { measurements: Vec::new() },
        policy: AppraisalPolicy { init_data: Some(required), ..AppraisalPolicy::default() },
        rego: None,
    };
    let registration = registration.to_bytes().expect("its bytes");
    Workload { registration, ..registered_anew(workload) }
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
        created_by: Some("uid/0".to_owned()),
        revocation: None,
    }
}

/// The record of a token that was made.
pub fn token_made() -> AuditRecord {
    audit(0, Operation::Operate, Decision::TokenCreated)
}

/// A decision that opened a session, taken so many seconds into the suite; no two have the same key. Its MAC
/// is none: to a store it is bytes.
pub fn attest_decision(seconds: i64) -> AttestDecision {
    let session = session_as(&workload(), &attested(seconds));
    let mut record = attested(seconds);
    (record.id, record.workload_id) = (session.attestation, Some(session.workload_id.clone()));
    record.registration = Some(session.standing.registration);
    record.tcb = Some(verdict());
    AttestDecision {
        record,
        evidence: session.evidence,
        session: Some(session),
        keep_until: at(seconds + 1200),
    }
}

/// A verdict on a platform that is behind two bulletins.
pub fn verdict() -> TcbVerdict {
    TcbVerdict {
        table: "2026-11-29".parse().expect("a date"),
        verdict: Verdict::Behind,
        bulletins: ["AMD-SB-3027", "AMD-SB-3016"].map(str::to_owned).to_vec(),
        rows: 8,
        unconfirmed: 7,
        silicon: Cpuid::parse("turin-c1"),
        committed: Some(TcbVersion { fmc: Some(1), boot_loader: 2, tee: 3, snp: 4, microcode: 255 }),
    }
}

/// A decision that refused, taken so many seconds into the suite.
pub fn refusal(seconds: i64) -> AttestDecision {
    let record = audit(seconds, Operation::Attest, Decision::Refused);
    let evidence = EvidenceDigest::of(Uuid::new_v4().as_bytes());
    AttestDecision { record, evidence, session: None, keep_until: at(seconds + 1200) }
}

/// Decisions about requests for several secrets at once: one that released them, and one that refused.
pub fn releases(seconds: i64) -> [AttestDecision; 2] {
    [Decision::Released, Decision::Refused].map(|decision| {
        let record = AuditRecord {
            tcb: Some(TcbVerdict { bulletins: Vec::new(), silicon: None, committed: None, ..verdict() }),
            secrets: ["tls.key", "passphrase"].map(str::to_owned).to_vec(),
            ..audit(seconds, Operation::Release, decision)
        };
        let evidence = EvidenceDigest::of(Uuid::new_v4().as_bytes());
        AttestDecision { record, evidence, session: None, keep_until: at(seconds + 1200) }
    })
}

/// The decision under another id.
pub fn under(id: AuditId, mut decision: AttestDecision) -> AttestDecision {
    decision.record.id = id;
    if let Some(session) = &mut decision.session {
        session.attestation = id;
    }
    decision
}

/// A session of a guest that was appraised as `workload`, recorded by `audit`; no two have the same key.
pub fn session_as(workload: &Workload, audit: &AuditRecord) -> SealedSession {
    let [guest_key, ..] = guest_keys();
    SealedSession {
        workload_id: workload.id.clone(),
        standing: workload.standing(),
        dialect: Dialect::Libkrun,
        guest_key,
        evidence: EvidenceDigest::of(Uuid::new_v4().as_bytes()),
        attestation: audit.id,
        expires_at: expiry(),
        key: 7,
        mac: Base64([0x3C; 32]),
    }
}

/// A guest's key of each kind, the first two with the same numbers; no guest holds any of them.
pub fn guest_keys() -> [GuestKey; 3] {
    let modulus = odd([[0xff; 240].as_slice(), Uuid::new_v4().as_bytes()].concat());
    let pair = PrivateKey::generate(&ECDH_P256).expect("a key pair");
    let point = pair.compute_public_key().expect("its public half");
    let (_, coordinates) = point.as_ref().split_at(1);
    let (x, y) = coordinates.split_at(32);
    let keys = [
        GuestKey::rsa(&modulus, &[1, 0, 1]),
        GuestKey::rsa_oaep_256(&modulus, &[1, 0, 1]),
        GuestKey::p256(x, y),
    ];
    keys.map(|key| key.expect("a guest's key"))
}

/// A ring of two keys, unlike any other.
pub fn ring() -> Keyring {
    let wrapped = || WrappedSecret {
        key_id: "local:0000000000000000".to_owned(),
        ciphertext: Uuid::new_v4().as_bytes().to_vec(),
    };
    Keyring::default().with(wrapped(), at(0)).with(wrapped(), at(8 * 24 * 3600))
}

/// A ring of signing keys, unlike any other: an earlier one, the current one and a prepared one.
pub fn signing_ring() -> Keyring {
    let add = |ring: Keyring, used: bool| {
        let wrapped = WrappedSecret {
            key_id: "local:0000000000000000".to_owned(),
            ciphertext: Uuid::new_v4().as_bytes().to_vec(),
        };
        let public = signing::drawn().expect("a key").1;
        let ring = ring.with_signing(wrapped, public, at(0)).expect("a next key");
        if used { ring.with_prepared_used(at(1)).expect("a prepared key") } else { ring }
    };
    add(add(add(Keyring::default(), false), true), false)
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
    static MADE: AtomicU32 = AtomicU32::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    // Behind the time come 4 bits of the version, 12, 2 of the variant, and 62. The first 26 free ones count.
    let counted = [made >> 22, made >> 14, made >> 8, made].map(|bits| bits.to_be_bytes()[3]);
    let mut rest = [0; 10];
    let random = Uuid::new_v4().into_bytes();
    rest.iter_mut().zip(counted.into_iter().chain(random)).for_each(|(byte, value)| *byte = value);
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
    let record = audit(seconds, Operation::Operate, Decision::Revoked);
    let reason = Some(format!("leak number {seconds}"));
    AuditRecord { principal: Some(format!("uid/{seconds}")), reason, ..record }
}

/// The record of a restoration, so many seconds into the suite.
pub fn restored(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Operate, Decision::Restored)
}

/// The record of a secret that was set, so many seconds into the suite.
pub fn amended(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Operate, Decision::ResourceSet)
}

/// The record of a move to another wrapping key, so many seconds into the suite.
pub fn rewrapped(seconds: i64) -> AuditRecord {
    audit(seconds, Operation::Operate, Decision::Rewrapped)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_time_have_ids_in_their_order() {
        // More than 12 or 18 bits count.
        let ids: Vec<_> = (0..1 << 19).map(|_| id_at(at(0))).collect();
        assert!(ids.is_sorted());
    }
}
