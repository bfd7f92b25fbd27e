//! Sealing to a guest's key: HPKE in base mode (RFC 9180), as rustls has it over aws-lc-rs.

use std::fmt;

use rustls::crypto::{
    aws_lc_rs::hpke,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey, HpkeSealer},
};

use crate::{Secret, encode::encoded, hash::AskHash};

/// A suite of HPKE by its name in a request: KEM, KDF and AEAD. A hybrid with ML-KEM would be one more row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM: `hpke-p384-sha384-aes256gcm`.
    P384,
    /// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: `hpke-x25519-sha256-aes256gcm`.
    X25519,
}

/// Sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The guest's public key is no point of the suite's curve, or the library could not seal to it.
    #[error("nothing can be sealed to the public key")]
    Seal,
    /// A sealed secret is not what it should be: made for another key or request, moved, or altered.
    #[error("a sealed secret cannot be opened")]
    Open,
    /// No key could be made.
    #[error("no key could be made")]
    Key,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::P384, Self::X25519];
    const INFO: &'static str = "keybroker/v1 secrets";

    /// Its name, as a request carries it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P384 => "hpke-p384-sha384-aes256gcm",
            Self::X25519 => "hpke-x25519-sha256-aes256gcm",
        }
    }

    /// The suite of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Length of a public key and of an encapsulated key, in bytes.
    pub fn public_len(self) -> usize {
        match self {
            Self::P384 => 97,
            Self::X25519 => 32,
        }
    }

    /// `info` of RFC 9180 for the request with this `hash`.
    pub(crate) fn info(hash: &AskHash) -> Vec<u8> {
        encoded(Self::INFO, [hash.as_ref()])
    }

    fn hpke(self) -> &'static dyn Hpke {
        match self {
            Self::P384 => hpke::DH_KEM_P384_HKDF_SHA384_AES_256,
            Self::X25519 => hpke::DH_KEM_X25519_HKDF_SHA256_AES_256,
        }
    }

    /// A fresh key pair: the public key as a request carries it, and the private key.
    pub fn generate(self) -> Result<(Vec<u8>, PrivateKey), SealError> {
        let (public, private) = self.hpke().generate_key_pair().map_err(|_| SealError::Key)?;
        Ok((public.0, PrivateKey { suite: self, key: private }))
    }

    /// A sealer of secrets to `public_key`, for the request with this `hash`. [`SealError::Seal`] if the key
    /// is none of the suite's.
    pub fn sealer(self, public_key: &[u8], hash: &AskHash) -> Result<Sealer, SealError> {
        if public_key.len() != self.public_len() {
            return Err(SealError::Seal);
        }
        let info = Self::info(hash);
        let public_key = HpkePublicKey(public_key.to_vec());
        let (encapsulated, sealer) =
            self.hpke().setup_sealer(&info, &public_key).map_err(|_| SealError::Seal)?;
        Ok(Sealer { encapsulated: encapsulated.0, sealer })
    }
}

/// Seals the secrets of one answer: all under one HPKE context, so that each ciphertext opens at its own
/// place alone.
pub struct Sealer {
    encapsulated: Vec<u8>,
    sealer: Box<dyn HpkeSealer>,
}

impl Sealer {
    /// Seals `secrets` in their order, each authenticated with its name. Gives the encapsulated key and the
    /// ciphertexts.
    pub fn seal<'a>(
        mut self,
        secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), SealError> {
        let sealed = secrets.into_iter().map(|(name, secret)| self.sealer.seal(name.as_bytes(), secret));
        let sealed = sealed.collect::<Result<_, _>>().map_err(|_| SealError::Seal)?;
        Ok((self.encapsulated, sealed))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(redacted)")
    }
}

/// The private key of one request.
pub struct PrivateKey {
    suite: Suite,
    key: HpkePrivateKey,
}

impl PrivateKey {
    /// Takes over a private key as RFC 9180 serialises it: for the worked example.
    #[cfg(test)]
    pub(crate) fn from_bytes(suite: Suite, bytes: Vec<u8>) -> Self {
        Self { suite, key: bytes.into() }
    }

    /// Opens what a [`Sealer`] sealed for the request with this `hash`, in the same order.
    pub fn open<'a>(
        &self,
        hash: &AskHash,
        encapsulated: &[u8],
        sealed: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Vec<Secret>, SealError> {
        let info = Suite::info(hash);
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        let opener = self.suite.hpke().setup_opener(&encapsulated, &info, &self.key);
        let mut opener = opener.map_err(|_| SealError::Open)?;
        let mut secrets = Vec::new();
        for (name, ciphertext) in sealed {
            let opened = opener.open(name.as_bytes(), ciphertext).map_err(|_| SealError::Open)?;
            secrets.push(Secret::new(opened));
        }
        Ok(secrets)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}
