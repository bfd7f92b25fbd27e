//! The end of a run that did not do what it was asked for: one line for the console, and its exit code.

use std::fmt;

use crate::{
    command_line::RootError,
    disk::DiskError,
    document::FindError,
    exit::Exit,
    look::LookError,
    private::PrivateError,
    release::{AskError, ReleaseError},
    report::ReportError,
};

/// Why a run did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There is no document, or it cannot be used.
    #[error("not trusted here: {0}")]
    Document(#[from] FindError),
    /// The guest's own report does not fit.
    #[error("not trusted here: {0}")]
    Look(#[from] LookError),
    /// The boot would go on from something else.
    #[error("not trusted here: {0}")]
    Root(#[from] RootError),
    /// The document cannot be kept.
    #[error("not done: the document cannot be kept: {0}")]
    Keep(#[from] PrivateError),
    /// There is no report.
    #[error("not trusted here: {0}")]
    Report(#[from] ReportError),
    /// The broker gave nothing.
    #[error("{0}")]
    Release(#[from] ReleaseError),
    /// A disk is not opened.
    #[error("disk refused: {name}: {error}")]
    Disk {
        /// The disk's name in the document.
        name: String,
        /// The reason.
        error: DiskError,
    },
    /// Anything else: the words are for people.
    #[error("not done: {0}")]
    NotDone(String),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Report(error) => error.into(),
            AskError::Look(error) => error.into(),
            AskError::Release(error) => error.into(),
        }
    }
}

impl Failure {
    /// The code to end with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Document(_) | Self::Look(_) | Self::Root(_) | Self::Report(_) => Exit::NotTrusted,
            Self::Release(error) => error.exit(),
            Self::Disk { .. } => Exit::DiskRefused,
            Self::Keep(_) | Self::NotDone(_) => Exit::NotDone,
        }
    }

    /// A failure of this machine while it was `doing` something.
    pub(crate) fn doing(doing: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::NotDone(format!("{doing}: {error}"))
    }
}
