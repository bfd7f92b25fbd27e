//! The public halves of keys that sign, as they stand in the clear in their rings.

use data_encoding::BASE64URL_NOPAD;
use keybroker_initdata::BrokerKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::ResultPublicKey;

/// The public half of a key that signs. Its row has the uncompressed point in base64url, and its length
/// tells the two apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicHalf {
    /// The half of a key that signs answers to guests: on P-384.
    Answers(BrokerKey),
    /// The half of a key that signs attestation results: on P-256.
    Results(ResultPublicKey),
}

impl From<BrokerKey> for PublicHalf {
    fn from(key: BrokerKey) -> Self {
        Self::Answers(key)
    }
}

pub(super) fn serialize<S: Serializer>(half: &Option<PublicHalf>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = half.as_ref().map(|half| match half {
        PublicHalf::Answers(key) => key.to_string(),
        PublicHalf::Results(key) => key.to_string(),
    });
    text.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PublicHalf>, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    let point = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
    if let Some(key) = ResultPublicKey::from_bytes(&point) {
        return Ok(Some(PublicHalf::Results(key)));
    }
    BrokerKey::from_bytes(&point).map(|key| Some(key.into())).map_err(D::Error::custom)
}
