//! The broker's own secret keys: rings of them, kept wrapped in the store, each ring for one purpose.
//!
//! The rings of keys for keyed hashes turn by themselves. The instance that needs a key first makes it; one
//! that finds the newest older than [`Keyring::TURNS_AFTER`] adds the next. Every other instance looks into
//! the store once in [`Keys::LOOKS_EVERY`](crate::keys::Keys::LOOKS_EVERY), so a new key counts only
//! [`Keyring::LEAD`] after it was written: by then all know it.
//!
//! The ring of keys for attestation results ([`ResultKey`]) turns in the same way. The ring of signing keys
//! ([`signing`]) turns on an operator's word alone: guests know these keys.

pub mod signing;

mod key;
mod public;
mod result;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use keybroker_initdata::BrokerKey;
use serde::{Deserialize, Serialize};

pub use self::{
    key::Key,
    public::PublicHalf,
    result::{ResultJwk, ResultKey, ResultPublicKey},
};
use crate::{
    clock::{CLOCKS_DIFFER, has_been},
    secret::{KeyError, Secret, WrappedSecret},
};

/// The one use of a ring's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Making challenges and recognising them: for `auth` and `attest`.
    Challenge,
    /// Making sessions: for `attest` alone.
    Session,
    /// Signing attestation results: for `attest` alone.
    Result,
    /// Signing answers to guests that know the public key: for `attest` alone.
    Signature,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Challenge, Self::Session, Self::Result, Self::Signature];
    /// Those whose rings turn by themselves: all but the one whose keys guests know.
    pub const TURNING: [Self; 3] = [Self::Challenge, Self::Session, Self::Result];

    /// The name that stands in the encryption context of the ring's keys.
    pub fn context(self) -> &'static str {
        match self {
            Self::Challenge => "keybroker/challenge",
            Self::Session => "keybroker/session",
            Self::Result => "keybroker/result",
            Self::Signature => "keybroker/signature",
        }
    }

    /// The name of the ring's row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Session => "session",
            Self::Result => "result",
            Self::Signature => "signature",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Wraps and unwraps the keys of one ring, and nothing else: its encryption context is the ring's purpose
/// alone, under which no secret of a workload is ever wrapped.
#[async_trait::async_trait]
pub trait KeyringWrap: fmt::Debug + Send + Sync {
    /// Encrypts a key.
    async fn wrap_key(&self, key: &Secret) -> Result<WrappedSecret, KeyError>;

    /// Decrypts what [`Self::wrap_key`] gave, or refuses with [`KeyError::Mismatch`].
    async fn unwrap_key(&self, wrapped: &WrappedSecret) -> Result<Secret, KeyError>;
}

/// A ring as the store holds it: one row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    /// The keys, the newest last.
    pub keys: Vec<WrappedKey>,
    /// The number of the last key that was made: the next has the number after it.
    pub last: u8,
    /// Whether an operator asked for a new key.
    pub due: bool,
}

/// A key of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Its number: a session id names the key by it.
    pub number: u8,
    /// The key, wrapped: [`Keyring::KEY_LEN`] bytes, or the private half of a key that signs.
    pub wrapped: WrappedSecret,
    /// The public half of a key that signs, in the clear. Keys for keyed hashes have none.
    #[serde(with = "public", skip_serializing_if = "Option::is_none", default)]
    pub public: Option<PublicHalf>,
    /// When it was made.
    pub made_at: Timestamp,
    /// From when on it is used. `None` of a signing key until an operator has it used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Timestamp>,
}

impl WrappedKey {
    /// The public half of a key that signs answers.
    pub fn signing_key(&self) -> Option<&BrokerKey> {
        match &self.public {
            Some(PublicHalf::Answers(key)) => Some(key),
            _ => None,
        }
    }

    /// The public half of a key that signs attestation results.
    pub fn result_key(&self) -> Option<&ResultPublicKey> {
        match &self.public {
            Some(PublicHalf::Results(key)) => Some(key),
            _ => None,
        }
    }

    /// Whether its time has come at `now`.
    fn is_used(&self, now: Timestamp) -> bool {
        self.from.is_some_and(|from| from <= now)
    }
}

impl Keyring {
    /// Length of a key, in bytes.
    pub const KEY_LEN: usize = 32;
    /// The age at which the newest key gets a successor.
    pub const TURNS_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
    /// The time from when a key is written until it is used.
    pub const LEAD: SignedDuration = SignedDuration::from_mins(2);
    /// The time for which a ring keeps a key that has a successor: twice the longest life of a challenge and
    /// of a session (a day each), and a reserve.
    const KEPT_FOR: SignedDuration = SignedDuration::from_hours(2 * 24 + 1);

    /// How far ahead a key may be dated and yet stay in the ring. Here it does not count; where clocks are
    /// right it may be in use.
    const AHEAD: SignedDuration = SignedDuration::from_hours(24);

    /// Whether the ring lacks a next key at `now`. A newest key that a clock dated far ahead does not count.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due || !self.keys.last().is_some_and(|key| has_been(key.made_at, now, Self::TURNS_AFTER))
    }

    /// The number of the next key.
    pub fn next_number(&self) -> u8 {
        self.last.wrapping_add(1)
    }

    /// The key that is used at `now`: the newest whose time has come.
    pub fn current(&self, now: Timestamp) -> Option<&WrappedKey> {
        self.keys.iter().rfind(|key| key.is_used(now))
    }

    /// The ring with `wrapped` as its newest key for keyed hashes, and without what nothing rests on any
    /// more.
    ///
    /// A ring without a usable key uses the new one at once, by every instance's clock: nobody has another.
    pub fn with(&self, wrapped: WrappedSecret, now: Timestamp) -> Self {
        self.with_next(wrapped, None, now)
    }

    /// The ring with one more key for attestation results, in the same way.
    pub fn with_result(&self, wrapped: WrappedSecret, public: ResultPublicKey, now: Timestamp) -> Self {
        self.with_next(wrapped, Some(PublicHalf::Results(public)), now)
    }

    fn with_next(&self, wrapped: WrappedSecret, public: Option<PublicHalf>, now: Timestamp) -> Self {
        let number = self.next_number();
        let from = if self.current(now).is_some() { now + Self::LEAD } else { now - CLOCKS_DIFFER };
        let mut keys: Vec<_> = self.honoured(now, Self::KEPT_FOR).cloned().collect();
        keys.retain(|key| key.number != number && key.made_at <= now + Self::AHEAD);
        keys.push(WrappedKey { number, wrapped, public, made_at: now, from: Some(from) });
        Self { keys, last: number, due: false }
    }

    /// The keys that count at `now` for what was made under them: those without a successor, and those whose
    /// successor came less than `after` ago. A key that nobody has used counts for nothing.
    pub fn honoured(&self, now: Timestamp, after: SignedDuration) -> impl Iterator<Item = &WrappedKey> {
        self.keys.iter().enumerate().filter_map(move |(index, key)| {
            let came = self.keys.get(index + 1).and_then(|next| next.from);
            let counts = key.from.is_some() && came.is_none_or(|came| now.duration_since(came) < after);
            counts.then_some(key)
        })
    }

    /// The ring after an operator asked for a new key: the next instance that looks makes it.
    pub fn turned(&self) -> Self {
        Self { due: true, ..self.clone() }
    }

    /// The ring without any key: what was made under the old ones does not count, and the next instance that
    /// looks makes a new one.
    pub fn emptied(&self) -> Self {
        Self { keys: Vec::new(), due: false, last: self.last }
    }
}

#[cfg(test)]
mod tests;
