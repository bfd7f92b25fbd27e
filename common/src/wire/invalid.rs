//! Why a request is not one that its dialect knows.

use std::fmt;

use super::{keybroker::RegistrationFault, native::ReleaseFault, trustee::KeyFault};
use crate::{ids::WorkloadIdError, secret::seal::GuestKeyError};

/// Why a request was not understood. The texts go to the client: short, fixed, and without the request's
/// contents but for the name of a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A part of the body does not have the form that is prescribed for it.
    #[error("{part}: {fault}")]
    Json {
        /// Which part.
        part: Part,
        /// The fault of the part.
        fault: Fault,
    },
    /// The workload id breaks the rules of [`WorkloadId`](crate::ids::WorkloadId).
    #[error(transparent)]
    WorkloadId(#[from] WorkloadIdError),
    /// The id is one that a session id cannot carry ([`CarriedId`](crate::ids::CarriedId)).
    #[error("the workload id is too long: 64 characters at most, 48 bytes if not all can stand in a cookie")]
    WorkloadIdForCookie,
    /// The path's last segment is not percent-encoded UTF-8.
    #[error("the path is not UTF-8")]
    Path,
    /// buildah had no firmware to measure, and was told to go on.
    #[error("launch_measurement is empty: buildah needs libkrunfw-sev to compute it")]
    MeasurementEmpty,
    /// As long as the measurement of a technology without SNP's integrity protection.
    #[error("launch_measurement is SEV's or SEV-ES's (64 hex digits): SEV-SNP is needed (96)")]
    MeasurementOfSev,
    /// Anything else but 96 hex digits.
    #[error("launch_measurement is not 96 hex digits")]
    Measurement,
    /// Empty, or more than an RSA-2048 key encrypts.
    #[error("passphrase must have 1 to 245 bytes")]
    PassphraseLength,
    /// The guest would take what precedes the NUL for all of it.
    #[error("passphrase holds a NUL byte")]
    PassphraseNul,
    /// Flags beyond those that mean anything for SEV-SNP.
    #[error("tee_config: flags.bits is not within 0 to 15, which is what SEV-SNP knows")]
    TeeConfigBits,
    /// Another TEE than SEV-SNP.
    #[error("this broker serves tee \"snp\", and of Trustee's guests \"az-snp-vtpm\" (\"azsnpvtpm\")")]
    Tee,
    /// Another version of the protocol.
    #[error(
        "version: spoken are 0.0.0 with a workload_id, and 0.1.0, 0.1.1, 0.2.0, 0.4.0 with their own extra-params"
    )]
    Version,
    /// None of the hash functions that the guest offers is served.
    #[error("supported-hash-algorithms has none of sha256, sha384, sha512")]
    ReportHash,
    /// A registration by reference values that cannot be held to.
    #[error(transparent)]
    Registration(#[from] RegistrationFault),
    /// No resource has such a name.
    #[error("the path names no resource")]
    ResourceName,
    /// The report is not hex.
    #[error("tee-evidence: report is not hex")]
    ReportHex,
    /// The guest's key is of another kind than RSA.
    #[error("tee-pubkey: alg is not \"RSA\"")]
    KeyAlgorithm,
    /// A number of the guest's key is not standard base64 with padding.
    #[error("tee-pubkey: k-mod or k-exp is not standard base64 with padding")]
    KeyBase64,
    /// The guest's key is not fit to encrypt to.
    #[error("tee-pubkey: {0}")]
    Key(#[from] GuestKeyError),
    /// Another exponent than every client's, or another spelling of it.
    #[error("tee-pubkey: the public exponent is not 65537 (k-exp \"AQAB\")")]
    KeyExponent,
    /// A key of a Trustee guest that secrets are not sealed to.
    #[error("tee-pubkey: {0}")]
    TrusteeKey(#[from] KeyFault),
    /// Evidence of other devices beside the report.
    #[error("additional_evidence is not served: it must be empty")]
    AdditionalEvidence,
    /// Init data that has no digest.
    #[error("init-data is not a TOML document with version 0.1.0, algorithm and data")]
    InitData,
    /// More certificates than a chain has.
    #[error("more than 8 certificates")]
    CertificateCount,
    /// A certificate longer than any of AMD's.
    #[error("a certificate is longer than 16 KiB")]
    CertificateLength,
    /// A request for secrets that cannot be read.
    #[error(transparent)]
    Release(#[from] ReleaseFault),
    /// An Authorization header that carries no attestation result.
    #[error("the Authorization header is not Bearer with an attestation result")]
    Authorization,
    /// Two session ids: which one is meant cannot be known.
    #[error("the request names two sessions")]
    Cookies,
}

/// A part of a request that has a form of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The body itself.
    Body,
    /// The text in `tee_config`.
    TeeConfig,
    /// The text in `extra-params`.
    ExtraParams,
    /// The text in `tee-evidence`.
    TeeEvidence,
    /// The text in `cert_chain`.
    CertChain,
    /// The object in `reference_values`.
    ReferenceValues,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "body",
            Self::TeeConfig => "tee_config",
            Self::ExtraParams => "extra-params",
            Self::TeeEvidence => "tee-evidence",
            Self::CertChain => "cert_chain",
            Self::ReferenceValues => "reference_values",
        })
    }
}

/// The fault of a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not JSON in UTF-8, or something follows it.
    #[error("not JSON")]
    Syntax,
    /// A value of another type, or out of its type's range.
    #[error("a value of the wrong type")]
    Type,
    /// A field that is not known here.
    #[error("unknown field {0}")]
    UnknownField(FieldName),
    /// A field that comes twice.
    #[error("duplicate field {0}")]
    DuplicateField(FieldName),
    /// A field that does not come.
    #[error("missing field {0}")]
    MissingField(FieldName),
}

/// A field's name as far as it may be repeated to its sender: up to 40 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(String);

impl FieldName {
    /// Longest name that is repeated.
    pub const MAX_LEN: usize = 40;

    /// Takes `name` over if it is harmless, and `?` in its place if it is not.
    pub fn new(name: &str) -> Self {
        let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let whole = (1..=Self::MAX_LEN).contains(&name.len()) && name.chars().all(harmless);
        Self(if whole { name } else { "?" }.to_owned())
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_strange_name_is_not_repeated() {
        assert_eq!(FieldName::new("tee-evidence").to_string(), "tee-evidence");
        assert_eq!(FieldName::new(&"n".repeat(40)).to_string(), "n".repeat(40));
        for name in ["", "a b", "a\"b", "a\nb", "é", "<script>", &"n".repeat(41)] {
            assert_eq!(FieldName::new(name).to_string(), "?", "{name:?}");
        }
    }
}
