//! The kernel that OVMF starts, with its initrd and its command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use keybroker_snp::measurement::direct_boot::{DirectBoot, NOTHING};
use serde::Serialize;

use super::input::{FileName, Input, unusable};
use crate::{
    bounded,
    exit::{Exit, Failure},
};

/// The files that QEMU gives to the firmware to start.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Kernel")]
pub(super) struct BootArgs {
    /// The kernel, as QEMU's -kernel has it, with kernel-hashes=on
    #[arg(long, value_name = "FILE")]
    pub(super) kernel: Option<PathBuf>,
    /// The initrd
    #[arg(long, value_name = "FILE")]
    pub(super) initrd: Option<PathBuf>,
    /// The kernel's command line, as QEMU's -append has it: every space counts
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,
    /// The file of the command line; one line break at its end is dropped
    #[arg(long, value_name = "FILE", conflicts_with = "append")]
    append_file: Option<PathBuf>,
}

/// Kernel, initrd and command line, by what is measured of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Boot {
    kernel: FileName,
    #[serde(skip_serializing_if = "Option::is_none")]
    initrd: Option<FileName>,
    append: String,
}

impl BootArgs {
    /// Reads the files. `None` is a guest whose firmware starts what it finds on a disk.
    pub(super) fn read(&self) -> Result<Option<Boot>, Failure> {
        let Some(kernel) = &self.kernel else {
            return match self.without_kernel() {
                None => Ok(None),
                Some(flag) => {
                    let error = anyhow!("{flag} needs --kernel");
                    Err(Failure::new(Exit::Usage, error).hint(
                        "QEMU gives an initrd and a command line to the kernel of -kernel, and the firmware \
                         checks all three together",
                    ))
                }
            };
        };
        let append = self.command_line()?.unwrap_or_default();
        Ok(Some(Boot::read(kernel, self.initrd.as_deref(), append)?))
    }

    /// A flag that means nothing without a kernel.
    fn without_kernel(&self) -> Option<&'static str> {
        let flags = [
            ("--initrd", self.initrd.is_some()),
            ("--append", self.append.is_some()),
            ("--append-file", self.append_file.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// The command line, if one is given.
    pub(super) fn command_line(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.append_file else { return Ok(self.append.clone()) };
        let text = bounded::text(path).context("no text of UTF-8 can be read from it");
        let text = text.map_err(|error| unusable(path, error))?;
        Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
    }
}

impl Boot {
    /// Reads the files, and keeps their hashes.
    pub(super) fn read(kernel: &Path, initrd: Option<&Path>, append: String) -> Result<Self, Failure> {
        let name = |path| Input::read(path).map(|input| input.name);
        Ok(Self { kernel: name(kernel)?, initrd: initrd.map(name).transpose()?, append })
    }

    /// The same with another command line, and with or without the initrd.
    pub(super) fn altered(&self, initrd: bool, append: &str) -> Self {
        let initrd = self.initrd.clone().filter(|_| initrd);
        Self { kernel: self.kernel.clone(), initrd, append: append.to_owned() }
    }

    /// The command line.
    pub(super) fn append(&self) -> &str {
        &self.append
    }

    /// Whether there is an initrd.
    pub(super) fn has_initrd(&self) -> bool {
        self.initrd.is_some()
    }

    /// The hashes that QEMU hands to the firmware.
    pub(super) fn direct(&self) -> DirectBoot<'_> {
        DirectBoot {
            kernel: self.kernel.sha256(),
            initrd: self.initrd.as_ref().map_or(NOTHING, FileName::sha256),
            command_line: &self.append,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &BootArgs) -> String {
        let failure = args.read().unwrap_err();
        let (error, hint) = failure.told();
        format!("{error}; {}", hint.unwrap_or_default())
    }

    #[test]
    fn initrd_and_command_line_are_nothing_without_a_kernel() {
        let some = || Some(PathBuf::from("/nowhere"));
        assert!(BootArgs::default().read().unwrap().is_none());
        let initrd = BootArgs { initrd: some(), ..BootArgs::default() };
        assert!(refused(&initrd).starts_with("--initrd needs --kernel; QEMU gives"));
        let append = BootArgs { append: Some("quiet".to_owned()), ..BootArgs::default() };
        assert!(refused(&append).starts_with("--append needs --kernel"));
        let file = BootArgs { append_file: some(), ..BootArgs::default() };
        assert!(refused(&file).starts_with("--append-file needs --kernel"));
        let missing = BootArgs { kernel: some(), ..BootArgs::default() };
        assert!(refused(&missing).starts_with("reading /nowhere: No such file"));
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_the_command_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, line) in [("quiet", "quiet"), ("quiet\n", "quiet"), ("quiet \n\n", "quiet \n"), ("", "")] {
            std::fs::write(file.path(), text).unwrap();
            let args = BootArgs { append_file: Some(file.path().to_owned()), ..BootArgs::default() };
            assert_eq!(args.command_line().unwrap().as_deref(), Some(line));
        }
    }
}
