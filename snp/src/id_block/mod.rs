//! ID blocks (SEV-SNP firmware ABI, SNP_LAUNCH_FINISH: ID_BLOCK and ID_AUTH_INFO): the owner of a key signs
//! which launch measurement a guest must have, and the firmware starts no other.
//!
//! [`SignedIdBlock::sign`] makes both structures, [`SignedIdBlock::verify`] looks at them as the firmware
//! does. `verify` establishes that the ID key signed exactly this block, and if there is an author, that the
//! author key signed exactly this ID key. It does not establish whose keys these are: anybody can sign an ID
//! block. A report names the digests of the keys, and whoever appraises it must compare them.

mod fields;
mod key;

use self::key::Signature;
pub use self::key::{CryptoError, PublicKey, SecretKey};
use crate::report::GuestPolicy;

/// One of the two keys that sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The ID key, which signs ID blocks.
    IdKey,
    /// The author key, which signs ID keys.
    AuthorKey,
}

impl Signer {
    fn name(self) -> &'static str {
        match self {
            Self::IdKey => "ID key",
            Self::AuthorKey => "author key",
        }
    }
}

/// A part of the ID authentication information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A public key.
    Key(Signer),
    /// A signature by a key.
    Signature(Signer),
    /// The bytes between the others.
    Gap,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Key(Signer::IdKey) => "the ID key",
            Self::Key(Signer::AuthorKey) => "the author key",
            Self::Signature(Signer::IdKey) => "the ID key's signature",
            Self::Signature(Signer::AuthorKey) => "the author key's signature",
            Self::Gap => "the ID authentication information",
        }
    }
}

/// Why bytes are no ID block that its keys signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdBlockError {
    /// Not exactly 96 bytes.
    #[error("an ID block has 96 bytes, this has {0}")]
    BlockSize(usize),
    /// Not exactly 4096 bytes.
    #[error("the ID authentication information has 4096 bytes, this has {0}")]
    AuthSize(usize),
    /// Not the ID key's signature and the author key with 1540 bytes.
    #[error("an author's certificate has 1540 bytes, this has {0}")]
    CertificateSize(usize),
    /// A version whose layout is not known.
    #[error("the version of the ID block is {0}, not 1")]
    Version(u32),
    /// An algorithm other than ECDSA P-384 with SHA-384.
    #[error("the algorithm of the {} is {algorithm}, not 1 (ECDSA P-384 with SHA-384)", signer.name())]
    Algorithm {
        /// The key.
        signer: Signer,
        /// As it stands.
        algorithm: u32,
    },
    /// A curve other than P-384.
    #[error("the curve of the {} is {curve}, not 2 (P-384)", signer.name())]
    Curve {
        /// The key.
        signer: Signer,
        /// As it stands.
        curve: u32,
    },
    /// A byte that the ABI reserves is not zero.
    #[error("reserved bytes of {} are not zero", _0.name())]
    Reserved(Part),
    /// The coordinates are no point on the curve.
    #[error("the {} is no point on P-384", _0.name())]
    Point(Signer),
    /// The ID key did not sign this block.
    #[error("the ID key did not sign this ID block")]
    NotSigned,
    /// The author key did not sign this ID key.
    #[error("the author key did not sign this ID key")]
    NotCertified,
}

/// ID_BLOCK: what the firmware compares with the guest that it is about to start, and what the guest's
/// reports say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBlock {
    /// LD: the launch measurement that the guest must have.
    pub measurement: [u8; 48],
    /// FAMILY_ID, which the firmware does not interpret.
    pub family_id: [u8; 16],
    /// IMAGE_ID, which the firmware does not interpret.
    pub image_id: [u8; 16],
    /// GUEST_SVN: the version of the guest, for those who refuse older ones.
    pub guest_svn: u32,
    /// POLICY: the guest policy that the guest must be launched with.
    pub policy: GuestPolicy,
}

impl IdBlock {
    /// Size of the structure, in bytes.
    pub const SIZE: usize = 0x60;
    const VERSION: u32 = 1;

    /// Reads the structure. Every bit of it has a meaning, so all that can be wrong is its size and version.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdBlockError> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_| IdBlockError::BlockSize(bytes.len()))?;
        let version = u32::from_le_bytes(fields::read::<0x50, _, _>(bytes));
        if version != Self::VERSION {
            return Err(IdBlockError::Version(version));
        }
        Ok(Self {
            measurement: fields::read::<0, _, _>(bytes),
            family_id: fields::read::<0x30, _, _>(bytes),
            image_id: fields::read::<0x40, _, _>(bytes),
            guest_svn: u32::from_le_bytes(fields::read::<0x54, _, _>(bytes)),
            policy: GuestPolicy::new(u64::from_le_bytes(fields::read::<0x58, _, _>(bytes))),
        })
    }

    /// The structure.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        fields::write::<0, _, _>(&mut bytes, self.measurement);
        fields::write::<0x30, _, _>(&mut bytes, self.family_id);
        fields::write::<0x40, _, _>(&mut bytes, self.image_id);
        fields::write::<0x50, _, _>(&mut bytes, Self::VERSION.to_le_bytes());
        fields::write::<0x54, _, _>(&mut bytes, self.guest_svn.to_le_bytes());
        fields::write::<0x58, _, _>(&mut bytes, self.policy.bits().to_le_bytes());
        bytes
    }
}

/// An author's signature over an ID key, with the author's key. It is made once for an ID key, so that the
/// author key is not needed where ID blocks are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    signature: Signature,
    author_key: PublicKey,
}

impl Certificate {
    /// Size of both, in bytes.
    pub const SIZE: usize = Signature::SIZE + PublicKey::SIZE;

    /// The author certifies an ID key.
    pub fn sign(id_key: &PublicKey, author: &SecretKey) -> Result<Self, CryptoError> {
        let signature = author.sign(id_key.as_bytes())?;
        Ok(Self { signature, author_key: author.public_key()? })
    }

    /// Reads the bytes of [`Certificate::to_bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IdBlockError> {
        let bytes: [u8; Self::SIZE] =
            bytes.try_into().map_err(|_| IdBlockError::CertificateSize(bytes.len()))?;
        Ok(Self {
            signature: Signature::parse(fields::read::<0, _, _>(&bytes), Signer::AuthorKey)?,
            author_key: PublicKey::parse(
                fields::read::<{ Signature::SIZE }, _, _>(&bytes),
                Signer::AuthorKey,
            )?,
        })
    }

    /// The signature and the key, as they stand in the ID authentication information.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        fields::write::<0, _, _>(&mut bytes, self.signature.0);
        fields::write::<{ Signature::SIZE }, _, _>(&mut bytes, *self.author_key.as_bytes());
        bytes
    }

    /// The author's key.
    pub fn author_key(&self) -> &PublicKey {
        &self.author_key
    }

    /// Whether the author certified this ID key.
    pub fn verify(&self, id_key: &PublicKey) -> Result<(), IdBlockError> {
        let holds = self.author_key.verifies(id_key.as_bytes(), &self.signature);
        if holds { Ok(()) } else { Err(IdBlockError::NotCertified) }
    }
}

/// ID_AUTH_INFO: who signed the ID block, and who certified that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IdAuth {
    signature: Signature,
    id_key: PublicKey,
    certificate: Option<Certificate>,
}

/// Offsets of ID_AUTH_INFO.
mod offset {
    pub(super) const ID_KEY_ALGO: usize = 0;
    pub(super) const AUTHOR_KEY_ALGO: usize = 4;
    pub(super) const ID_BLOCK_SIG: usize = 0x40;
    pub(super) const ID_KEY: usize = 0x240;
    pub(super) const ID_KEY_SIG: usize = 0x680;
}

impl IdAuth {
    const SIZE: usize = 0x1000;
    /// ECDSA P-384 with SHA-384.
    const ALGORITHM: u32 = 1;

    /// Without an author, all bytes of the author are zero. AUTHOR_KEY_ALGO may then be zero as well.
    fn parse(bytes: &[u8]) -> Result<Self, IdBlockError> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_| IdBlockError::AuthSize(bytes.len()))?;
        let known = |signer, algorithm| match algorithm {
            Self::ALGORITHM => Ok(()),
            algorithm => Err(IdBlockError::Algorithm { signer, algorithm }),
        };
        let author: [u8; Certificate::SIZE] = fields::read::<{ offset::ID_KEY_SIG }, _, _>(bytes);
        let has_author = author.iter().any(|byte| *byte != 0);
        known(Signer::IdKey, u32::from_le_bytes(fields::read::<{ offset::ID_KEY_ALGO }, _, _>(bytes)))?;
        match u32::from_le_bytes(fields::read::<{ offset::AUTHOR_KEY_ALGO }, _, _>(bytes)) {
            0 if !has_author => {}
            algorithm => known(Signer::AuthorKey, algorithm)?,
        }
        let gaps = [
            8..offset::ID_BLOCK_SIG,
            offset::ID_KEY + PublicKey::SIZE..offset::ID_KEY_SIG,
            offset::ID_KEY_SIG + Certificate::SIZE..Self::SIZE,
        ];
        if gaps.into_iter().any(|gap| bytes.get(gap).is_none_or(|gap| gap.iter().any(|byte| *byte != 0))) {
            return Err(IdBlockError::Reserved(Part::Gap));
        }
        Ok(Self {
            signature: Signature::parse(
                fields::read::<{ offset::ID_BLOCK_SIG }, _, _>(bytes),
                Signer::IdKey,
            )?,
            id_key: PublicKey::parse(fields::read::<{ offset::ID_KEY }, _, _>(bytes), Signer::IdKey)?,
            certificate: has_author.then(|| Certificate::parse(&author)).transpose()?,
        })
    }

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        fields::write::<{ offset::ID_KEY_ALGO }, _, _>(&mut bytes, Self::ALGORITHM.to_le_bytes());
        fields::write::<{ offset::AUTHOR_KEY_ALGO }, _, _>(&mut bytes, Self::ALGORITHM.to_le_bytes());
        fields::write::<{ offset::ID_BLOCK_SIG }, _, _>(&mut bytes, self.signature.0);
        fields::write::<{ offset::ID_KEY }, _, _>(&mut bytes, *self.id_key.as_bytes());
        if let Some(certificate) = self.certificate {
            fields::write::<{ offset::ID_KEY_SIG }, _, _>(&mut bytes, certificate.to_bytes());
        }
        bytes
    }
}

/// An ID block whose signature holds, and whose ID key the author certified if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIdBlock {
    block: IdBlock,
    auth: IdAuth,
}

/// Why no ID block was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The block that was made does not verify: the certificate is that of another ID key.
    #[error(transparent)]
    Unverified(#[from] IdBlockError),
}

impl SignedIdBlock {
    /// Signs `block`, and verifies what was made as if another had.
    pub fn sign(
        block: &IdBlock,
        id_key: &SecretKey,
        certificate: Option<Certificate>,
    ) -> Result<Self, SignError> {
        let signature = id_key.sign(&block.to_bytes())?;
        let auth = IdAuth { signature, id_key: id_key.public_key()?, certificate };
        Ok(Self::verify(&block.to_bytes(), &auth.to_bytes())?)
    }

    /// Reads both structures. The ID key's signature must hold, and so must the author's if there is an
    /// author.
    pub fn verify(block: &[u8], auth: &[u8]) -> Result<Self, IdBlockError> {
        let (parsed, auth) = (IdBlock::parse(block)?, IdAuth::parse(auth)?);
        if !auth.id_key.verifies(block, &auth.signature) {
            return Err(IdBlockError::NotSigned);
        }
        if let Some(certificate) = &auth.certificate {
            certificate.verify(&auth.id_key)?;
        }
        Ok(Self { block: parsed, auth })
    }

    /// The ID block.
    pub fn block(&self) -> &IdBlock {
        &self.block
    }

    /// The key that signed it.
    pub fn id_key(&self) -> &PublicKey {
        &self.auth.id_key
    }

    /// The key that certified that one.
    pub fn author_key(&self) -> Option<&PublicKey> {
        self.auth.certificate.as_ref().map(Certificate::author_key)
    }

    /// ID_BLOCK, as the VMM gives it to the firmware.
    pub fn block_bytes(&self) -> [u8; IdBlock::SIZE] {
        self.block.to_bytes()
    }

    /// ID_AUTH_INFO, as the VMM gives it to the firmware.
    pub fn auth_bytes(&self) -> [u8; IdAuth::SIZE] {
        self.auth.to_bytes()
    }
}
