//! Where a report comes from.
//!
//! | interface | where |
//! |---|---|
//! | [`configfs`] | configfs-tsm, Linux 6.7 and newer |
//! | [`device`] | `/dev/sev-guest`, older kernels |
//! | [`vtpm`] | the vTPM of an Azure confidential VM, whose guest cannot ask the processor itself |
//! | `simulated` | a virtio-serial port, in builds with the feature `simulated-hardware` alone |
//!
//! They are looked for in this order. All ask for a report at VMPL 0. [`table`] reads the certificates that
//! the host put beside it.

pub mod configfs;
pub mod device;
#[cfg(feature = "simulated-hardware")]
pub mod simulated;
pub mod table;
pub mod vtpm;

use std::{fmt, io, time::Duration};

use keybroker_native::EvidenceForm;

use crate::{
    report::table::Certificate,
    root::Root,
    time::{Time, until},
};

/// A report as the processor gave it, and the host's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The form of the next field.
    pub form: EvidenceForm,
    /// The report, or what holds it. [`mod@crate::look`] reads it.
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
        Self { form: EvidenceForm::Snp, report, certificates, table_error }
    }

    /// The content of a vTPM's index. It has no certificates: the broker asks AMD.
    pub fn of_vtpm(blob: Vec<u8>) -> Self {
        Self { form: EvidenceForm::AzSnpVtpm, report: blob, certificates: Vec::new(), table_error: None }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The machine has no interface.
    #[error("there is no SEV-SNP report to be had: {0}")]
    Absent(PassedOver),
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
    /// The vTPM gives none.
    #[error("{NAME}: {0}", NAME = vtpm::NAME)]
    Vtpm(#[from] vtpm::VtpmError),
}

/// Why an interface is none of this machine's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The kernel does not have it.
    #[error("is not there")]
    NotThere,
    /// No driver of a processor stands behind it.
    #[error("is there, and no driver of a processor is behind it")]
    NoDriver,
    /// It does not give what was looked for.
    #[error("is there: {0}")]
    Other(String),
}

/// The interfaces that were looked at and are none of this machine's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver(pub Vec<(&'static str, Missing)>);

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, missing)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {missing}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Gives reports about this guest.
pub trait ReportSource {
    /// The interface's name, for people.
    fn name(&self) -> &'static str;

    /// The form of its evidence.
    fn form(&self) -> EvidenceForm {
        EvidenceForm::Snp
    }

    /// A report at VMPL 0 over `report_data`. It is not read here: see [`mod@crate::look`].
    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError>;
}

/// The outcome of a look at this machine's interfaces.
pub struct Search {
    /// Those before the one that is taken.
    pub passed_over: PassedOver,
    taken: Option<Box<dyn ReportSource>>,
}

impl Search {
    /// The interface that is taken.
    pub fn source(self) -> Result<Box<dyn ReportSource>, ReportError> {
        self.taken.ok_or(ReportError::Absent(self.passed_over))
    }
}

type Find = fn(&Root) -> Result<Box<dyn ReportSource>, Missing>;

/// Looks for the interface of this machine: the first that is there.
pub fn search(root: &Root) -> Search {
    let mut passed_over = PassedOver::default();
    #[cfg(feature = "simulated-hardware")]
    if let Some(port) = simulated::Port::find(root) {
        return Search { passed_over, taken: Some(Box::new(port)) };
    }
    let interfaces: [(&str, Find); 3] = [
        (configfs::NAME, |root| Ok(Box::new(configfs::Tsm::find(root)?))),
        (device::NAME, |root| Ok(Box::new(device::Device::find(root)?))),
        (vtpm::NAME, |root| Ok(Box::new(vtpm::Vtpm::find(root)?))),
    ];
    for (name, find) in interfaces {
        match find(root) {
            Ok(source) => return Search { passed_over, taken: Some(source) },
            Err(missing) => passed_over.0.push((name, missing)),
        }
    }
    Search { passed_over, taken: None }
}

/// The interface of this machine, once it is there: drivers bring it.
pub fn wait(root: &Root, time: &dyn Time, within: Duration) -> Result<Box<dyn ReportSource>, ReportError> {
    until(time, within, || source(root).ok()).map_or_else(|| source(root), Ok)
}

/// The interface of this machine.
pub fn source(root: &Root) -> Result<Box<dyn ReportSource>, ReportError> {
    search(root).source()
}
