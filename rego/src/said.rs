//! The interpreter's words about an error. Its errors are texts: `--> FILE:LINE:COLUMN`, the line in
//! question, and `error: ` with the fault. A few are `FILE:LINE:COLUMN error: ` and the fault.

use crate::text::Position;

/// Longest message of an error, in characters.
const MAX_MESSAGE: usize = 200;

/// Where it is.
pub(crate) fn position(text: &str) -> Option<Position> {
    match text.split_once("--> ") {
        Some((_, place)) => read_position(place.lines().next()?),
        None => read_position(text.split_once(" error: ")?.0),
    }
}

/// `FILE:LINE:COLUMN`.
fn read_position(place: &str) -> Option<Position> {
    let mut numbers = place.split(':').skip(1).map(|number| number.trim().parse().ok());
    Some(Position { line: numbers.next()??, column: numbers.next()?? })
}

/// The message of an error of the parser or interpreter, without the source that it quotes.
pub(crate) fn message(text: &str) -> String {
    let said = match (text.split_once("\nerror: "), text.split_once(" error: ")) {
        (Some((_, said)), _) => said,
        (None, Some((place, said))) if read_position(place).is_some() => said,
        _ => text,
    };
    let line = said.trim().lines().next().unwrap_or_default();
    line.chars().filter(|c| (' '..='~').contains(c)).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_parser_has_a_place_and_a_message() {
        let text = "\n--> policy:3:7\n  |\n3 | allow if {\n  |       ^\nerror: expected `}`\nmore";
        assert_eq!(position(text), Some(Position { line: 3, column: 7 }));
        assert_eq!(message(text), "expected `}`");
        let text = "policy:3:23 error: encountered `c` while expecting `in`";
        assert_eq!(position(text), Some(Position { line: 3, column: 23 }));
        assert_eq!(message(text), "encountered `c` while expecting `in`");
        assert_eq!(message("an error: of a kind"), "an error: of a kind");
        assert_eq!(position("no place"), None);
        assert_eq!(message("no\u{1b}[31m place"), "no[31m place");
        assert_eq!(message(&"x".repeat(1000)).len(), MAX_MESSAGE);
    }
}
