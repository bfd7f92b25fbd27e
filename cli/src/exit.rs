//! The end of a command: one table of exit codes, and errors that say what to do next.

use std::{path::Path, process::ExitCode};

use crate::{credential, table::printable};

/// The exit codes. Scripts rely on them: "denied" is not "could not tell".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything went well.
    Ok = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line cannot be understood, or asks for something impossible.
    Usage = 2,
    /// The verification was made, and the answer is no.
    Denied = 3,
    /// A service that is needed could not be reached.
    Unreachable = 4,
    /// The configuration, or a file that it names, cannot be used.
    Configuration = 5,
    /// Another process has the store open.
    StoreLocked = 6,
}

impl Exit {
    /// The table in every `--help`. clap, too, ends a wrong command line with 2.
    pub(crate) const TABLE: &'static str = "\
Exit codes:
  0  ok
  1  failure
  2  usage: the command line cannot be understood
  3  denied: verified, and the answer is no
  4  unreachable: a service that is needed does not answer
  5  configuration: a setting, or a file that it names, cannot be used
  6  store locked: another process has the data directory open";
}

impl Exit {
    /// Whether the same command may succeed a moment later.
    pub(crate) fn passes(self) -> bool {
        matches!(self, Self::Unreachable | Self::StoreLocked)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The reason why a command has no result, and a hint that may help.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
    /// The permission that is missing.
    needs: Option<String>,
}

/// The context of an error about a file or a directory that an argument or a setting names: what the command
/// was doing with it, and its name. A command ends with [`Exit::Configuration`] for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(pub(crate) String);

impl Unusable {
    /// The file or directory that cannot be read.
    pub(crate) fn reading(path: &Path) -> Self {
        Self(format!("reading {}", path.display()))
    }

    /// The file or directory that cannot be written.
    pub(crate) fn writing(path: &Path) -> Self {
        Self(format!("writing {}", path.display()))
    }

    /// The file that holds something else than it is named for.
    pub(crate) fn content(path: &Path) -> Self {
        Self(path.display().to_string())
    }
}

impl From<anyhow::Error> for Failure {
    /// For an error that has no code of its own, or is about a file that an argument names.
    fn from(error: anyhow::Error) -> Self {
        let exit = if error.is::<Unusable>() { Exit::Configuration } else { Exit::Failure };
        Self::new(exit, error)
    }
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None, needs: None }
    }

    /// Adds what the command was doing.
    pub(crate) fn context(self, doing: impl std::fmt::Display + Send + Sync + 'static) -> Self {
        Self { error: self.error.context(doing), ..self }
    }

    /// Adds what may help.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the permission that is missing: `dynamodb:Scan`.
    pub(crate) fn needs(self, permission: String) -> Self {
        Self { needs: Some(permission), ..self }
    }

    /// Adds what may help if a permission is missing, in place of the advice about permissions in general.
    pub(crate) fn hint_if_denied(self, hint: impl Into<String>) -> Self {
        if self.needs.is_some() { self.hint(hint) } else { self }
    }

    /// The permission that is missing, if that is the reason.
    pub(crate) fn needed(&self) -> Option<&str> {
        self.needs.as_deref()
    }

    /// The code that the command ends with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The error and the hint, for a caller that prints them in a form of its own.
    pub(crate) fn told(&self) -> (String, Option<&str>) {
        (credential::hidden(&self.message()), self.hint.as_deref())
    }

    fn message(&self) -> String {
        format!("{:#}", self.error)
    }

    /// Whether the reader of the output closed the pipe. Printing has no code of its own; with another code
    /// the connection to a service broke.
    fn is_of_closed_output(&self) -> bool {
        let broken_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
        self.exit == Exit::Failure
            && self.error.chain().filter_map(|cause| cause.downcast_ref()).any(broken_pipe)
    }

    /// Tells the user, and returns the code to end with. A user who closed the pipe need not be told.
    pub(crate) fn report(self) -> ExitCode {
        if self.is_of_closed_output() {
            return ExitCode::from(OUTPUT_CLOSED);
        }
        let message = self.message();
        say!("error: {}", lines(&credential::hidden(&message)));
        if let Some(hint) = self.hint {
            say!("hint: {}", lines(&credential::hidden(&hint)));
        }
        if credential::is_in(&message) {
            credential::advise();
        }
        self.exit.into()
    }
}

/// The code of a command whose output nobody reads any more, as in `keybroker audit --limit 20 | head -1`. A
/// shell reports it of a program that SIGPIPE ends. It is neither 0, because the command may not have done
/// all of its work, nor a code of the table, because nothing is wrong.
const OUTPUT_CLOSED: u8 = 128 + 13;

/// Text of several lines, each as it may be printed: names of files and answers of servers are in it.
fn lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_a_matter_of_the_configuration() {
        let missing = || anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(Failure::from(missing()).exit(), Exit::Failure);
        let named = missing().context(Unusable::reading(Path::new("a.pem"))).context("the second of two");
        let failure = Failure::from(named);
        assert_eq!(failure.exit(), Exit::Configuration);
        assert_eq!(failure.told().0, "the second of two: reading a.pem: entity not found");
    }

    #[test]
    fn only_printing_ends_silently() {
        let broken = || anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(Failure::from(broken().context("printing")).is_of_closed_output());
        assert!(!Failure::new(Exit::Unreachable, broken().context("asking")).is_of_closed_output());
    }

    #[test]
    fn the_table_has_every_code_and_the_manual_has_the_table() {
        let all = [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::Denied,
            Exit::Unreachable,
            Exit::Configuration,
            Exit::StoreLocked,
        ];
        let lines: Vec<_> = Exit::TABLE.lines().skip(1).collect();
        assert_eq!(lines.len(), all.len());
        for (exit, line) in all.into_iter().zip(lines) {
            assert!(line.starts_with(&format!("  {}  ", exit as u8)), "{line}");
        }
        let manual = include_str!("../../docs/operations.md");
        assert!(manual.contains(Exit::TABLE), "docs/operations.md has another table of exit codes");
    }
}
