//! The two names of a Turin: CHIP_ID's 128 digits, of which all but the first 16 are zeros, and those 16
//! alone, as AMD's KDS and the chip's certificate have them.
//!
//! A chip goes by the name that the policy has for it, whatever the policy compares it with. One that has
//! both is refused: one of them would mean nothing.

use std::{borrow::Cow, collections::BTreeSet};

use keybroker_common::policy::{Claims, PolicyText};
use keybroker_snp::product::Product;

/// Digits of the short name.
const SHORT: usize = 16;
/// Digits of CHIP_ID.
const LONG: usize = 128;

/// The short names in a policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chips(BTreeSet<String>);

/// A chip that a policy has under both of its names.
#[derive(Debug)]
pub(crate) struct Twice(pub(crate) String);

impl Chips {
    /// Those that stand in quotes in the policy's texts.
    pub(crate) fn of(text: &PolicyText) -> Result<Self, Twice> {
        let texts = text.queries.iter().chain(&text.module).chain([&text.reference_values]);
        let quoted: BTreeSet<&str> = texts.flat_map(|text| text.split(['"', '`'])).collect();
        let short: BTreeSet<String> =
            quoted.iter().filter(|name| digits(name, SHORT)).map(|&name| name.to_owned()).collect();
        match short.iter().find(|name| quoted.contains(format!("{name:0<LONG$}").as_str())) {
            Some(twice) => Err(Twice(twice.clone())),
            None => Ok(Self(short)),
        }
    }

    /// The claims, with the chip under the name that the policy has for it.
    pub(crate) fn named<'a>(&self, claims: &'a Claims) -> Cow<'a, Claims> {
        let mut named = Cow::Borrowed(claims);
        if claims.snp.product == Product::Turin
            && let Some((short, rest)) = claims.snp.chip_id.split_at_checked(SHORT)
            && rest.bytes().all(|digit| digit == b'0')
            && self.0.contains(short)
        {
            named.to_mut().snp.chip_id = short.to_owned();
        }
        named
    }
}

/// Zeros are no chip's name: so a masked one reads.
fn digits(name: &str, count: usize) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == count && name.bytes().all(hex) && name.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turin_goes_by_the_name_that_the_policy_has_for_it() {
        let text = |reference: &str| PolicyText {
            module: None,
            queries: vec!["true".to_owned()],
            reference_values: reference.to_owned(),
        };
        let (short, long) = ("0123456789abcdef", format!("{:0<LONG$}", "0123456789abcdef"));
        let mut turin = Claims::sample();
        turin.snp.product = Product::Turin;
        turin.snp.chip_id = long.clone();
        let name = |reference: &str, claims: &Claims| {
            Chips::of(&text(reference)).unwrap().named(claims).into_owned().snp.chip_id
        };
        assert_eq!(name(r#"{"a":["0123456789abcdef"]}"#, &turin), short);
        assert_eq!(name(r#"{"0123456789abcdef":1}"#, &turin), short);
        assert_eq!(name("{}", &turin), long);
        assert_eq!(name(r#"{"a":"0123456789abcdee"}"#, &turin), long);
        assert_eq!(name(&format!(r#"{{"a":"{long}"}}"#), &turin), long);
        let milan = Claims {
            snp: keybroker_common::policy::SnpClaims { product: Product::Milan, ..turin.snp.clone() },
            ..turin.clone()
        };
        assert_eq!(name(r#"{"a":"0123456789abcdef"}"#, &milan), long);
        let mut masked = turin;
        masked.snp.chip_id = "0".repeat(LONG);
        assert_eq!(name(r#"{"a":"0000000000000000"}"#, &masked), "0".repeat(LONG));
        let twice = Chips::of(&text(&format!(r#"{{"a":"{short}","b":"{long}"}}"#)));
        assert!(matches!(twice, Err(Twice(chip)) if chip == short));
    }
}
