//! Blocks of PEM.

use data_encoding::BASE64;

use super::{Unread, characters::BOM};

/// The beginning of a block.
pub(super) const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The content of the blocks, whatever text is around them.
pub(super) fn blocks(text: &str) -> Result<Vec<Vec<u8>>, Unread> {
    let mut ders = Vec::new();
    let mut block: Option<(&str, String)> = None;
    // Joined files without a line break at their end have END and BEGIN on one line.
    let text = text.replace(BEGIN, &format!("\n{BEGIN}"));
    for line in text.lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == BOM);
        let mark = |word: &str| line.strip_prefix(word)?.strip_suffix(DASHES);
        if let Some(label) = mark(BEGIN) {
            if block.is_some() {
                return Err(Unread::Pem);
            }
            check_label(label)?;
            block = Some((label, String::new()));
        } else if let Some(label) = mark("-----END ") {
            let (_, content) = block.take().filter(|(begun, _)| *begun == label).ok_or(Unread::Pem)?;
            ders.push(BASE64.decode(content.as_bytes()).map_err(|_| Unread::Pem)?);
        } else if let Some((_, content)) = &mut block {
            content.extend(line.split_whitespace());
        }
    }
    if block.is_some() || ders.is_empty() { Err(Unread::Pem) } else { Ok(ders) }
}

fn check_label(label: &str) -> Result<(), Unread> {
    match label {
        "CERTIFICATE" | "X509 CRL" => Ok(()),
        "PKCS7" => Err(Unread::Pkcs7),
        other => Err(Unread::PemLabel(other.to_owned())),
    }
}
