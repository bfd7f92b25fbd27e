//! `/init` of a krun guest: this program as process 1, in an initrd that was made for one workload.
//!
//! ```text
//! early ──▶ open ──▶ enter ──▶ confine ──▶ run ──▶ end
//! mounts    disks    the disk  devices,    the     reset, or
//!                    is /      capabilities workload power off
//! ```
//!
//! The document lies in the initrd, which is measured. So is the kernel's command line: libkrunfw-sev builds
//! its kernel with one built in (CONFIG_CMDLINE_OVERRIDE), and that kernel takes no other. Whatever else the
//! host hands over, arguments and variables of the environment for one, counts for nothing here. There is no
//! shell: every failure is one line on the console, and the end.

mod config;
mod confine;
mod loopback;
mod mounts;
mod run;

use std::{env, path::Path};

use rustix::{
    process::getpid,
    system::{RebootCommand, reboot},
};

use crate::{console::Console, failure::Failure, root::Root};

/// How long /init waits for a broker, in seconds. Nothing that the host can set changes it.
pub const TIMEOUT: u32 = 300;

/// Whether the kernel started this program as `/init`: as process 1 by that name, or before anybody mounted
/// /proc. A command line counts only where another init has set the machine up, as in a container.
pub fn is_init() -> bool {
    let named = || env::args_os().next().is_some_and(|name| Path::new(&name) == Path::new("/init"));
    getpid().is_init() && (named() || !Path::new("/proc/self").exists())
}

/// Boots the guest. `open` opens the disks of the document, and returns the name of the one that becomes the
/// root. The machine ends when this does.
pub fn init(console: &dyn Console, open: impl FnOnce() -> Result<String, Failure>) -> ! {
    match boot(open) {
        Ok(ended) => console.line(format_args!("the workload ended: {ended}")),
        Err(failure) => console.line(format_args!("{failure}")),
    }
    loop {
        end();
    }
}

fn boot(open: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
    mounts::early()?;
    let disk = open()?;
    mounts::enter(&disk)?;
    let workload = config::read(&Root::machine())?;
    mounts::system()?;
    // Programs in the guest may talk to each other from here on. Until now libkrun's kernel passed everything
    // for the loopback on to the host's loopback, and that is a way to a broker.
    loopback::up()?;
    confine::confine()?;
    run::run(&workload)
}

/// Ends the machine. libkrun's has no ACPI to power off by: it ends when the guest resets.
fn end() {
    rustix::fs::sync();
    let command = match Path::new("/sys/firmware/acpi").exists() {
        true => RebootCommand::PowerOff,
        false => RebootCommand::Restart,
    };
    // The kernel ends process 1 never: if it does not end the machine, there is nothing else to try.
    let _ = reboot(command);
    std::thread::sleep(std::time::Duration::from_secs(1));
}
