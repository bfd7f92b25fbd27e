//! A broker's signing key that a test holds, too.

use std::sync::Arc;

use keybroker_common::{keys::KeysError, signing::Signers};
use keybroker_initdata::{BrokerKey, KeyId};
use keybroker_native::SigningKey;

/// The one key of a broker.
#[derive(Debug)]
pub struct OneSigner(Arc<SigningKey>);

impl OneSigner {
    pub fn generate() -> Self {
        Self(Arc::new(SigningKey::generate().unwrap()))
    }

    pub fn broker_key(&self) -> &BrokerKey {
        self.0.broker_key()
    }
}

#[async_trait::async_trait]
impl Signers for OneSigner {
    async fn signer(&self, accepted: &[KeyId]) -> Result<Option<Arc<SigningKey>>, KeysError> {
        Ok(accepted.contains(&self.0.broker_key().id()).then(|| Arc::clone(&self.0)))
    }
}

/// A broker without signing keys: no guest of its own protocol gets anything.
#[derive(Debug)]
pub struct NoSigners;

#[async_trait::async_trait]
impl Signers for NoSigners {
    async fn signer(&self, _: &[KeyId]) -> Result<Option<Arc<SigningKey>>, KeysError> {
        Ok(None)
    }
}
