//! The warnings of every run: what is not bound.

use keybroker_native::EvidenceForm;

use crate::{
    console::Console,
    document::{Bond, Found},
    report::ReportSource,
    root::Root,
};

/// The mark that an initrd leaves whose command line nothing measures. It outlives the initrd.
pub const UNMEASURED: &str = "/run/keybroker/unmeasured";

/// Says at every run what is not bound.
pub fn warn(root: &Root, found: &Found, console: &dyn Console) {
    if found.bond() == Bond::Nothing {
        console.line(format_args!(
            "warning: nothing binds this guest to its document: the host can put another in its place"
        ));
    }
    if root.path(UNMEASURED).exists() {
        console.line(format_args!(
            "warning: the command line is not measured: a host that withholds the disk can get a shell"
        ));
    }
}

/// Says at every run what reports of `source` do not measure, whatever the initrd says of itself.
pub fn warn_of(source: &dyn ReportSource, console: &dyn Console) {
    if source.form() == EvidenceForm::AzSnpVtpm {
        console.line(format_args!(
            "warning: on Azure the report measures the paravisor alone: not this kernel, not this initrd, not the \
             command line, whatever MEASURED_BY says"
        ));
    }
}
