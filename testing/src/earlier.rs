//! Stores of earlier releases.

use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use keybroker_common::{ids::RegistrationDigest, secret::WrappedSecret};
use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use uuid::Uuid;

/// The id of the record of audit.
pub const RECORD: Uuid = Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0000_0001);
/// The id of the token.
pub const TOKEN: [u8; 16] = [7; 16];
const SESSION: &str = "0123456789abcdef0123456789abcdef";

/// Writes a store as release 0.1 wrote it, with a row in each table. The workload's id is `w`, and its
/// passphrase was sealed by the key of the store.
pub fn store_of_0_1(file: &Path, registration: &[u8], passphrase: &WrappedSecret) {
    let database = Database::create(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
    {
        let mut meta = transaction.open_table(meta).unwrap();
        meta.insert("format", "1").unwrap();
        meta.insert("wrapping_key", passphrase.key_id.as_str()).unwrap();
    }
    let put = |table: &str, key: &[u8], row: &Value| {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
        let row = serde_json::to_vec(row).unwrap();
        transaction.open_table(table).unwrap().insert(key, row.as_slice()).unwrap();
    };
    let digest = RegistrationDigest::of(registration).to_string();
    let (long_ago, expired) = ("2026-01-02T03:04:05.678Z", "2026-01-02T03:09:05.678Z");
    put(
        "workloads",
        b"w",
        &json!({
            "id": "w",
            "registration": BASE64.encode(registration),
            "secrets": {"passphrase": passphrase},
            "first_registered_at": long_ago,
            "revoked_at": null,
            "released_at": long_ago,
        }),
    );
    put(
        "tokens",
        &TOKEN,
        &json!({
            "id": HEXLOWER.encode(&TOKEN),
            "created_at": long_ago,
            "expires_at": long_ago,
            "note": "a build",
            "made_for": null,
            "bound": {"workload_id": "w", "at": long_ago},
            "revoked_at": null,
        }),
    );
    put(
        "challenges",
        SESSION.as_bytes(),
        &json!({
            "session_id": SESSION,
            "nonce": "00".repeat(32),
            "dialect": "v0",
            "workload_id": "w",
            "expires_at": expired,
        }),
    );
    put(
        "sessions",
        SESSION.as_bytes(),
        &json!({
            "session_id": SESSION,
            "workload_id": "w",
            "registration": digest,
            "guest_key": {"modulus": BASE64.encode(&[0xff; 256]), "exponent": "AQAB"},
            "attestation": RECORD,
            "expires_at": expired,
        }),
    );
    put(
        "endorsements",
        b"Milan/vcek/chain",
        &json!({"bytes": BASE64.encode(b"PEM"), "fetched_at": long_ago, "edition": 0}),
    );
    put(
        "audit",
        RECORD.as_bytes(),
        &json!({
            "id": RECORD,
            "time": long_ago,
            "operation": "attest",
            "decision": "attested",
            "workload_id": "w",
            "registration": digest,
            "evidence": {
                "verified": true,
                "report_version": 2,
                "measurement": "ab".repeat(48),
                "chip_id": "cd".repeat(64),
                "product": "milan",
                "endorsement": "vcek",
                "reported_tcb": null,
                "policy": "0x30000",
                "vmpl": 0,
            },
        }),
    );
    for index in ["challenges_by_expiry", "sessions_by_expiry"] {
        let index: TableDefinition<'_, (i128, &[u8]), ()> = TableDefinition::new(index);
        let entry = (1_767_323_345_678_000_000, SESSION.as_bytes());
        transaction.open_table(index).unwrap().insert(entry, ()).unwrap();
    }
    transaction.commit().unwrap();
}
