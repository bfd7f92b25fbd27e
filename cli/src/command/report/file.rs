//! The file of a report.
//!
//! A report that is made each day goes under one name, so an earlier report is replaced. Any other file
//! stays: a name that was mistyped must cost nobody a file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, anyhow};
use keybroker_embedded::files::{self, Beside};

use super::page;
use crate::exit::{Failure, Unusable};

/// Names workloads and principals: for its owner alone.
const MODE: u32 = 0o600;

/// Whether a report can be written to `path`, before the command reads a whole store.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    if is_stdout(path) {
        return Ok(());
    }
    let directory = files::directory(path);
    if !directory.is_dir() {
        let error = anyhow!("{} is not a directory", directory.display());
        return Err(error.context(Unusable::writing(path)).into());
    }
    earlier(path).map(drop)
}

/// Writes `html` to `path`: all of it or nothing.
pub(super) fn write(path: &Path, html: &str) -> Result<(), Failure> {
    if is_stdout(path) {
        return Ok(io::stdout().write_all(html.as_bytes()).context("printing")?);
    }
    let mode = earlier(path)?.unwrap_or(MODE);
    Ok(put(path, html, mode).with_context(|| Unusable::writing(path))?)
}

fn put(path: &Path, html: &str, mode: u32) -> io::Result<()> {
    let mut beside = Beside::of(path, MODE)?;
    beside.file().write_all(html.as_bytes())?;
    // The mode of a new file is cut by the umask.
    beside.file().set_permissions(fs::Permissions::from_mode(mode))?;
    beside.replace()
}

/// The mode of the report that is there; `None` if nothing is there. Anything else is a failure.
fn earlier(path: &Path) -> Result<Option<u32>, Failure> {
    let file = match files::open(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, error.into())),
    };
    let mut begin = Vec::new();
    let read = (&file).take(page::BEGIN.len() as u64).read_to_end(&mut begin).and_then(|_| file.metadata());
    let found = read.map_err(|error| unusable(path, error.into()))?;
    if begin.is_empty() || begin == page::BEGIN.as_bytes() {
        return Ok(Some(found.permissions().mode() & 0o777));
    }
    Err(unusable(path, anyhow!("another file has this name, and it is no report")))
}

fn unusable(path: &Path, error: anyhow::Error) -> Failure {
    Failure::from(error.context(Unusable::writing(path)))
        .hint("give --html another name, or delete the file; `-` is standard output")
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_earlier_report_is_replaced_and_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        let report = |text: &str| format!("{}{text}", page::BEGIN);
        write(&path, &report("one")).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        check(&path).unwrap();
        write(&path, &report("two")).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap(), mode(&path)), (report("two"), 0o644));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn any_other_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("notes.html"), "<!DOCTYPE html><p>notes").unwrap();
        symlink("notes.html", at("link.html")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["notes.html", "link.html", "folder", "missing/report.html"] {
            for refused in [check(&at(name)), write(&at(name), page::BEGIN)] {
                let failure = refused.unwrap_err();
                let (told, _) = failure.told();
                assert!(told.contains(name), "{told}");
            }
        }
        assert_eq!(fs::read_to_string(at("notes.html")).unwrap(), "<!DOCTYPE html><p>notes");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn an_empty_file_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        fs::write(&path, "").unwrap();
        write(&path, page::BEGIN).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), page::BEGIN);
    }
}
