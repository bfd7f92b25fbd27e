//! The keys of the simulated PKI.
// No library refuses a key that was just made or derived, and signing with it fails only without memory. A
// fixture that cannot be made has to stop.
#![allow(clippy::expect_used)]

use std::{
    env, fmt, fs,
    path::Path,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};

use super::signature::{Algorithm, Hash};
use crate::der::{self, Oid};

const RSA_ENCRYPTION: Oid = Oid(&[1, 2, 840, 113549, 1, 1, 1]);
const EC_PUBLIC_KEY: Oid = Oid(&[1, 2, 840, 10045, 2, 1]);
const SECP384R1: Oid = Oid(&[1, 3, 132, 0, 34]);
const PRIME256V1: Oid = Oid(&[1, 2, 840, 10045, 3, 1, 7]);

/// Names a directory in which several processes share their RSA keys, as PKCS #8 files, to be one AMD.
pub const SHARED_KEYS: &str = "KEYBROKER_SIMULATOR_KEYS";

/// The RSA keys of a process. Each is made once, at its first use (about a second for 4096 bits), and serves
/// every product: names tell the products apart, also for a verifier. With [`SHARED_KEYS`] in the
/// environment, this process also uses keys that another process has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaKey {
    /// AMD's root key.
    Ark,
    /// AMD's SEV key, which signs VCEKs.
    Ask,
    /// AMD's SEV VLEK key, which signs VLEKs.
    Asvk,
    /// A 4096-bit key that is not AMD's.
    Rogue,
    /// A 2048-bit key: shorter than the key of any AMD authority.
    Rsa2048,
}

impl RsaKey {
    fn pair(self) -> &'static RsaKeyPair {
        static KEYS: [OnceLock<RsaKeyPair>; 5] = [const { OnceLock::new() }; 5];
        let [ark, ask, asvk, rogue, small] = &KEYS;
        let (cell, size) = match self {
            Self::Ark => (ark, KeySize::Rsa4096),
            Self::Ask => (ask, KeySize::Rsa4096),
            Self::Asvk => (asvk, KeySize::Rsa4096),
            Self::Rogue => (rogue, KeySize::Rsa4096),
            Self::Rsa2048 => (small, KeySize::Rsa2048),
        };
        cell.get_or_init(|| match env::var_os(SHARED_KEYS) {
            Some(directory) => shared(&Path::new(&directory).join(format!("{self:?}.der")), size),
            None => RsaKeyPair::generate(size).expect("an RSA key"),
        })
    }

    /// Makes several keys at the same time, so that a test waits only for the slowest.
    pub fn prepare(keys: &[RsaKey]) {
        std::thread::scope(|scope| {
            for key in keys {
                scope.spawn(|| key.pair());
            }
        });
    }

    /// The RSAPublicKey (RFC 8017, A.1.1), DER.
    pub fn public_key(self) -> Vec<u8> {
        self.pair().public_key().as_ref().to_vec()
    }

    /// Signs as `algorithm` says. The salt is as long as the hash, even if the parameters claim another
    /// length.
    pub(super) fn sign(self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let encoding: &'static dyn RsaEncoding = match algorithm {
            Algorithm::Pkcs1 => &RSA_PKCS1_SHA384,
            Algorithm::Pss { hash: Hash::Sha256, .. } => &RSA_PSS_SHA256,
            Algorithm::Pss { hash: Hash::Sha384, .. } => &RSA_PSS_SHA384,
            Algorithm::Pss { hash: Hash::Sha512, .. } => &RSA_PSS_SHA512,
        };
        let pair = self.pair();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("an RSA signature");
        signature
    }
}

/// The key in the file at `path`. The first process that puts a key there makes it for all.
fn shared(path: &Path, size: KeySize) -> RsaKeyPair {
    let read = || Some(RsaKeyPair::from_pkcs8(&fs::read(path).ok()?).expect("an RSA key"));
    read().unwrap_or_else(|| {
        let made = RsaKeyPair::generate(size).expect("an RSA key");
        let der: Pkcs8V1Der<'_> = made.as_der().expect("an RSA key");
        let draft = path.with_extension(std::process::id().to_string());
        fs::write(&draft, der.as_ref()).expect("a file");
        // Unlike a rename, a link fails if there is already a file.
        let _ = fs::hard_link(&draft, path);
        fs::remove_file(&draft).expect("a file");
        read().expect("a file")
    })
}

/// The key that a certificate certifies, if it is not the regular one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKey {
    /// One of the process's RSA keys.
    Rsa(RsaKey),
    /// A P-256 key. A VEK with it signs reports with ECDSA P-256 and SHA-256.
    P256,
    /// A P-384 key that is not the chip's own.
    P384,
}

impl SubjectKey {
    /// The elliptic-curve key meant, if it is one.
    pub(super) fn vek_key(self) -> Option<VekKey> {
        match self {
            Self::Rsa(_) => None,
            Self::P256 => Some(VekKey::derive(Curve::P256, b"another key")),
            Self::P384 => Some(VekKey::derive(Curve::P384, b"another key")),
        }
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn spki(self) -> Vec<u8> {
        match (self, self.vek_key()) {
            (_, Some(key)) => key.spki(),
            (Self::Rsa(key), None) => rsa_spki(key),
            (Self::P256 | Self::P384, None) => Vec::new(),
        }
    }

    /// The SHA-1 of the key's bits (RFC 5280, 4.2.1.2, method 1), by which AMD's certificates name keys.
    pub(super) fn id(self) -> Vec<u8> {
        let bits = match (self, self.vek_key()) {
            (_, Some(key)) => key.public_key(),
            (Self::Rsa(key), None) => key.public_key(),
            (Self::P256 | Self::P384, None) => Vec::new(),
        };
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &bits).as_ref().to_vec()
    }
}

fn rsa_spki(key: RsaKey) -> Vec<u8> {
    let algorithm = der::sequence(&[der::oid(RSA_ENCRYPTION), der::null()]);
    der::sequence(&[algorithm, der::bit_string(0, &key.public_key())])
}

/// A curve of a VEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// The curve of every AMD chip.
    P384,
    /// A curve that no AMD chip uses.
    P256,
}

impl Curve {
    fn oid(self) -> Oid {
        match self {
            Self::P384 => SECP384R1,
            Self::P256 => PRIME256V1,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        }
    }

    fn scalar_len(self) -> usize {
        match self {
            Self::P384 => 48,
            Self::P256 => 32,
        }
    }
}

/// A versioned endorsement key: VCEK or VLEK, with which a chip signs reports.
#[derive(Clone)]
pub struct VekKey {
    pair: Arc<EcdsaKeyPair>,
    curve: Curve,
}

impl VekKey {
    /// The key that is derived from `secret`: always the same, as a chip derives its VCEK from its secret and
    /// its TCB.
    pub(super) fn derive(curve: Curve, secret: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA384, secret);
        // A leading zero keeps the number below the order of either curve.
        let scalar: Vec<u8> =
            std::iter::once(0).chain(hash.as_ref().iter().copied()).take(curve.scalar_len()).collect();
        let private = der::sequence(&[
            der::integer(&[1]),
            der::octet_string(&scalar),
            der::explicit(0, &der::oid(curve.oid())),
        ]);
        let pair = EcdsaKeyPair::from_private_key_der(curve.signing(), &private).expect("an EC key");
        Self { pair: Arc::new(pair), curve }
    }

    /// The curve.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The public key, an uncompressed point.
    pub fn public_key(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// R and S over `message`, each big-endian at the full length of the curve's scalars.
    pub fn sign(&self, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let signature = self.pair.sign(&SystemRandom::new(), message).expect("an ECDSA signature");
        let (r, s) = signature.as_ref().split_at(self.curve.scalar_len());
        (r.to_vec(), s.to_vec())
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn spki(&self) -> Vec<u8> {
        let algorithm = der::sequence(&[der::oid(EC_PUBLIC_KEY), der::oid(self.curve.oid())]);
        der::sequence(&[algorithm, der::bit_string(0, &self.public_key())])
    }
}

impl fmt::Debug for VekKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VekKey").field("curve", &self.curve).finish_non_exhaustive()
    }
}
