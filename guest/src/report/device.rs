//! `/dev/sev-guest`, through the crate `sev`.
//!
//! A process of its own asks the device: this program again, as `keybroker-guest sev-guest`. The crate
//! follows the offsets of the host's certificate table without checking them against the table's end. It
//! would copy this process's memory into a "certificate", which is sent to the broker over a network that the
//! host sees. That other process holds nothing to be found, and if it dies, this one still says on the
//! console why nothing was opened.

use std::{
    ffi::c_int,
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use keybroker_snp::report::Report;
use rustix::io::Errno;
use sev::{
    error::{FirmwareError, UserApiError, VmmError},
    firmware::{
        guest::Firmware,
        host::{CertTableEntry, CertType},
    },
};

use crate::{
    child,
    report::{
        Evidence, Missing, ReportError, ReportSource,
        table::{self, Certificate, Kind},
    },
    root::Root,
};

pub(super) const NAME: &str = "/dev/sev-guest";
/// Attempts while the host asks for patience.
const ATTEMPTS: u32 = 5;
/// How long the host may keep one attempt.
const PATIENCE: Duration = Duration::from_secs(30);
/// A report and a table.
const MAX_ANSWER: u64 = 64 * 1024;
/// The argument that makes this program ask the device, and write what it says to its output.
pub const COMMAND: &str = "sev-guest";

/// Reports from `/dev/sev-guest`.
#[derive(Debug, Clone, Copy)]
pub struct Device;

impl Device {
    /// The kernel's, if it is there.
    pub fn find(root: &Root) -> Result<Self, Missing> {
        if root.path(NAME).exists() { Ok(Self) } else { Err(Missing::NotThere) }
    }
}

impl ReportSource for Device {
    fn name(&self) -> &'static str {
        NAME
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        for attempt in 1..=ATTEMPTS {
            match decode(&ask(report_data)?)? {
                Told::Evidence(evidence) => return Ok(evidence),
                Told::Error(Code::Busy, _) if attempt < ATTEMPTS => {
                    thread::sleep(Duration::from_millis(200) * attempt);
                }
                Told::Error(code, number) => return Err(code.error(number)),
            }
        }
        Err(ReportError::Busy(NAME, ATTEMPTS))
    }
}

/// The answer of the process that asks the device.
#[derive(Debug)]
enum Told {
    Evidence(Evidence),
    Error(Code, u32),
}

/// The kinds of errors that it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Code {
    Firmware = 1,
    Host = 2,
    Busy = 3,
    NoFirmware = 4,
    /// An error of the kernel, by its number.
    Io = 5,
    /// The crate gave up on the host's table.
    Table = 6,
}

impl Code {
    const ALL: [Self; 6] = [Self::Firmware, Self::Host, Self::Busy, Self::NoFirmware, Self::Io, Self::Table];

    fn error(self, number: u32) -> ReportError {
        match self {
            // Invalid parameter: of the parameters, only VMPL 0 can be at fault.
            Self::Firmware if number == 0x16 => ReportError::Svsm,
            Self::Firmware => ReportError::Firmware(number),
            Self::Host => ReportError::Host(number),
            Self::Busy => ReportError::Busy(NAME, ATTEMPTS),
            Self::NoFirmware => ReportError::NoFirmware(NAME),
            Self::Io => {
                let error = io::Error::from_raw_os_error(i32::try_from(number).unwrap_or_default());
                ReportError::Io { place: NAME.to_owned(), error }
            }
            Self::Table => ReportError::Child("the certificate table cannot be read".to_owned()),
        }
    }
}

/// Starts the process, and returns what it wrote.
fn ask(report_data: &[u8; 64]) -> Result<Vec<u8>, ReportError> {
    let ended = |error: io::Error| ReportError::Child(error.to_string());
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ended)?;
    let written = child.stdin.take().map(|mut input| input.write_all(report_data));
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut answer = Vec::new();
        output.map(|output| output.take(MAX_ANSWER).read_to_end(&mut answer)).transpose().map(|_| answer)
    });
    let status = child::ended(&mut child, PATIENCE).map_err(ended)?;
    let answer = reader.join().map_err(|_| ReportError::Child("nobody read it".to_owned()))?;
    match status {
        Some(status) if status.success() => {}
        Some(status) => return Err(ReportError::Child(status.to_string())),
        None => return Err(ReportError::Child(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
    written.transpose().map_err(ended)?;
    answer.map_err(ended)
}

fn decode(answer: &[u8]) -> Result<Told, ReportError> {
    let short = || ReportError::Child("its answer is too short".to_owned());
    let (tag, rest) = answer.split_first().ok_or_else(short)?;
    if *tag == 0 {
        let report = rest.get(..Report::SIZE).ok_or_else(short)?.to_vec();
        return Ok(Told::Evidence(Evidence::new(report, rest.get(Report::SIZE..).unwrap_or_default())));
    }
    let code = Code::ALL.into_iter().find(|code| *code as u8 == *tag).ok_or_else(short)?;
    Ok(Told::Error(code, u32::from_be_bytes(*rest.first_chunk().ok_or_else(short)?)))
}

/// The other process: asks the device over the 64 bytes of its input, and writes the answer.
pub fn serve() -> io::Result<()> {
    let mut report_data = [0; 64];
    io::stdin().read_exact(&mut report_data)?;
    let answer = match Firmware::open() {
        Ok(mut firmware) => match firmware.get_ext_report(None, Some(report_data), Some(0)) {
            Ok((report, entries)) => {
                let certificates: Vec<Certificate> =
                    entries.into_iter().flatten().filter_map(certificate).collect();
                [[0].as_slice(), &report, &table::write(&certificates)].concat()
            }
            Err(error) => error_answer(code(error)),
        },
        Err(error) => error_answer(io_code(&error)),
    };
    io::stdout().write_all(&answer)
}

fn certificate(entry: CertTableEntry) -> Option<Certificate> {
    let kind = match entry.cert_type {
        CertType::VCEK => Kind::Vcek,
        CertType::VLEK => Kind::Vlek,
        CertType::ASK => Kind::Ask,
        CertType::ARK => Kind::Ark,
        _ => return None,
    };
    Some(Certificate { kind, der: entry.data })
}

fn error_answer((code, number): (Code, u32)) -> Vec<u8> {
    [[code as u8].as_slice(), &number.to_be_bytes()].concat()
}

fn io_code(error: &io::Error) -> (Code, u32) {
    match error.raw_os_error() {
        Some(number) if number == Errno::NOTTY.raw_os_error() => (Code::NoFirmware, 0),
        Some(number) if number == Errno::BUSY.raw_os_error() => (Code::Busy, 0),
        number => (Code::Io, number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()),
    }
}

/// The crate's error. It forgets the kernel's error number: where the firmware was not called, the kernel
/// leaves its error at 0, 0xFF or all ones, depending on its age.
fn code(error: UserApiError) -> (Code, u32) {
    match error {
        UserApiError::FirmwareError(FirmwareError::UnknownSevError(0 | 0xFF | u32::MAX)) => {
            (Code::NoFirmware, 0)
        }
        UserApiError::FirmwareError(FirmwareError::UnknownSevError(number)) => (Code::Firmware, number),
        UserApiError::FirmwareError(FirmwareError::KnownSevError(known)) => {
            (Code::Firmware, u32::try_from(c_int::from(known)).unwrap_or(u32::MAX))
        }
        UserApiError::FirmwareError(FirmwareError::IoError(error)) | UserApiError::IOError(error) => {
            io_code(&error)
        }
        UserApiError::VmmError(VmmError::RateLimitRetryRequest) => (Code::Busy, 0),
        UserApiError::VmmError(VmmError::InvalidCertificatePageLength) => (Code::Host, 1),
        UserApiError::VmmError(VmmError::Unknown) => (Code::Host, u32::MAX),
        _ => (Code::Table, 0),
    }
}
