//! Real boots: QEMU without KVM, Debian's kernel, its makers of initrds, and LUKS.
//!
//! | module | gives |
//! |---|---|
//! | [`debian`] | a Debian in a directory, made once, and programs that run in it |
//! | [`system`] | a Debian whose own systemd runs, in namespaces of this machine |
//! | [`images`] | its kernel, an initrd for each plug-in of the guest, and encrypted disks |
//! | [`machine`] | QEMU: a virtual machine, its console, and who types on it |
//! | [`hardware`] | the virtio-serial port at which a simulated secure processor answers |
//! | [`network`] | the one address that a machine reaches, and a cable that loses frames |
//! | [`header`] | a LUKS2 header that a host has changed |
//!
//! The host needs no device-mapper: disks are encrypted in a virtual machine. Everything that takes long is
//! kept below the target directory, under a name that holds the versions of Debian's packages.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that cannot be made has to stop the test"
)]

pub mod debian;
pub mod hardware;
pub mod header;
pub mod images;
pub mod machine;
pub mod network;
pub mod system;

use std::process::Command;

/// Programs that must be installed for boots, and the Debian packages that have it.
const PROGRAMS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mmdebstrap", "mmdebstrap"),
    ("busybox", "busybox-static"),
    ("dpkg-deb", "dpkg"),
];

/// Why no machine can be booted here, if there is a reason.
pub fn missing() -> Option<String> {
    without(&PROGRAMS)
}

/// Why no Debian can be made here, if there is a reason.
pub fn no_debian() -> Option<String> {
    without(&PROGRAMS[1..])
}

fn without(programs: &[(&str, &str)]) -> Option<String> {
    let output = |command: &mut Command| command.output().map(|output| output.stdout).unwrap_or_default();
    if output(Command::new("id").arg("-u")).trim_ascii() != b"0" {
        return Some("only root can make a Debian in a directory".to_owned());
    }
    let found = |program: &str| Command::new(program).arg("--help").output().is_ok();
    let missing = programs.iter().find(|(program, _)| !found(program))?;
    Some(format!("{} is not installed (Debian package {})", missing.0, missing.1))
}
