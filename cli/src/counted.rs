//! Numbers of things, in words.

use std::fmt::Display;

/// `1 row`, `2 rows`.
pub(crate) fn counted(number: impl Display, one: &str) -> String {
    let number = number.to_string();
    let ending = if number == "1" { "" } else { "s" };
    format!("{number} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!(
            [0, 1, 2, 11].map(|number| counted(number, "row")),
            ["0 rows", "1 row", "2 rows", "11 rows"]
        );
    }
}
