//! The two requests with a body, and what a report binds.

use super::{
    json::{canonical, object, string},
    version::{HashAlgorithm, KbsVersion},
};

/// The request for a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The value of `version`.
    pub version: String,
    /// The value of `tee`.
    pub tee: String,
    /// The names in `supported-hash-algorithms`. `None` if `extra-params` is the empty string.
    pub offered: Option<Vec<String>>,
}

impl Auth {
    /// The body.
    pub fn body(&self) -> String {
        let extra = self.offered.as_ref().map_or_else(
            || string(""),
            |offered| {
                let names: Vec<String> = offered.iter().map(|name| string(name)).collect();
                object([("supported-hash-algorithms", format!("[{}]", names.join(",")))])
            },
        );
        object([("version", string(&self.version)), ("tee", string(&self.tee)), ("extra-params", extra)])
    }
}

/// A public key as a JWK: members in the order in which they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk(pub Vec<(String, String)>);

impl Jwk {
    /// A key with these members.
    pub fn new<const N: usize>(members: [(&str, &str); N]) -> Self {
        Self(members.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }

    /// The text that is sent.
    pub fn json(&self) -> String {
        object(self.0.iter().map(|(name, value)| (name, string(value))))
    }

    /// The value of a member.
    pub fn member(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Gives a member another value, or adds it.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }
}

/// The evidence with what it binds, before it is written. The fields are public, so that a test can send what
/// it did not bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The version whose form the body has.
    pub version: KbsVersion,
    /// The nonce as text.
    pub nonce: String,
    /// The guest's public key.
    pub tee_pubkey: Jwk,
    /// The JSON text of the evidence.
    pub evidence: String,
    /// The evidence of devices, a text. Sent and hashed from 0.4.0 on.
    pub additional_evidence: String,
    /// The init data document as text, sent from 0.4.0 on.
    pub init_data: Option<String>,
}

impl Attestation {
    /// The text whose hash is REPORT_DATA.
    pub fn runtime_data(&self) -> String {
        let mut members = vec![
            ("nonce", self.nonce.clone().into()),
            ("tee-pubkey", self.tee_pubkey.0.iter().cloned().collect::<serde_json::Value>()),
        ];
        if self.version.composite() {
            members.push(("additional-evidence", self.additional_evidence.clone().into()));
        }
        canonical(&members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// REPORT_DATA: the hash, then zeros.
    pub fn report_data(&self, hash: HashAlgorithm) -> [u8; 64] {
        let mut report_data = [0; 64];
        let digest = hash.digest(self.runtime_data().as_bytes());
        report_data.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        report_data
    }

    /// The body.
    pub fn body(&self) -> String {
        let key = ("tee-pubkey", self.tee_pubkey.json());
        if !self.version.composite() {
            let evidence = self.evidence.clone();
            let evidence = if self.version.evidence_in_string() { string(&evidence) } else { evidence };
            return object([key, ("tee-evidence", evidence)]);
        }
        let init_data = self.init_data.as_ref().map_or_else(
            || "null".to_owned(),
            |text| object([("format", string("toml")), ("body", string(text))]),
        );
        let evidence = object([
            ("primary_evidence", self.evidence.clone()),
            ("additional_evidence", string(&self.additional_evidence)),
        ]);
        object([
            ("init-data", init_data),
            ("runtime-data", object([("nonce", string(&self.nonce)), key])),
            ("tee-evidence", evidence),
        ])
    }
}
