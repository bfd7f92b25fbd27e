//! The broker's signing keys, as the service that releases uses them.

use std::{fmt, sync::Arc};

use keybroker_initdata::KeyId;
use keybroker_native::SigningKey;

use crate::keys::KeysError;

/// Finds the key to sign an answer with.
#[async_trait::async_trait]
pub trait Signers: fmt::Debug + Send + Sync {
    /// The newest of the broker's keys that is in use and that a guest accepts, of which it names those in
    /// `accepted`. `None` if there is none.
    async fn signer(&self, accepted: &[KeyId]) -> Result<Option<Arc<SigningKey>>, KeysError>;
}
