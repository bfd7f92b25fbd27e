//! The paths of a broker's files on this machine.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::anyhow;

use crate::exit::{Exit, Failure};

/// The wrapping key's file, given or by default.
pub(crate) fn key_file(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let default = || under_home("XDG_CONFIG_HOME", ".config", "keybroker/key", "--key-file");
    given.map_or_else(default, |given| Ok(given.to_owned()))
}

/// The data directory, given or by default.
pub(crate) fn data_dir(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let default = || under_home("XDG_DATA_HOME", ".local/share", "keybroker", "--data-dir");
    given.map_or_else(default, |given| Ok(given.to_owned()))
}

/// A path by the XDG Base Directory Specification, which ignores relative values.
fn under_home(variable: &str, fallback: &str, path: &str, option: &str) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(fallback))) {
        Some(base) => Ok(base.join(path)),
        None => Err(Failure::new(
            Exit::Configuration,
            anyhow!("there is no home directory, and {option} is not given"),
        )
        .hint(format!("give {option}, or set {variable} or HOME"))),
    }
}
