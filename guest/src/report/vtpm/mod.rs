//! Azure's vTPM: the paravisor asks the chip on the guest's behalf, and leaves the report in an index.
//!
//! | index | holds | made by |
//! |---|---|---|
//! | 0x01400002 | 64 bytes of the guest's | the guest, once, as the owner's |
//! | 0x01400001 | the report, with claims that repeat those bytes | the paravisor |
//!
//! The paravisor renews the report when its first byte is read, and at most once in two seconds: a reading in
//! between gets the report of an earlier request. So a report is taken if it answers to what was written, and
//! otherwise the guest waits, writes again and reads again.
//!
//! No other process asks the TPM, as one asks /dev/sev-guest: here every length is checked, by this crate.
//! And the kernel bounds how long a TPM may take for a command.

mod tpm;
pub mod wire;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::PathBuf,
    time::Duration,
};

use keybroker_native::EvidenceForm;
use rustix::fs::{FlockOperation, flock};

pub use self::tpm::{Tpm, TpmError};
use crate::{
    look::{LookError, answer},
    report::{Evidence, Missing, ReportError, ReportSource},
    root::Root,
    time::{MachineTime, Time, until},
};

pub(super) const NAME: &str = "the vTPM (/dev/tpmrm0)";
const DEVICE: &str = "/dev/tpmrm0";
/// The index of the report.
pub const REPORT: u32 = 0x0140_0001;
/// The index of the 64 bytes.
pub const INPUT: u32 = 0x0140_0002;
/// Pauses in seconds, while the report is an earlier one. They grow: a limit that each reading sets anew ends
/// as well.
const PAUSES: [u64; 4] = [1, 2, 3, 4];
/// How long another run of this program may keep the TPM.
const TURN: Duration = Duration::from_secs(30);

/// The way to a TPM.
pub trait Machine {
    /// Takes commands, and gives responses.
    type Channel: Read + Write;

    /// Opens it.
    fn open(&self) -> io::Result<Self::Channel>;
}

/// The kernel's device.
#[derive(Debug)]
pub struct Kernel(PathBuf);

impl Machine for Kernel {
    type Channel = File;

    fn open(&self) -> io::Result<File> {
        let device = OpenOptions::new().read(true).write(true).open(&self.0)?;
        // One run at a time: the bytes of another would take the place of these.
        let locked = || flock(&device, FlockOperation::NonBlockingLockExclusive).ok();
        until(&MachineTime::start(), TURN, locked).ok_or(io::ErrorKind::ResourceBusy)?;
        Ok(device)
    }
}

/// Why the vTPM gives no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VtpmError {
    /// The TPM is another machine's than Azure's, or none.
    #[error("the TPM has no index {REPORT:#010x}: this is no confidential VM of Azure")]
    NoReport,
    /// A command failed.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The index for the 64 bytes is there, and of no use.
    #[error(
        "the index {INPUT:#010x} has {0} bytes, not 64, or is no ordinary one that the owner can read: remove \
         it (tpm2_nvundefine -C o {INPUT:#x})"
    )]
    Input(u16),
    /// The report does not answer to the 64 bytes, again and again.
    #[error(
        "the paravisor did not renew its report within {seconds} s: {0}",
        seconds = PAUSES.iter().sum::<u64>()
    )]
    NotRenewed(LookError),
}

/// Reports from a vTPM.
#[derive(Debug)]
pub struct Vtpm<M = Kernel>(M);

impl Vtpm {
    /// The kernel's, if it has the index of reports: a TPM alone is none of Azure's.
    pub fn find(root: &Root) -> Result<Self, Missing> {
        let device = root.path(DEVICE);
        if !device.exists() {
            return Err(Missing::NotThere);
        }
        let vtpm = Self(Kernel(device));
        vtpm.look(&MachineTime::start()).map_err(|error| Missing::Other(error.to_string()))?;
        Ok(vtpm)
    }
}

impl<M: Machine> Vtpm<M> {
    /// Reports from the TPM of `machine`.
    pub fn new(machine: M) -> Self {
        Self(machine)
    }

    /// Looks whether the TPM has the index of reports.
    pub fn look(&self, time: &dyn Time) -> Result<(), VtpmError> {
        report_index(&mut self.tpm(time)?).map(|_| ())
    }

    fn tpm<'a>(&self, time: &'a dyn Time) -> Result<Tpm<'a, M::Channel>, VtpmError> {
        Ok(Tpm::new(self.0.open().map_err(TpmError::from)?, time))
    }

    /// A report over `report_data`: the paravisor's whole index.
    pub fn attest(&self, time: &dyn Time, report_data: &[u8; 64]) -> Result<Evidence, VtpmError> {
        let mut tpm = self.tpm(time)?;
        let report = report_index(&mut tpm)?;
        let input = input_index(&mut tpm)?;
        let mut pauses = PAUSES.iter();
        loop {
            tpm.write(INPUT, input, report_data)?;
            let evidence = Evidence::of_vtpm(tpm.read(REPORT, report)?);
            match (answer(&evidence, report_data), pauses.next()) {
                (Ok(_), _) => return Ok(evidence),
                (Err(_), Some(pause)) => time.sleep(Duration::from_secs(*pause)),
                (Err(error), None) => return Err(VtpmError::NotRenewed(error)),
            }
        }
    }
}

fn report_index<C: Read + Write>(tpm: &mut Tpm<'_, C>) -> Result<wire::Public, VtpmError> {
    tpm.public(REPORT)?.ok_or(VtpmError::NoReport)
}

/// The index for the 64 bytes, which the first guest of a VM makes. The paravisor reads it as its owner.
fn input_index<C: Read + Write>(tpm: &mut Tpm<'_, C>) -> Result<wire::Public, VtpmError> {
    let known = tpm.public(INPUT)?;
    let public = known.unwrap_or(wire::Public { attributes: wire::Attributes::OWNERS, size: 64 });
    if known.is_none() {
        tpm.define(INPUT, public)?;
    }
    if public.size == 64 && public.attributes.is_ordinary() && public.attributes.owner_reads() {
        Ok(public)
    } else {
        Err(VtpmError::Input(public.size))
    }
}

impl<M: Machine> ReportSource for Vtpm<M> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn form(&self) -> EvidenceForm {
        EvidenceForm::AzSnpVtpm
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        Ok(self.attest(&MachineTime::start(), report_data)?)
    }
}
