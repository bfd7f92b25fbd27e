//! Where a report comes from.
//!
//! | interface | where |
//! |---|---|
//! | [`configfs`] | configfs-tsm, Linux 6.7 and newer |
//! | [`device`] | `/dev/sev-guest`, older kernels |
//! | `simulated` | a virtio-serial port, in builds with the feature `simulated-hardware` alone |
//!
//! All of them ask for a report at VMPL 0. [`table`] reads the certificates that the host put beside it.

pub mod configfs;
pub mod device;
#[cfg(feature = "simulated-hardware")]
pub mod simulated;
pub mod table;

use std::{io, time::Duration};

use crate::{
    report::table::Certificate,
    root::Root,
    time::{Time, until},
};

/// A report as the processor gave it, and the host's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The report: 1184 bytes if all is well, which [`mod@crate::look`] checks.
    pub report: Vec<u8>,
    /// The certificates of the host's table, in its order. May be empty: the broker then asks AMD.
    pub certificates: Vec<Certificate>,
    /// Why the host's table was not taken, if it was not.
    pub table_error: Option<table::TableError>,
}

impl Evidence {
    /// A report, and the bytes of the host's table. A table that cannot be read is no certificates: the host
    /// gains nothing by it, for the broker can ask AMD.
    pub fn new(report: Vec<u8>, table: &[u8]) -> Self {
        let (certificates, table_error) = match table::parse(table) {
            Ok(certificates) => (certificates, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self { report, certificates, table_error }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The machine has no interface.
    #[error("there is no SEV-SNP report to be had: neither configfs-tsm nor /dev/sev-guest is there")]
    Absent,
    /// configfs-tsm has another processor behind it.
    #[error("reports come from {0}, not from sev_guest")]
    Provider(String),
    /// The firmware refuses VMPL 0 to this kernel.
    #[error("the guest's kernel is not at VMPL 0 (firmware error 0x16): an SVSM is below it")]
    Svsm,
    /// The kernel has no key to talk to the firmware with, or the interface has nothing behind it.
    #[error("{0} is there and has no SEV-SNP firmware behind it (ENOTTY)")]
    NoFirmware(&'static str),
    /// Others used the interface at the same time, again and again.
    #[error("{0} was busy at every one of {1} attempts")]
    Busy(&'static str, u32),
    /// The firmware answered with an error.
    #[error("the firmware answered error {0:#x}")]
    Firmware(u32),
    /// The host's side answered with an error.
    #[error("the host answered error {0:#x} in place of a report")]
    Host(u32),
    /// The kernel answered with an error.
    #[error("{place}: {error}")]
    Io {
        /// The act, and the file.
        place: String,
        /// The kernel's error.
        error: io::Error,
    },
    /// The process that asks the device ended without an answer.
    #[error("the process that asks /dev/sev-guest ended early: {0}")]
    Child(String),
}

/// Gives reports about this guest.
pub trait ReportSource {
    /// The interface's name, for people.
    fn name(&self) -> &'static str;

    /// A report at VMPL 0 over `report_data`. It is not read here: see [`mod@crate::look`].
    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError>;
}

/// The interface of this machine, once it is there: drivers bring it.
pub fn wait(root: &Root, time: &dyn Time, within: Duration) -> Result<Box<dyn ReportSource>, ReportError> {
    until(time, within, || source(root).ok()).ok_or(ReportError::Absent)
}

/// The interface of this machine: the first that is there.
pub fn source(root: &Root) -> Result<Box<dyn ReportSource>, ReportError> {
    #[cfg(feature = "simulated-hardware")]
    if let Some(port) = simulated::Port::find(root) {
        return Ok(Box::new(port));
    }
    if let Some(tsm) = configfs::Tsm::find(root) {
        return Ok(Box::new(tsm));
    }
    if device::Device::is_there(root) {
        return Ok(Box::new(device::Device));
    }
    Err(ReportError::Absent)
}
