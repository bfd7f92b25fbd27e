//! The files that a guest is launched from.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use keybroker_common::encoding::Hex;
use serde::Serialize;

use crate::{
    bounded,
    exit::{Exit, Failure},
};

/// A file's name and its digest, by which it is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FileName {
    file: PathBuf,
    /// SHA-256, as sha256sum prints it.
    sha256: Hex<32>,
}

impl FileName {
    /// Its path, as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// SHA-256 of its contents.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.sha256.0
    }
}

/// A file with its contents.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: FileName,
    pub(super) bytes: Vec<u8>,
}

impl Input {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = bounded::read(path, bounded::IMAGE).map_err(|error| unusable(path, error))?;
        let sha256 = digest(&SHA256, &bytes).as_ref().try_into().unwrap_or([0; 32]);
        Ok(Self { name: FileName { file: path.to_owned(), sha256: Hex(sha256) }, bytes })
    }
}

/// The failure to use the file.
pub(super) fn unusable(path: &Path, error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Configuration, error).context(format!("reading {}", path.display()))
}
