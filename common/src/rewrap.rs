//! An operator has another wrapping key take over all that is wrapped, and changes nothing else: each secret
//! and each key of a ring stays what it is, bound to what it was bound to.
//!
//! The move takes what one of the named keys wrapped, and nothing else. A writer of the store can put there
//! what a key of its own wrapped. No guest gets that, because the broker unwraps with its own keys alone;
//! moved to the broker's key, it would be a registration like any other.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::try_join_all;

use crate::{
    keyring::{Keyring, Purpose, WrappedKey},
    secret::{EncryptionContext, KeyError, WrappedSecret},
    workload::Workload,
};

/// Moves what is wrapped to another wrapping key, and gives nobody the clear text. For operators alone: no
/// function of the broker can do this.
#[async_trait]
pub trait MoveWrapped: std::fmt::Debug + Send + Sync {
    /// Wraps the secret in `wrapped` with the other key, under the same `context`, or refuses with
    /// [`KeyError::Mismatch`] if it was not wrapped under this very context.
    async fn move_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError>;

    /// The same of a key of the ring of `purpose`.
    async fn move_key(&self, purpose: Purpose, wrapped: &WrappedSecret) -> Result<WrappedSecret, KeyError>;
}

/// A move from some wrapping keys to another, all as [`WrappedSecret::key_id`] names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMove {
    /// Those that are given up.
    pub from: BTreeSet<String>,
    /// The one that takes over.
    pub to: String,
}

impl KeyMove {
    /// Whether `wrapped` is to be moved. [`KeyError::UnknownKey`] if neither the new key nor one of the old
    /// ones wrapped it.
    fn moves(&self, wrapped: &WrappedSecret) -> Result<bool, KeyError> {
        match &wrapped.key_id {
            key_id if *key_id == self.to => Ok(false),
            key_id if self.from.contains(key_id) => Ok(true),
            key_id => Err(KeyError::UnknownKey(key_id.clone())),
        }
    }

    /// The old keys that wrapped some of these.
    fn met<'a>(
        &self,
        wrapped: impl Iterator<Item = &'a WrappedSecret>,
    ) -> Result<BTreeSet<String>, KeyError> {
        let mut met = BTreeSet::new();
        for wrapped in wrapped {
            if self.moves(wrapped)? {
                met.insert(wrapped.key_id.clone());
            }
        }
        Ok(met)
    }

    /// The old keys that wrapped secrets of `workload`: none if nothing of it is to be moved.
    /// [`KeyError::UnknownKey`] if another key wrapped one.
    pub fn of_workload(&self, workload: &Workload) -> Result<BTreeSet<String>, KeyError> {
        self.met(workload.secrets.values())
    }

    /// The same of the keys of a ring.
    pub fn of_ring(&self, ring: &Keyring) -> Result<BTreeSet<String>, KeyError> {
        self.met(ring.keys.iter().map(|key| &key.wrapped))
    }

    /// The secrets of `workload` as they become: all that an old key wrapped are moved.
    pub async fn moved_secrets(
        &self,
        workload: &Workload,
        wrap: &dyn MoveWrapped,
    ) -> Result<BTreeMap<String, WrappedSecret>, KeyError> {
        let registration = workload.digest();
        let moves = workload.secrets.iter().map(|(name, wrapped)| async move {
            let (workload_id, secret) = (workload.id.clone(), name.clone());
            let context = EncryptionContext { workload_id, secret, registration };
            let wrapped = match self.moves(wrapped)? {
                true => self.checked(wrap.move_secret(&context, wrapped).await?)?,
                false => wrapped.clone(),
            };
            Ok((name.clone(), wrapped))
        });
        Ok(try_join_all(moves).await?.into_iter().collect())
    }

    /// The ring of `purpose` as it becomes, likewise. Whatever keys there are is in it, used or not: what was
    /// made under them counts as before.
    pub async fn moved_ring(
        &self,
        purpose: Purpose,
        ring: &Keyring,
        wrap: &dyn MoveWrapped,
    ) -> Result<Keyring, KeyError> {
        let moves = ring.keys.iter().map(|key| async move {
            let wrapped = match self.moves(&key.wrapped)? {
                true => self.checked(wrap.move_key(purpose, &key.wrapped).await?)?,
                false => key.wrapped.clone(),
            };
            Ok::<_, KeyError>(WrappedKey { wrapped, ..key.clone() })
        });
        Ok(Keyring { keys: try_join_all(moves).await?, ..ring.clone() })
    }

    /// Refuses what was wrapped by another key than the one that takes over: its row must not be written.
    fn checked(&self, moved: WrappedSecret) -> Result<WrappedSecret, KeyError> {
        if moved.key_id == self.to { Ok(moved) } else { Err(KeyError::UnknownKey(moved.key_id)) }
    }
}

#[cfg(test)]
mod tests;
