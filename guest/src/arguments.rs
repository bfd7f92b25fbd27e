//! The command line, read. By hand: a library for it would be a tenth of the program.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::{exit::Exit, get::Output, report::device};

/// A command with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Unlock(Waits),
    Get { name: String, output: Output, force: bool, waits: Waits },
    ServeKeys { socket: Option<PathBuf>, waits: Waits },
    Report { out: PathBuf, report_data: [u8; 64] },
    Doctor { ask: bool, waits: Waits },
    SevGuest,
    Help,
    Version,
}

/// How long a command waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    /// Seconds.
    pub(crate) timeout: u32,
}

/// Why a command line cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("there is no command")]
    NoCommand,
    #[error("{0:?} is no command")]
    Command(OsString),
    #[error("{0:?} is no option of this command")]
    Option(OsString),
    #[error("{0:?} is one argument too many")]
    TooMany(OsString),
    #[error("{0} stands twice")]
    Twice(&'static str),
    #[error("{0} needs a value")]
    NoValue(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} cannot be {1:?}")]
    Value(&'static str, OsString),
}

/// The help.
pub(crate) fn help() -> String {
    format!("{HELP}\n{}\n", Exit::TABLE)
}

const HELP: &str = "\
Attests to a key broker, and opens this guest's disks

Usage: keybroker-guest COMMAND

Commands:
  unlock                 Open all disks of the document
  get NAME               Write one secret to the standard output, without a line feed
      --fd NUMBER        Write it to this descriptor
      --force            Write it to a terminal, too
  serve-keys             Serve keys to systemd-cryptsetup, each once
      --socket PATH      Listen here; without it, the standard input is the listening socket
  report --out DIR       Write a report and the host's certificates into files, for `keybroker verify`
      --report-data HEX  REPORT_DATA, 128 hexadecimal digits; zeros if it is not given
  doctor                 Say what this guest is bound to, and whether its brokers answer
      --ask              Ask for the secrets of all disks, too, and throw them away. The broker records that
                         like any other release
  help, --help           Print this
  version, --version     Print the version

All but report:
      --timeout SECONDS  Give up if no broker gave an answer for so long: 1 to 86400, 300 if it is not given

All settings come from the init data document: /run/keybroker/initdata.toml, which unlock and serve-keys keep for
the commands after the boot, else /etc/keybroker/initdata.toml in the initrd, else opt/keybroker/initdata in
QEMU's fw_cfg, else a partition or a virtio disk that is called keybroker-initdata.
A document from the host must be the one whose digest is HOST_DATA of this guest, unless HOST_DATA is zero and
the document says that nothing binds it. --timeout alone is not in the document: it is measured if whatever
starts this program is.

TLS is not what protects a secret: it is sealed to this guest, under a signature that the document names. So a
certificate of TLS is taken although this machine's clock says that it is not valid now. Somebody who holds the
key of an expired certificate, and stands in the network, can then see which workload asks, and refuse in the
broker's place. Not more.
";

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().ok_or(UsageError::NoCommand)?;
    let rest: Vec<OsString> = arguments.collect();
    if rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(Command::Help);
    }
    let mut words = Words { rest };
    let command = match name.to_str().unwrap_or_default() {
        "unlock" => Command::Unlock(words.waits()?),
        "get" => {
            let descriptor = words.value("--fd")?;
            let number = |text: OsString| number(&text).ok_or(UsageError::Value("--fd", text));
            let output = descriptor.map(number).transpose()?.map_or(Output::Stdout, Output::Descriptor);
            let (force, waits) = (words.flag("--force")?, words.waits()?);
            let name = words.word()?.ok_or(UsageError::Missing("NAME"))?;
            let name = name.into_string().map_err(|name| UsageError::Value("NAME", name))?;
            Command::Get { name, output, force, waits }
        }
        "serve-keys" => {
            let socket = words.value("--socket")?.map(PathBuf::from);
            Command::ServeKeys { socket, waits: words.waits()? }
        }
        "report" => {
            let out = words.value("--out")?.ok_or(UsageError::Missing("--out"))?.into();
            let report_data = match words.value("--report-data")? {
                Some(text) => report_data(&text).ok_or(UsageError::Value("--report-data", text))?,
                None => [0; 64],
            };
            Command::Report { out, report_data }
        }
        "doctor" => Command::Doctor { ask: words.flag("--ask")?, waits: words.waits()? },
        device::COMMAND => Command::SevGuest,
        "help" | "--help" | "-h" => Command::Help,
        "version" | "--version" | "-V" => Command::Version,
        _ => return Err(UsageError::Command(name)),
    };
    words.end()?;
    Ok(command)
}

/// The arguments that nobody took yet.
struct Words {
    rest: Vec<OsString>,
}

impl Words {
    /// Takes the option and its value, `--name VALUE` or `--name=VALUE`.
    fn value(&mut self, option: &'static str) -> Result<Option<OsString>, UsageError> {
        let joined =
            |argument: &OsStr| Some(argument.to_str()?.strip_prefix(option)?.strip_prefix('=')?.into());
        let place = self.rest.iter().position(|argument| argument == option || joined(argument).is_some());
        let Some(place) = place else { return Ok(None) };
        let argument = self.rest.remove(place);
        let value: OsString = match joined(&argument) {
            Some(value) => value,
            None if place < self.rest.len() => self.rest.remove(place),
            None => return Err(UsageError::NoValue(option)),
        };
        if self.rest.iter().any(|argument| argument == option || joined(argument).is_some()) {
            return Err(UsageError::Twice(option));
        }
        Ok(Some(value))
    }

    /// Takes the option, which has no value.
    fn flag(&mut self, option: &'static str) -> Result<bool, UsageError> {
        let before = self.rest.len();
        self.rest.retain(|argument| argument != option);
        match before - self.rest.len() {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(UsageError::Twice(option)),
        }
    }

    fn waits(&mut self) -> Result<Waits, UsageError> {
        const OPTION: &str = "--timeout";
        let Some(text) = self.value(OPTION)? else { return Ok(Waits { timeout: 300 }) };
        let timeout = number(&text).filter(|seconds| (1..=86_400).contains(seconds));
        timeout.map(|timeout| Waits { timeout }).ok_or(UsageError::Value(OPTION, text))
    }

    /// Takes an argument that is no option.
    fn word(&mut self) -> Result<Option<OsString>, UsageError> {
        match self.rest.iter().position(|argument| !argument.as_encoded_bytes().starts_with(b"-")) {
            Some(place) => Ok(Some(self.rest.remove(place))),
            None => Ok(None),
        }
    }

    fn end(self) -> Result<(), UsageError> {
        match self.rest.into_iter().next() {
            None => Ok(()),
            Some(left) if left.as_encoded_bytes().starts_with(b"-") => Err(UsageError::Option(left)),
            Some(left) => Err(UsageError::TooMany(left)),
        }
    }
}

fn number<T: std::str::FromStr>(text: &OsStr) -> Option<T> {
    text.to_str()?.parse().ok()
}

fn report_data(text: &OsStr) -> Option<[u8; 64]> {
    HEXLOWER_PERMISSIVE.decode(text.to_str()?.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    const WAITS: Waits = Waits { timeout: 300 };

    #[test]
    fn every_command_is_read() {
        let get = |output, force, timeout| Command::Get {
            name: "passphrase".to_owned(),
            output,
            force,
            waits: Waits { timeout },
        };
        let rows = [
            ("unlock", Command::Unlock(WAITS)),
            ("unlock --timeout 20", Command::Unlock(Waits { timeout: 20 })),
            ("get passphrase", get(Output::Stdout, false, 300)),
            ("get --force --fd=3 passphrase --timeout=9", get(Output::Descriptor(3), true, 9)),
            ("get --fd 3 passphrase", get(Output::Descriptor(3), false, 300)),
            ("serve-keys", Command::ServeKeys { socket: None, waits: WAITS }),
            (
                "serve-keys --socket /run/k",
                Command::ServeKeys { socket: Some("/run/k".into()), waits: WAITS },
            ),
            ("report --out d", Command::Report { out: "d".into(), report_data: [0; 64] }),
            ("doctor", Command::Doctor { ask: false, waits: WAITS }),
            ("doctor --ask", Command::Doctor { ask: true, waits: WAITS }),
            ("sev-guest", Command::SevGuest),
            ("--help", Command::Help),
            ("get --help", Command::Help),
            ("-V", Command::Version),
        ];
        for (line, command) in rows {
            assert_eq!(parsed(line), Ok(command), "{line}");
        }
        let line = format!("report --out d --report-data {}", "5A".repeat(64));
        assert_eq!(parsed(&line), Ok(Command::Report { out: "d".into(), report_data: [0x5A; 64] }));
    }

    #[test]
    fn everything_else_is_refused() {
        let value = |option, text: &str| UsageError::Value(option, text.into());
        let rows = [
            ("", UsageError::NoCommand),
            ("open", UsageError::Command("open".into())),
            ("unlock all", UsageError::TooMany("all".into())),
            ("unlock --force", UsageError::Option("--force".into())),
            ("unlock --timeout", UsageError::NoValue("--timeout")),
            ("unlock --timeout 1 --timeout=2", UsageError::Twice("--timeout")),
            ("unlock --timeout 0", value("--timeout", "0")),
            ("unlock --timeout 86401", value("--timeout", "86401")),
            ("unlock --timeout soon", value("--timeout", "soon")),
            ("get", UsageError::Missing("NAME")),
            ("get a b", UsageError::TooMany("b".into())),
            ("get a --force --force", UsageError::Twice("--force")),
            ("get a --fd -1", value("--fd", "-1")),
            ("report", UsageError::Missing("--out")),
            ("report --out d --report-data 5a", value("--report-data", "5a")),
            ("report --out d --timeout 3", UsageError::Option("--timeout".into())),
            ("doctor --asked", UsageError::Option("--asked".into())),
        ];
        for (line, error) in rows {
            assert_eq!(parsed(line), Err(error), "{line}");
        }
    }
}
