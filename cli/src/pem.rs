//! PEM, as openssl writes it.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// The beginning of a block.
pub(crate) const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
/// The mark that some editors put before text.
pub(crate) const BOM: char = '\u{feff}';

/// `der` as PEM. It may be a secret, so that every copy is wiped.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let content = Zeroizing::new(BASE64.encode(der));
    // Room for all of it: a text that grows leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(content.len() * 65 / 64 + 2 * label.len() + 40));
    text.extend([BEGIN, label, DASHES, "\n"]);
    let mut rest = content.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.extend([line, "\n"]);
        rest = more;
    }
    text.extend(["-----END ", label, DASHES, "\n"]);
    text
}

/// A block of PEM.
pub(crate) struct Block {
    pub(crate) label: String,
    /// The content, which may be a secret.
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// A block that has no end, or content that is no base64.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The blocks in `text`, whatever text is around them.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, Malformed> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Zeroizing<String>)> = None;
    // Joined files without a line break at their end have END and BEGIN on one line.
    let text = Zeroizing::new(text.replace(BEGIN, &format!("\n{BEGIN}")));
    for line in text.lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == BOM);
        let mark = |word: &str| line.strip_prefix(word)?.strip_suffix(DASHES);
        if let Some(label) = mark(BEGIN) {
            if open.replace((label, Zeroizing::new(String::with_capacity(text.len())))).is_some() {
                return Err(Malformed);
            }
        } else if let Some(label) = mark("-----END ") {
            let (_, content) = open.take().filter(|(begun, _)| *begun == label).ok_or(Malformed)?;
            let der = Zeroizing::new(BASE64.decode(content.as_bytes()).map_err(|_| Malformed)?);
            blocks.push(Block { label: label.to_owned(), der });
        } else if let Some((_, content)) = &mut open {
            content.extend(line.split_whitespace());
        }
    }
    if open.is_some() || blocks.is_empty() { Err(Malformed) } else { Ok(blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_what_was_encoded() {
        for length in [0, 1, 47, 48, 49, 120, 500] {
            let der = vec![0xA5; length];
            let text = encode("PUBLIC KEY", &der);
            assert!(text.lines().all(|line| line.len() <= 64), "{}", *text);
            let [Block { label, der: read }] = blocks(&text).unwrap().try_into().ok().unwrap();
            assert_eq!((label.as_str(), read.as_slice()), ("PUBLIC KEY", der.as_slice()), "{length}");
            assert!(text.len() <= text.capacity() && text.capacity() < text.len() + 100, "{length}");
        }
    }
}
