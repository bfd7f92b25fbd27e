//! Why a request for secrets is not understood.

use super::release::{MAX_BROKER_KEYS, MAX_SECRETS};

/// Why a request for secrets is refused, by the field that is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseFault {
    /// Not a challenge of this broker's form.
    #[error("challenge is not one that POST /v1/challenge answers")]
    Challenge,
    /// No secret, too many, one twice, or a name that no secret has.
    #[error("secrets is not 1 to {MAX_SECRETS} different names of A-Z a-z 0-9 . _ -")]
    Secrets,
    /// A suite that is not served.
    #[error("suite is not hpke-p384-sha384-aes256gcm or hpke-x25519-sha256-aes256gcm")]
    Suite,
    /// A field is not base64url without padding.
    #[error("{0} is not base64url without padding")]
    Base64(&'static str),
    /// A public key of another length than its suite's.
    #[error("public_key has another length than the suite's keys")]
    PublicKey,
    /// Both forms of init data, or neither, or no digest.
    #[error("init_data is not a document, or an algorithm (sha256, sha384, sha512) with a digest in hex")]
    InitData,
    /// No broker key, too many, or one that is no id.
    #[error("broker_keys is not 1 to {MAX_BROKER_KEYS} ids of 32 bytes")]
    BrokerKeys,
    /// Another kind of evidence.
    #[error("evidence.type is not \"snp\" or \"az-snp-vtpm\"")]
    Evidence,
}
