//! The ARN of a KMS key, which names one key for good. An alias does not.

use std::{fmt, str::FromStr};

/// The ARN of a key: `arn:aws:kms:REGION:ACCOUNT:key/ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyArn(String);

/// A text that is not the ARN of a KMS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/ID, and no alias")]
pub struct KeyArnError;

impl KeyArn {
    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the other key is of the same partition, region and account.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// All before the key's own id.
    fn place(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(place, _)| place)
    }
}

impl FromStr for KeyArn {
    type Err = KeyArnError;

    fn from_str(text: &str) -> Result<Self, KeyArnError> {
        let parts: Vec<_> = text.split(':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts.as_slice() else {
            return Err(KeyArnError);
        };
        let id = resource.strip_prefix("key/").ok_or(KeyArnError)?;
        let word = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !text.is_empty() && text.bytes().all(fits)
        };
        let whole = [*partition, *region, id].into_iter().all(word);
        let account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        if whole && account { Ok(Self(text.to_owned())) } else { Err(KeyArnError) }
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_one_key() {
        let arn = |text: &str| text.parse::<KeyArn>();
        for good in [
            "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        ] {
            assert_eq!(arn(good).map(|arn| arn.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "alias/keybroker",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-1:123456789012:alias/keybroker",
            "arn:aws:kms:us-east-1:123456789012:key/",
            "arn:aws:kms:us-east-1:123456789012:key/a/b",
            "arn:aws:kms:us-east-1:123456789012:key/*",
            "arn:aws:kms:us-east-1::key/a",
            "arn:aws:kms:us-east-1:12345678901:key/a",
            "arn:aws:kms::123456789012:key/a",
            "arn:aws:s3:us-east-1:123456789012:key/a",
            "arn:aws:kms:us-east-1:123456789012:key/a:b",
        ] {
            assert_eq!(arn(bad), Err(KeyArnError), "{bad}");
        }
    }

    #[test]
    fn a_key_is_beside_those_of_its_region_and_account() {
        let arn = |region: &str, account: &str, id: &str| {
            format!("arn:aws:kms:{region}:{account}:key/{id}").parse::<KeyArn>()
        };
        let key = arn("us-east-1", "123456789012", "a");
        let beside = |other: Result<KeyArn, _>| key.as_ref().unwrap().is_beside(&other.unwrap());
        assert!(beside(arn("us-east-1", "123456789012", "b")));
        assert!(!beside(arn("us-east-2", "123456789012", "b")));
        assert!(!beside(arn("us-east-1", "210987654321", "b")));
    }
}
