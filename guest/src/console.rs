//! The lines that a person reads on the console. Each begins with the program's name.

use std::{
    fmt,
    io::{self, Write as _},
    sync::Mutex,
};

/// Where lines go.
pub trait Console: Send + Sync {
    /// Writes one line. `line` has no secret in it, and control characters are shown, not sent.
    fn line(&self, line: fmt::Arguments<'_>);
}

/// The error output, which plug-ins connect to the console.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl Console for Stderr {
    fn line(&self, line: fmt::Arguments<'_>) {
        // Nobody is left to tell if the console is gone.
        let _ = io::stderr().lock().write_all(printable(line).as_bytes());
    }
}

/// Keeps the lines, for tests.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<String>>);

impl Kept {
    /// The lines so far, without the line feeds.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().map(|lines| lines.clone()).unwrap_or_default()
    }
}

impl Console for Kept {
    fn line(&self, line: fmt::Arguments<'_>) {
        if let Ok(mut lines) = self.0.lock() {
            lines.push(printable(line).trim_end_matches('\n').to_owned());
        }
    }
}

/// The line as it is written. Part of it may come from the network or the host: a control character in it
/// could make a terminal show something else.
fn printable(line: fmt::Arguments<'_>) -> String {
    let mut shown = String::from("keybroker-guest: ");
    for character in line.to_string().chars() {
        match character {
            character if character.is_control() => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
    }
    shown.push('\n');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        let kept = Kept::default();
        kept.line(format_args!("refused: {}", "a\x1b[2J\nb\u{9b}c"));
        assert_eq!(kept.lines(), ["keybroker-guest: refused: a\\u{1b}[2J\\nb\\u{9b}c"]);
    }
}
