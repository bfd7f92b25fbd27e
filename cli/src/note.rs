//! An operator's own words, which stand in a row or a record.

use crate::table::steers;

/// The most characters.
const LEN: usize = 200;

/// A line of up to 200 characters that does not steer a terminal.
pub(crate) fn note(text: &str) -> Result<String, &'static str> {
    if text.chars().count() > LEN {
        Err("must be 200 characters at most")
    } else if text.trim().is_empty() {
        Err("says nothing")
    } else if text.chars().any(steers) {
        Err("must be one line without control characters")
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_one_short_line_of_plain_text() {
        for text in ["a build", "gemäß Ticket 7: \"leak\"", &"n".repeat(200)] {
            assert_eq!(note(text), Ok(text.to_owned()));
        }
        for text in ["", "  ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", &"n".repeat(201)] {
            assert!(note(text).is_err(), "{text:?}");
        }
    }
}
