//! Strict JSON: a struct of its own for every object, and errors that repeat nothing of what was sent.

use serde::Deserialize;
use serde_json::error::Category;

use super::{Fault, FieldName, Invalid, Part};

/// Reads `text` as one JSON value of type `T` and nothing behind it.
pub(super) fn read<'a, T: Deserialize<'a>>(part: Part, text: &'a [u8]) -> Result<T, Invalid> {
    let value = serde_json::from_slice(text).map_err(|error| Invalid::Json { part, fault: fault(&error) })?;
    // serde reads a struct from an array as well, by position.
    let opening = if part == Part::CertChain { b'[' } else { b'{' };
    if text.trim_ascii_start().first() == Some(&opening) {
        Ok(value)
    } else {
        Err(Invalid::Json { part, fault: Fault::Type })
    }
}

fn fault(error: &serde_json::Error) -> Fault {
    match error.classify() {
        Category::Data => data_fault(&error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => Fault::Syntax,
    }
}

/// serde tells which of its errors it was in words alone. Other words than these make it a [`Fault::Type`]: the request
/// is refused all the same.
fn data_fault(message: &str) -> Fault {
    let named = |prefix| message.strip_prefix(prefix)?.split_once('`').map(|(name, _)| FieldName::new(name));
    named("unknown field `")
        .map(Fault::UnknownField)
        .or_else(|| named("duplicate field `").map(Fault::DuplicateField))
        .or_else(|| named("missing field `").map(Fault::MissingField))
        .unwrap_or(Fault::Type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: u8,
        y: u8,
    }

    fn fault_of(text: &[u8]) -> Fault {
        match read::<Point>(Part::Body, text) {
            Err(Invalid::Json { part: Part::Body, fault }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_come_in_any_order() {
        assert_eq!(read(Part::Body, br#" {"y":2,"x":1} "#), Ok(Point { x: 1, y: 2 }));
    }

    #[test]
    fn every_fault_has_its_name() {
        let unknown = Fault::UnknownField(FieldName::new("z"));
        assert_eq!(fault_of(br#"{"x":1,"y":2,"z":3}"#), unknown);
        assert_eq!(fault_of(br#"{"x":1,"y":2,"x":1}"#), Fault::DuplicateField(FieldName::new("x")));
        assert_eq!(fault_of(br#"{"x":1}"#), Fault::MissingField(FieldName::new("y")));
        assert_eq!(fault_of(br#"{"x":256,"y":2}"#), Fault::Type);
        assert_eq!(fault_of(br#"{"x":"1","y":2}"#), Fault::Type);
        assert_eq!(fault_of(b"null"), Fault::Type);
        assert_eq!(fault_of(b"[1,2]"), Fault::Type);
    }

    #[test]
    fn what_is_not_json_is_a_fault_of_syntax() {
        let texts: [&[u8]; 6] = [
            b"",
            b"{",
            br#"{"x":1,"y":2"#,
            br#"{"x":1,"y":2}{}"#,
            b"{\"x\":1,\"\xff\":2}",
            b"\xef\xbb\xbf{}",
        ];
        for text in texts {
            assert_eq!(fault_of(text), Fault::Syntax, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_looks_like_markup_is_not_repeated() {
        assert_eq!(fault_of(br#"{"<b>":1}"#), Fault::UnknownField(FieldName::new("?")));
    }
}
