//! The wrapping key of a broker on one machine: AES-256-GCM under a key in a file.

mod file;

use std::{
    fmt,
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use data_encoding::HEXLOWER;
use keybroker_common::{
    keyring::{KeyringWrap, Purpose},
    rewrap::MoveWrapped,
    secret::{EncryptionContext, KeyError, Rewrap, Secret, Unwrap, Wrap, WrappedSecret},
};
use zeroize::Zeroizing;

pub use file::KeyFileError;

use crate::files;

/// A wrapping key from a file. Anybody who reads both the file and the store reads the secrets: keep them
/// apart.
///
/// A wrapped secret is the nonce (12 random bytes), the ciphertext and the tag (16 bytes), in this order; the
/// context, a secret's [`EncryptionContext`] or a ring's purpose, is its associated data.
pub struct LocalKey {
    key: RandomizedNonceKey,
    key_id: String,
}

impl LocalKey {
    /// Length of the key, in bytes.
    const LEN: usize = 32;
    /// The label under the HMAC of the fingerprint: nothing else is ever computed over it with this key.
    const FINGERPRINT_LABEL: &'static [u8] = b"keybroker/v1 fingerprint of a local wrapping key";
    /// Length of the fingerprint, in bytes: tells keys apart, proves nothing.
    const FINGERPRINT_LEN: usize = 8;

    /// Reads the key in `path`. A file that anyone but its owner can read or write is refused.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        Self::read(files::open_named(path)?)
    }

    /// The same of a file that is open.
    pub fn read(file: File) -> Result<Self, KeyFileError> {
        Self::new(&*file::read(file)?)
    }

    /// Draws a new key and writes it to `path`, for its owner alone; on disk for good when this returns.
    /// [`KeyFileError::Exists`] if there is anything: a key is never overwritten.
    pub fn create(path: &Path) -> Result<Self, KeyFileError> {
        let bytes = Self::draw()?;
        file::create(path, &bytes, None)?;
        Self::new(&bytes)
    }

    /// The same for the owner of the key file `old`, which the new one is to follow: the user who reads that
    /// one can read this one, also if root makes it.
    pub fn create_like(old: &Path, path: &Path) -> Result<Self, KeyFileError> {
        let bytes = Self::draw()?;
        file::create(path, &bytes, Some(&fs::metadata(old)?))?;
        Self::new(&bytes)
    }

    /// Draws a new key that is written nowhere: for a store in memory.
    pub fn in_memory() -> Result<Self, KeyFileError> {
        Self::new(&*Self::draw()?)
    }

    fn draw() -> Result<Zeroizing<[u8; Self::LEN]>, KeyFileError> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| KeyFileError::Library)?;
        Ok(bytes)
    }

    /// The key's fingerprint, `local:` and 16 hex digits: what a [`WrappedSecret`] names it by.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    fn new(bytes: &[u8; Self::LEN]) -> Result<Self, KeyFileError> {
        // The library keeps its own copy of the key and zeroes it when it is freed.
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| KeyFileError::Library)?;
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), Self::FINGERPRINT_LABEL);
        let fingerprint: Vec<u8> = mac.as_ref().iter().copied().take(Self::FINGERPRINT_LEN).collect();
        Ok(Self { key, key_id: format!("local:{}", HEXLOWER.encode(&fingerprint)) })
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({}, redacted)", self.key_id)
    }
}

impl LocalKey {
    /// The key as it wraps the keys of one ring: in a context that no workload's secret has.
    pub fn keyring(self: &Arc<Self>, purpose: Purpose) -> LocalKeyring {
        LocalKeyring { key: Arc::clone(self), purpose }
    }

    fn seal(&self, context: Aad<Vec<u8>>, secret: &Secret) -> Result<WrappedSecret, KeyError> {
        // Room for the tag from the start: growing would leave a copy of the clear text behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(secret.expose());
        let nonce = self
            .key
            .seal_in_place_append_tag(context, &mut *sealed)
            .map_err(|_| KeyError::Unavailable("the cryptographic library failed".to_owned()))?;
        let ciphertext = [nonce.as_ref().as_slice(), &sealed].concat();
        Ok(WrappedSecret { key_id: self.key_id.clone(), ciphertext })
    }

    fn unseal(&self, context: Aad<Vec<u8>>, wrapped: &WrappedSecret) -> Result<Secret, KeyError> {
        if wrapped.key_id != self.key_id {
            return Err(KeyError::UnknownKey(wrapped.key_id.clone()));
        }
        let (nonce, sealed) =
            wrapped.ciphertext.split_first_chunk::<NONCE_LEN>().ok_or(KeyError::Mismatch)?;
        let mut clear = Zeroizing::new(sealed.to_vec());
        let len = self
            .key
            .open_in_place(Nonce::from(nonce), context, &mut clear)
            .map_err(|_| KeyError::Mismatch)?
            .len();
        clear.truncate(len);
        Ok(Secret::new(std::mem::take(&mut *clear)))
    }
}

#[async_trait]
impl Wrap for LocalKey {
    async fn wrap_secret(
        &self,
        context: &EncryptionContext,
        secret: &Secret,
    ) -> Result<WrappedSecret, KeyError> {
        self.seal(associated_data(&context.pairs()), secret)
    }
}

#[async_trait]
impl Unwrap for LocalKey {
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError> {
        self.unseal(associated_data(&context.pairs()), wrapped)
    }
}

/// The clear text is in this process for a moment: who holds the key file has it anyway.
#[async_trait]
impl Rewrap for LocalKey {
    async fn rewrap_secret(
        &self,
        from: &EncryptionContext,
        to: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError> {
        self.wrap_secret(to, &self.unwrap_secret(from, wrapped).await?).await
    }
}

/// A [`LocalKey`] for the keys of one ring, and for nothing else.
#[derive(Debug)]
pub struct LocalKeyring {
    key: Arc<LocalKey>,
    purpose: Purpose,
}

impl LocalKeyring {
    fn context(&self) -> Aad<Vec<u8>> {
        associated_data(&[("purpose", self.purpose.context().to_owned())])
    }
}

#[async_trait]
impl KeyringWrap for LocalKeyring {
    async fn wrap_key(&self, key: &Secret) -> Result<WrappedSecret, KeyError> {
        self.key.seal(self.context(), key)
    }

    async fn unwrap_key(&self, wrapped: &WrappedSecret) -> Result<Secret, KeyError> {
        self.key.unseal(self.context(), wrapped)
    }
}

/// Two keys, of which the second wraps what the first one wrapped.
#[derive(Debug)]
pub struct LocalMove {
    /// The key that is given up.
    pub from: Arc<LocalKey>,
    /// The key that takes over.
    pub to: Arc<LocalKey>,
}

/// The clear text is in this process for a moment, as above.
#[async_trait]
impl MoveWrapped for LocalMove {
    async fn move_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError> {
        self.to.wrap_secret(context, &self.from.unwrap_secret(context, wrapped).await?).await
    }

    async fn move_key(&self, purpose: Purpose, wrapped: &WrappedSecret) -> Result<WrappedSecret, KeyError> {
        let key = self.from.keyring(purpose).unwrap_key(wrapped).await?;
        self.to.keyring(purpose).wrap_key(&key).await
    }
}

/// A context as one byte string: every name and value after its length in 8 big-endian bytes, so that no two
/// contexts share one. Part of the format of every wrapped secret: a change makes them all unreadable.
fn associated_data(pairs: &[(&str, String)]) -> Aad<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        for text in [*name, value] {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    Aad::from(bytes)
}

#[cfg(test)]
mod tests;
