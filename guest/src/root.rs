//! Where the paths of this machine begin.

use std::path::{Path, PathBuf};

/// The directory that absolute paths begin at. Only a caller of the library can choose another one than `/`:
/// no flag and no variable of the environment can.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// This machine's.
    pub fn machine() -> Self {
        Self::at("/")
    }

    /// A tree that stands for a machine.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The place of an absolute path.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }
}
