//! The table of exit codes.

use std::process::ExitCode;

/// The exit codes. Plug-ins and scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for was done.
    Done = 0,
    /// It was not done, for a reason that has no code of its own.
    NotDone = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The broker refused. This is final: to ask again changes nothing.
    Refused = 3,
    /// No broker of the document answered in time.
    NotReached = 4,
    /// This guest is not what its document says, or has no document. Nobody was asked.
    NotTrusted = 5,
    /// A disk is not the document's. If its header is at fault, nobody was asked for its passphrase.
    DiskRefused = 6,
}

impl Exit {
    /// The table in every `--help`.
    pub const TABLE: &'static str = "\
Exit codes:
  0  done
  1  not done, for a reason that has no code of its own
  2  usage: the command line cannot be understood
  3  refused: the broker refused this guest, which is final
  4  not reached: no broker of the document answered in time
  5  not trusted here: this guest is not what its document says
  6  disk refused: a disk is not the document's";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
