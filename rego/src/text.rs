//! The conditions on the text of a module or query before a parser sees it.
//!
//! The parser recurses where brackets nest, reads again what stands in them, and slices text at byte offsets
//! when it reports errors. A program that aborts on panic must keep away from it what could overflow its
//! stack, take it for ever or split a character.

use keybroker_common::policy::MAX_NESTING;
use regorus::unstable::Span;

/// Longest number, in characters. Longer ones are no version, count or size.
const MAX_NUMBER: usize = 40;
/// Most minus signs in a row: each is one more call of the parser's.
const MAX_MINUSES: usize = 2;

/// Most bytes that the parser may have to read, counting each as often as it may be read.
const MAX_READ: u64 = 1 << 20;

/// How often the parser may read what stands in a bracket: it tries a comprehension, a set and an object in
/// turn.
fn readings(open: u8) -> u64 {
    match open {
        b'{' => 3,
        b'[' => 2,
        _ => 1,
    }
}

/// A place in a text, both from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// Why a text is kept from the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// More bytes than allowed.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// A character outside printable ASCII, tabs and line ends.
    #[error("a character that is not printable ASCII: write it as \\u escape in a string")]
    Character,
    /// The same in a comment.
    #[error(
        "a character in a comment that is not printable ASCII: write comments in ASCII, or leave this one out"
    )]
    Comment,
    /// Brackets nest deeper than [`MAX_NESTING`].
    #[error("brackets nested deeper than {MAX_NESTING}")]
    Nesting,
    /// So much text in nested brackets that the parser would not come to an end: each level multiplies.
    #[error("too much text in nested brackets")]
    Readings,
    /// A number with an exponent, or of more than 40 characters.
    #[error("a number with an exponent, or longer than {MAX_NUMBER} characters")]
    Number,
    /// Three minus signs or more in a row.
    #[error("more than {MAX_MINUSES} minus signs in a row")]
    Minuses,
    /// A string without its end.
    #[error("a string that does not end")]
    OpenString,
}

/// Checks `text` as a whole.
pub(crate) fn check(text: &str, max_len: usize) -> Result<(), (Position, TextFault)> {
    if text.len() > max_len {
        return Err((Position { line: 1, column: 1 }, TextFault::TooLong(max_len)));
    }
    let start = Position { line: 1, column: 1 };
    let mut scanner = Scanner { rest: text.as_bytes(), at: start, readings: vec![1], read: 0 };
    scanner.code().map_err(|fault| (scanner.at, fault))
}

/// The text that a span covers. At its ends it leaves out the quotes of strings.
pub(crate) fn written(span: &Span) -> Option<&str> {
    let source = span.source.contents();
    let quote = |at: usize| matches!(source.as_bytes().get(at), Some(b'"' | b'`'));
    let (start, end) = (usize::try_from(span.start).ok()?, usize::try_from(span.end).ok()?);
    let start = start.checked_sub(1).filter(|before| quote(*before)).unwrap_or(start);
    source.get(start..if quote(end) { end + 1 } else { end })
}

struct Scanner<'a> {
    rest: &'a [u8],
    at: Position,
    /// How often the text here is read: outside all brackets, and in each that is open.
    readings: Vec<u64>,
    read: u64,
}

impl Scanner<'_> {
    fn next(&mut self) -> Result<Option<u8>, TextFault> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Ok(None) };
        match byte {
            b' '..=b'~' | b'\t' | b'\r' | b'\n' => {}
            _ => return Err(TextFault::Character),
        }
        self.rest = rest;
        self.read = self.read.saturating_add(self.here());
        if self.read > MAX_READ {
            return Err(TextFault::Readings);
        }
        self.at.column += 1;
        if byte == b'\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        }
        Ok(Some(byte))
    }

    fn here(&self) -> u64 {
        self.readings.last().copied().unwrap_or(1)
    }

    fn open(&mut self, bracket: u8) -> Result<(), TextFault> {
        if self.readings.len() > MAX_NESTING {
            return Err(TextFault::Nesting);
        }
        self.readings.push(self.here().saturating_mul(readings(bracket)));
        Ok(())
    }

    /// A bracket too many is left to the parser.
    fn close(&mut self) {
        if self.readings.len() > 1 {
            self.readings.pop();
        }
    }

    fn code(&mut self) -> Result<(), TextFault> {
        let mut minuses = 0;
        while let Some(byte) = self.next()? {
            minuses = match byte {
                b'-' => minuses + 1,
                b' ' | b'\t' | b'\r' | b'\n' => minuses,
                _ => 0,
            };
            if minuses > MAX_MINUSES {
                return Err(TextFault::Minuses);
            }
            match byte {
                b'"' | b'`' => self.string(byte)?,
                b'#' => self.comment()?,
                b'(' | b'[' | b'{' => self.open(byte)?,
                b')' | b']' | b'}' => self.close(),
                b'0'..=b'9' => self.word().and_then(|rest| number(byte, rest))?,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word().map(|_| ())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), TextFault> {
        loop {
            match self.next() {
                Err(TextFault::Character) => return Err(TextFault::Comment),
                Ok(None | Some(b'\n')) => return Ok(()),
                other => other.map(|_| ())?,
            }
        }
    }

    /// The rest of a number or name. A point is part of it only where a digit follows.
    fn word(&mut self) -> Result<&[u8], TextFault> {
        let start = self.rest;
        let mut len = 0;
        loop {
            match self.rest {
                [b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] | [b'.', b'0'..=b'9', ..] => len += 1,
                _ => return Ok(start.get(..len).unwrap_or_default()),
            }
            self.next()?;
        }
    }

    fn string(&mut self, quote: u8) -> Result<(), TextFault> {
        loop {
            match self.next()? {
                Some(b'\\') if quote == b'"' => self.next()?.map(|_| ()).ok_or(TextFault::OpenString)?,
                Some(byte) if byte == quote => return Ok(()),
                Some(b'\n') if quote == b'"' => return Err(TextFault::OpenString),
                Some(_) => {}
                None => return Err(TextFault::OpenString),
            }
        }
    }
}

fn number(first: u8, rest: &[u8]) -> Result<(), TextFault> {
    debug_assert!(first.is_ascii_digit());
    if rest.len() >= MAX_NUMBER || rest.iter().any(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        return Err(TextFault::Number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<TextFault> {
        check(text, 1000).err().map(|(_, fault)| fault)
    }

    #[test]
    fn text_that_people_write_passes() {
        for text in [
            "package a\n\nallow if { input.x == \"caf\\u00e9\" }\n",
            "x == 1 - -1 # a comment: e ( [ {",
            "input.snp.v1e5 >= 1.25",
            "`a \" raw \\ string`",
            "\"a \\\" b\"",
        ] {
            assert_eq!(check(text, 1000), Ok(()), "{text}");
        }
    }

    #[test]
    fn every_fault_has_its_name() {
        assert_eq!(fault(&" ".repeat(1001)), Some(TextFault::TooLong(1000)));
        assert_eq!(fault("x == \"\u{e9}\""), Some(TextFault::Character));
        assert_eq!(fault("x\0"), Some(TextFault::Character));
        assert_eq!(fault("x # caf\u{e9}"), Some(TextFault::Comment));
        assert_eq!(fault("x # cafe\ny == \u{e9}"), Some(TextFault::Character));
        assert_eq!(fault("1e5"), Some(TextFault::Number));
        assert_eq!(fault("x == 1E5"), Some(TextFault::Number));
        assert_eq!(fault(&format!("x == {}", "1".repeat(41))), Some(TextFault::Number));
        assert_eq!(fault("x == - - -1"), Some(TextFault::Minuses));
        assert_eq!(fault("x == \"abc"), Some(TextFault::OpenString));
        assert_eq!(fault("x == \"abc\ndef\""), Some(TextFault::OpenString));
        assert_eq!(fault("`abc"), Some(TextFault::OpenString));
        assert_eq!(fault(&"(".repeat(MAX_NESTING)), None);
        assert_eq!(fault(&"(".repeat(MAX_NESTING + 1)), Some(TextFault::Nesting));
        assert_eq!(fault(&"[".repeat(18)), None);
        assert_eq!(fault(&"[".repeat(MAX_NESTING)), Some(TextFault::Readings));
        assert_eq!(fault(&"{".repeat(12)), None);
        assert_eq!(fault(&"{".repeat(MAX_NESTING)), Some(TextFault::Readings));
    }

    #[test]
    fn text_counts_as_often_as_it_is_read() {
        let nested = |len: usize| format!("{}\"{}\"{}", "[".repeat(10), "x".repeat(len), "]".repeat(10));
        assert_eq!(fault(&nested(900)), None);
        assert_eq!(check(&nested(1100), 2000).map_err(|(_, fault)| fault), Err(TextFault::Readings));
        let beside = "[[[[[[[[[[1]]]]]]]]]],".repeat(40);
        assert_eq!(fault(&beside), None);
        assert_eq!(fault(&"]".repeat(1000)), None);
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_nest() {
        let open = "[".repeat(100);
        assert_eq!(fault(&format!("x == \"{open}\" # {open}\ny == `{open}`")), None);
    }

    #[test]
    fn a_fault_has_its_place() {
        let at = check("package a\nx := 1e5", 100).unwrap_err().0;
        assert_eq!(at.line, 2);
    }
}
