//! Rings of keys that a test knows, and all that their holder can make: computed here once more, apart from
//! the broker's own code.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use keybroker_common::{
    decision::SealedSession,
    encoding::Base64,
    ids::{CarriedId, Claim, SessionId, WorkloadId},
    keyring::{Keyring, KeyringWrap, Purpose},
    secret::{Secret, seal::GuestKey},
    store::KeyringStore,
};

/// The number of each known key.
const NUMBER: u8 = 1;

fn key(purpose: Purpose) -> [u8; Keyring::KEY_LEN] {
    match purpose {
        Purpose::Challenge => [0xC7; 32],
        Purpose::Session => [0x5E; 32],
        Purpose::Result | Purpose::Signature => panic!("nobody forges what a key that signs makes"),
    }
}

/// Has `store`, which has no ring yet, use the known key of a ring from `now` on.
pub async fn plant(store: &impl KeyringStore, purpose: Purpose, wrap: &impl KeyringWrap, now: Timestamp) {
    let wrapped = wrap.wrap_key(&Secret::new(key(purpose).to_vec())).await.unwrap();
    let ring = Keyring::default().with(wrapped, now);
    assert_eq!(ring.last, NUMBER);
    store.put_keyring(purpose, None, &ring).await.unwrap();
}

/// A session id as `deployment` makes one, of a guest that names this workload.
pub fn session_id(
    deployment: &str,
    made_at: Timestamp,
    random: [u8; 12],
    workload: &WorkloadId,
) -> SessionId {
    let claim = Claim::Named(CarriedId::new(workload.clone()).unwrap());
    session_id_of(deployment, made_at, random, claim)
}

/// The same of a guest that claims this.
pub fn session_id_of(deployment: &str, made_at: Timestamp, random: [u8; 12], claim: Claim) -> SessionId {
    let made_at = u32::try_from(made_at.as_second()).unwrap();
    SessionId::new(NUMBER, made_at, random, claim, |tagged| {
        let parts = [deployment.as_bytes(), tagged];
        *hash(Purpose::Challenge, "keybroker/v1 tag of a session id", &parts).first_chunk().unwrap()
    })
}

/// The same session under a MAC that counts for `id`.
pub fn sealed(id: &SessionId, session: SealedSession) -> SealedSession {
    let session = SealedSession { key: NUMBER, ..session };
    let restored = session.standing.restored_by;
    let (id, registration) = (id.expose(), session.standing.registration.to_string());
    let (dialect, key, end) =
        ([session.dialect.number()], [session.key], session.expires_at.as_nanosecond().to_be_bytes());
    let jwk = serde_json::to_string(&session.guest_key.jwk()).unwrap();
    let guest_key = match &session.guest_key {
        GuestKey::Rsa(key) => [key.modulus().to_vec(), key.exponent().to_vec()],
        GuestKey::RsaOaep256(_) => [b"RSA-OAEP-256".to_vec(), jwk.into_bytes()],
        GuestKey::P256(_) => [b"ECDH-ES+A256KW".to_vec(), jwk.into_bytes()],
    };
    let parts: [&[u8]; 11] = [
        id.as_bytes(),
        session.workload_id.as_str().as_bytes(),
        registration.as_bytes(),
        restored.as_ref().map_or(&[], |id| id.0.as_bytes().as_slice()),
        &dialect,
        &guest_key[0],
        &guest_key[1],
        &session.evidence.0.0,
        session.attestation.0.as_bytes(),
        &end,
        &key,
    ];
    let mac = hash(Purpose::Session, "keybroker/v1 session", &parts);
    SealedSession { mac: Base64(mac), ..session }
}

fn hash(purpose: Purpose, label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut text = Vec::new();
    for part in [label.as_bytes()].iter().chain(parts) {
        text.extend_from_slice(&u64::try_from(part.len()).unwrap().to_be_bytes());
        text.extend_from_slice(part);
    }
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key(purpose)), &text);
    tag.as_ref().try_into().unwrap()
}
