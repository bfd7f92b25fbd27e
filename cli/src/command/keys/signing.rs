//! A signing key's public half, as operators read it and as a document names it.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use jiff::{SignedDuration, Timestamp, Unit};
use keybroker_initdata::{BrokerKey, KeyId};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    table, when,
};

/// The public half in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PublicKey {
    /// The SHA-256 of the point, in hex.
    pub(super) key_id: String,
    /// The same in base64url, as a guest's request names the key.
    key_id_base64url: String,
    /// The uncompressed point in base64url, as a document names it.
    public_key: String,
}

impl PublicKey {
    pub(super) fn of(key: &BrokerKey) -> Self {
        let id = key.id();
        Self {
            key_id: HEXLOWER.encode(id.as_bytes()),
            key_id_base64url: id.to_string(),
            public_key: key.to_string(),
        }
    }

    /// The lines for a document's file keybroker.toml.
    fn lines(&self, not_after: Timestamp) -> String {
        let Self { key_id, key_id_base64url, public_key } = self;
        format!(
            "# KeyId {key_id}\n# KeyId {key_id_base64url} in base64url\n[[broker_key]]\nkey = \
             \"{public_key}\"\nnot_after = {not_after}\n"
        )
    }
}

/// Until when a document takes a key.
#[derive(Debug, clap::Args)]
pub(super) struct ValidityArgs {
    /// For how long a document takes the keys that are printed: 365d. It goes into `not_after`, which you may
    /// change
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = when::duration)]
    valid_for: SignedDuration,
}

impl ValidityArgs {
    /// Prints `keys` as lines for a document.
    pub(super) fn print<'a>(&self, keys: impl IntoIterator<Item = &'a BrokerKey>) -> Result<Exit, Failure> {
        let end = Timestamp::now().checked_add(self.valid_for).unwrap_or(Timestamp::MAX);
        let not_after = end.round(Unit::Second).unwrap_or(end);
        let lines: Vec<_> = keys.into_iter().map(|key| PublicKey::of(key).lines(not_after)).collect();
        table::line(lines.join("\n").trim_end())?;
        Ok(Exit::Ok)
    }
}

/// A key's id as an argument: in hex, or in base64url.
pub(super) fn key_id(text: &str) -> Result<KeyId, &'static str> {
    let hex = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let id = hex.map(KeyId::from_bytes).or_else(|| KeyId::from_text(text));
    id.ok_or("must be a key's id: 64 hex digits, or 43 characters of base64url")
}

/// The first digits of a key's id, for a sentence.
pub(super) fn short(id: &KeyId) -> String {
    HEXLOWER.encode(id.as_bytes()).chars().take(16).chain(['…']).collect()
}
