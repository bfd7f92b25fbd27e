//! The answer to a request for secrets: what it says, what is signed of it, and its JSON.

use data_encoding::BASE64URL_NOPAD;
use keybroker_initdata::{BrokerKey, KeyId};
use serde::{Deserialize, Serialize};

use crate::{
    encode::{count, encoded},
    hash::AskHash,
    sign::{self, SigningKey, SigningKeyError},
};

/// A sealed secret, in its place in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Its name at the broker.
    pub name: String,
    /// The sealed secret, as the guest's key opens it.
    pub ciphertext: Vec<u8>,
}

/// The content of an answer before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the broker's decision, as `keybroker audit` takes it.
    pub decision: String,
    /// The encapsulated key, as RFC 9180 serialises it for the request's suite.
    pub encapsulated: Vec<u8>,
    /// Every secret that was asked for, in the order in which they were.
    pub secrets: Vec<SealedSecret>,
}

/// An answer, signed. Nothing of it may be used before [`Answer::verify`] gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    sealed: Sealed,
    broker_key: KeyId,
    signature: Vec<u8>,
}

/// Why an answer is not the broker's to this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The body is not an answer.
    #[error("the answer does not have the form that docs/protocol.md prescribes")]
    Form,
    /// It is signed under a key that the document does not name, or whose time is over.
    #[error("the answer is signed under a key that the document does not name")]
    Key,
    /// The signature does not hold.
    #[error("the answer's signature does not hold")]
    Signature,
    /// Other secrets than were asked for, or in another order.
    #[error("the answer does not hold the secrets that were asked for")]
    Secrets,
    /// A secret does not open.
    #[error("a sealed secret cannot be opened")]
    Open,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    decision: String,
    broker_key: String,
    encapsulated: String,
    secrets: Vec<Named>,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    ciphertext: String,
}

impl Sealed {
    const LABEL: &'static str = "keybroker/v1 answer";
    const STATUS: u16 = 200;

    /// The bytes that are signed: the label, the hash of the request, and the whole answer but its signature.
    pub(crate) fn signed(&self, hash: &AskHash, broker_key: &KeyId) -> Vec<u8> {
        let Self { decision, encapsulated, secrets } = self;
        let (status, number) = (Self::STATUS.to_be_bytes(), count(secrets.len()));
        let mut parts: Vec<&[u8]> =
            vec![hash.as_ref(), &status, decision.as_bytes(), broker_key.as_bytes(), encapsulated, &number];
        parts.extend(secrets.iter().flat_map(|secret| [secret.name.as_bytes(), &secret.ciphertext]));
        encoded(Self::LABEL, parts)
    }

    /// The answer to the request with this `hash`, under the signature of `key`.
    pub fn sign(self, hash: &AskHash, key: &SigningKey) -> Result<Answer, SigningKeyError> {
        let broker_key = key.broker_key().id();
        let signature = key.sign(&self.signed(hash, &broker_key))?.to_vec();
        Ok(Answer { sealed: self, broker_key, signature })
    }
}

impl Answer {
    /// The body, in JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let named =
            |secret: &SealedSecret| Named { name: secret.name.clone(), ciphertext: text(&secret.ciphertext) };
        let body = Body {
            decision: self.sealed.decision.clone(),
            broker_key: self.broker_key.to_string(),
            encapsulated: text(&self.sealed.encapsulated),
            secrets: self.sealed.secrets.iter().map(named).collect(),
            signature: text(&self.signature),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Reads a body. That the broker made it is not established here.
    pub fn from_json(body: &[u8]) -> Result<Self, AnswerError> {
        let body: Body = serde_json::from_slice(body).map_err(|_| AnswerError::Form)?;
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| AnswerError::Form);
        let mut secrets = Vec::with_capacity(body.secrets.len());
        for Named { name, ciphertext } in body.secrets {
            secrets.push(SealedSecret { name, ciphertext: bytes(&ciphertext)? });
        }
        let encapsulated = bytes(&body.encapsulated)?;
        let broker_key = KeyId::from_text(&body.broker_key).ok_or(AnswerError::Form)?;
        Ok(Self {
            sealed: Sealed { decision: body.decision, encapsulated, secrets },
            broker_key,
            signature: bytes(&body.signature)?,
        })
    }

    /// The content of the answer, if one of `keys` signed it, as the answer to the request with this `hash`.
    pub fn verify(self, hash: &AskHash, keys: &[&BrokerKey]) -> Result<Sealed, AnswerError> {
        let key = keys.iter().find(|key| key.id() == self.broker_key).ok_or(AnswerError::Key)?;
        let signed = self.sealed.signed(hash, &self.broker_key);
        if sign::verify(key, &signed, &self.signature) {
            Ok(self.sealed)
        } else {
            Err(AnswerError::Signature)
        }
    }
}
