//! The end of a command: one table of exit codes, and errors that say what to do next.

use std::process::ExitCode;

use crate::table::printable;

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

impl From<anyhow::Error> for Failure {
    /// For an error that has no code of its own.
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failure, error)
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
        (format!("{:#}", self.error), self.hint.as_deref())
    }

    /// Tells the user, and returns the code to end with. A user who closed the pipe need not be told.
    pub(crate) fn report(self) -> ExitCode {
        let broken_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
        if self.error.chain().filter_map(|cause| cause.downcast_ref()).any(broken_pipe) {
            return self.exit.into();
        }
        say!("error: {}", lines(&format!("{:#}", self.error)));
        if let Some(hint) = self.hint {
            say!("hint: {}", lines(&hint));
        }
        self.exit.into()
    }
}

/// Text of several lines, each as it may be printed: names of files and answers of servers are in it.
fn lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

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
