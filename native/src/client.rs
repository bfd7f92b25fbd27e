//! The guest's side of a release.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use keybroker_initdata::{BrokerKey, InitDataDigest, KeyId};
use serde::{Deserialize, Serialize};

use crate::{Answer, AnswerError, Ask, AskHash, Evidence, SealError, Secret, Suite, suite::PrivateKey};

/// The path of the request for a challenge.
pub const CHALLENGE_PATH: &str = "/v1/challenge";
/// The body of the request for a challenge.
pub const CHALLENGE_BODY: &[u8] = b"{}";
/// The path of the request for secrets.
pub const RELEASE_PATH: &str = "/v1/release";

/// The broker's answer to the request for a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The challenge: one text, to be sent back as it is.
    pub challenge: String,
    /// How long it may be answered, in seconds.
    pub expires_in: u64,
}

impl Challenge {
    /// The longest challenge that a guest takes, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Reads the answer.
    pub fn from_json(body: &[u8]) -> Result<Self, AnswerError> {
        let challenge: Self = serde_json::from_slice(body).map_err(|_| AnswerError::Form)?;
        if (1..=Self::MAX_LEN).contains(&challenge.challenge.len()) {
            Ok(challenge)
        } else {
            Err(AnswerError::Form)
        }
    }
}

/// A problem that the broker answers (RFC 9457). Nobody signs it: it can end an attempt, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The status, again.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// The problem, in a few words.
    #[serde(default)]
    pub detail: String,
    /// The decision's id, where one was recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<String>,
}

impl Problem {
    /// Reads the answer.
    pub fn from_json(body: &[u8]) -> Result<Self, AnswerError> {
        serde_json::from_slice(body).map_err(|_| AnswerError::Form)
    }
}

/// A request of this guest, with the private key that opens its answer.
pub struct Pending {
    ask: Ask,
    hash: AskHash,
    key: PrivateKey,
}

impl Pending {
    /// A request for `secrets` of `workload`, in answer to `challenge`, with a fresh key.
    ///
    /// `init_data` is the digest of the guest's document, `broker_keys` are the keys in it that still count.
    pub fn new(
        suite: Suite,
        challenge: &Challenge,
        workload: &str,
        secrets: Vec<String>,
        init_data: InitDataDigest,
        broker_keys: Vec<KeyId>,
    ) -> Result<Self, SealError> {
        let (public_key, key) = suite.generate()?;
        let (challenge, workload) = (challenge.challenge.clone(), workload.to_owned());
        let ask = Ask { challenge, workload, secrets, suite, public_key, init_data, broker_keys };
        let hash = ask.hash();
        Ok(Self { ask, hash, key })
    }

    /// REPORT_DATA of the report that must go with it.
    pub fn report_data(&self) -> [u8; 64] {
        self.hash.0
    }

    /// The request's body, in JSON.
    pub fn request(&self, evidence: &Evidence) -> Vec<u8> {
        request(&self.ask, evidence)
    }

    /// The secrets in the answer's body, in the order in which they were asked for, and the decision's id.
    /// One of `keys` must have signed it; nothing is opened before that is known.
    pub fn open(self, body: &[u8], keys: &[&BrokerKey]) -> Result<Opened, AnswerError> {
        let sealed = Answer::from_json(body)?.verify(&self.hash, keys)?;
        let answered = sealed.secrets.iter().map(|secret| &secret.name);
        if !self.ask.secrets.iter().eq(answered) {
            return Err(AnswerError::Secrets);
        }
        let ciphertexts =
            sealed.secrets.iter().map(|secret| (secret.name.as_str(), secret.ciphertext.as_slice()));
        let opened = self.key.open(&self.hash, &sealed.encapsulated, ciphertexts);
        let secrets = opened.map_err(|_| AnswerError::Open)?;
        Ok(Opened { decision: sealed.decision, secrets })
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("ask", &self.ask).finish_non_exhaustive()
    }
}

/// The secrets of a request, in the order in which it asked for them.
pub struct Opened {
    /// The id of the broker's decision.
    pub decision: String,
    /// The secrets.
    pub secrets: Vec<Secret>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("decision", &self.decision).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    challenge: &'a str,
    workload: &'a str,
    secrets: &'a [String],
    suite: &'static str,
    public_key: String,
    init_data: InitData,
    broker_keys: Vec<String>,
    evidence: Snp,
}

#[derive(Serialize)]
struct InitData {
    algorithm: &'static str,
    digest: String,
}

#[derive(Serialize)]
struct Snp {
    r#type: &'static str,
    report: String,
    certificates: Vec<String>,
}

/// The body of the request `ask` with `evidence`, in JSON.
pub fn request(ask: &Ask, evidence: &Evidence) -> Vec<u8> {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let body = Body {
        challenge: &ask.challenge,
        workload: &ask.workload,
        secrets: &ask.secrets,
        suite: ask.suite.name(),
        public_key: text(&ask.public_key),
        init_data: InitData {
            algorithm: ask.init_data.algorithm().name(),
            digest: ask.init_data.to_string(),
        },
        broker_keys: ask.broker_keys.iter().map(KeyId::to_string).collect(),
        evidence: Snp {
            r#type: evidence.form.name(),
            report: text(&evidence.report),
            certificates: evidence.certificates.iter().map(|der| text(der)).collect(),
        },
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

#[cfg(test)]
mod example;
