//! Serde forms of byte strings.

pub mod amd;

use icu_properties::{CodePointMapData, props::GeneralCategory};

/// Bytes as standard base64 with padding.
pub mod base64_bytes {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes base64 text.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    /// Reads base64 text: canonical padding and no trailing bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64"))
    }
}

/// Fixed-size bytes as lower-case hex.
pub mod hex_array {
    use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes lower-case hex.
    pub fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    /// Reads exactly `N` bytes of hex, in either case.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| D::Error::custom("not hex"))?;
        bytes.try_into().map_err(|_| D::Error::custom("hex of the wrong length"))
    }
}

/// `N` bytes that read and print as `2 N` hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Hex<const N: usize>(#[serde(with = "hex_array")] pub [u8; N]);

impl<const N: usize> std::fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl<const N: usize> std::fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// `N` bytes that read and print as standard base64 without padding: a third shorter than hex, for what is
/// kept often.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Base64<const N: usize>(pub [u8; N]);

impl<const N: usize> serde::Serialize for Base64<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64_NOPAD.encode(&self.0))
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Base64<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = data_encoding::BASE64_NOPAD.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| serde::de::Error::custom("not base64"))?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::custom("base64 of the wrong length"))
    }
}

impl<const N: usize> std::fmt::Debug for Base64<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Hex(self.0).fmt(f)
    }
}

/// Whether `c` is of Unicode's category Cf: not shown itself, it changes how others are.
pub fn is_format(c: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::Format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_back_as_they_are_written_and_nothing_else() {
        let digest = Base64([0xFB; 32]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, r#""+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s""#);
        assert_eq!(serde_json::from_str::<Base64<32>>(&text).unwrap(), digest);
        for wrong in [r#""+/v7""#, r#""""#, &text.replace("+/s", "+/t"), &text.replace("+/s", "+/s=")] {
            assert!(serde_json::from_str::<Base64<32>>(wrong).is_err(), "{wrong}");
        }
    }
}
