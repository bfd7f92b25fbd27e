//! A request for secrets, and the hash that binds evidence to it.

use keybroker_initdata::{InitDataDigest, KeyId};
use sha2::{Digest, Sha512};

use crate::{
    encode::{count, encoded},
    hash::AskHash,
    suite::Suite,
};

/// A guest's request for secrets: everything in it but the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The challenge, as the broker gave it.
    pub challenge: String,
    /// The workload that the guest says it is.
    pub workload: String,
    /// The names of the secrets that it asks for, in its order.
    pub secrets: Vec<String>,
    /// How they are to be sealed.
    pub suite: Suite,
    /// The key that they are to be sealed to, as RFC 9180 serialises it for the suite.
    pub public_key: Vec<u8>,
    /// The digest of the guest's init data.
    pub init_data: InitDataDigest,
    /// The broker's keys that it accepts a signature of.
    pub broker_keys: Vec<KeyId>,
}

impl Ask {
    const LABEL: &'static str = "keybroker/v1 release";

    /// The bytes that are hashed: the label and every field, each after its length in 8 big-endian bytes.
    /// Lists begin with their number, in 8 big-endian bytes.
    pub fn transcript(&self) -> Vec<u8> {
        // A field that is added must be added here, or this does not compile.
        let Self { challenge, workload, secrets, suite, public_key, init_data, broker_keys } = self;
        let (secret_count, key_count) = (count(secrets.len()), count(broker_keys.len()));
        let mut parts: Vec<&[u8]> = vec![
            challenge.as_bytes(),
            workload.as_bytes(),
            suite.name().as_bytes(),
            public_key,
            init_data.algorithm().name().as_bytes(),
            init_data.bytes(),
            &secret_count,
        ];
        parts.extend(secrets.iter().map(String::as_bytes));
        parts.push(&key_count);
        parts.extend(broker_keys.iter().map(|id| id.as_bytes().as_slice()));
        encoded(Self::LABEL, parts)
    }

    /// The hash of the request.
    pub fn hash(&self) -> AskHash {
        AskHash(Sha512::digest(self.transcript()).into())
    }
}
