//! Launch digests as text: how they are printed, and how one is given.

use std::path::Path;

use anyhow::anyhow;
use data_encoding::BASE64;
use keybroker_common::requirements::Measurement;

use crate::{
    bounded,
    evidence::Evidence,
    exit::{Exit, Failure},
    hex,
};

/// The forms in which other tools print a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// 96 hex digits, as sev-snp-measure prints them
    Hex,
    /// The same with 0x in front, as snpguest prints them
    #[value(name = "0x")]
    Prefixed,
    /// Standard base64 of the 48 bytes, as sev-snp-measure prints it
    Base64,
}

impl Format {
    /// `digest` in this form.
    pub(super) fn of(self, digest: &Measurement) -> String {
        match self {
            Self::Hex => digest.to_string(),
            Self::Prefixed => format!("0x{digest}"),
            Self::Base64 => BASE64.encode(&digest.0),
        }
    }
}

/// The digest that `text` is: in hex, with or without 0x, or in base64. A text that is none of them is the
/// name of a file with a guest's report, or with a digest.
pub(super) fn given(text: &str) -> Result<Measurement, Failure> {
    if let Ok(digest) = hex::measurement(text.trim()) {
        return Ok(digest);
    }
    let path = Path::new(text);
    if path.exists() {
        return in_file(path);
    }
    Err(refused(text))
}

/// The measurement in the file of a report, or the digest that is the file's text.
fn in_file(path: &Path) -> Result<Measurement, Failure> {
    let text = bounded::text(path).ok();
    if let Some(digest) = text.and_then(|text| hex::measurement(text.trim()).ok()) {
        return Ok(digest);
    }
    Ok(Measurement(*Evidence::report_in(path)?.measurement()))
}

/// The failure for a text that is no digest, with what it looks like.
fn refused(text: &str) -> Failure {
    let failure = Failure::new(
        Exit::Usage,
        anyhow!("--explain {text:?} is no launch measurement, and no file of this name is there"),
    );
    let digits = hex::digits(text);
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits.len() {
        64 if is_hex => failure
            .hint("64 hex digits are a measurement of SEV or SEV-ES, or HOST_DATA: those of SEV-SNP have 96"),
        36 if digits.bytes().filter(|byte| *byte == b'-').count() == 4 => failure
            .hint("that is the id of an audit record: `audit` with this id prints the guest's measurement"),
        _ => failure
            .hint("give 96 hex digits, with or without 0x, or base64, or the file of the guest's report"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_in_every_form_that_is_printed() {
        let digest = Measurement([0xAB; 48]);
        for format in [Format::Hex, Format::Prefixed, Format::Base64] {
            assert_eq!(given(&format.of(&digest)).unwrap(), digest);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format.of(&digest) + "\n").unwrap();
            assert_eq!(given(file.path().to_str().unwrap()).unwrap(), digest);
        }
    }

    #[test]
    fn a_text_that_is_no_digest_is_told_for_what_it_looks_like() {
        for (text, hint) in [
            ("ab".repeat(32), "measurement of SEV or SEV-ES"),
            ("019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e".to_owned(), "the id of an audit record"),
            ("ab".repeat(47), "96 hex digits"),
            (String::new(), "96 hex digits"),
        ] {
            let failure = given(&text).unwrap_err();
            let (_, told) = failure.told();
            assert!(told.unwrap().contains(hint), "{text}: {failure:?}");
        }
    }
}
