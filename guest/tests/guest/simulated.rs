//! The port of simulated reports, with a terminal in its place.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::symlink,
    thread,
};

use keybroker_guest::{
    report::{self, ReportError, table},
    root::Root,
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

/// A machine with the port. Its other end answers one request with these parts, and stays until the end is
/// taken: what was not read of a terminal is lost with its other end.
fn machine(parts: Vec<Vec<u8>>) -> (tempfile::TempDir, thread::JoinHandle<([u8; 64], [File; 2])>) {
    let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&host).unwrap();
    unlockpt(&host).unwrap();
    let name = ptsname(&host, vec![]).unwrap().into_string().unwrap();
    // Held open, so that the terminal does not hang up in between.
    let terminal = File::options().read(true).write(true).open(&name).unwrap();
    let mut raw = tcgetattr(&terminal).unwrap();
    raw.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &raw).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ports = directory.path().join("dev/virtio-ports");
    fs::create_dir_all(&ports).unwrap();
    symlink(name, ports.join("org.keybroker.simulator")).unwrap();
    let answered = thread::spawn(move || {
        let mut host = File::from(host);
        let mut asked = [0; 64];
        host.read_exact(&mut asked).unwrap();
        for part in parts {
            host.write_all(&u32::try_from(part.len()).unwrap().to_be_bytes()).unwrap();
            host.write_all(&part).unwrap();
        }
        (asked, [host, terminal])
    });
    (directory, answered)
}

#[test]
fn the_port_comes_before_every_other_interface() {
    let certificates = vec![table::Certificate { kind: table::Kind::Vcek, der: vec![1; 900] }];
    let (directory, answered) = machine(vec![vec![7; 1184], table::write(&certificates)]);
    fs::create_dir_all(directory.path().join("sys/kernel/config/tsm/report")).unwrap();
    let source = report::source(&Root::at(directory.path())).unwrap();
    assert_eq!(source.name(), "org.keybroker.simulator");
    let evidence = source.report(&[0x5A; 64]).unwrap();
    assert_eq!((evidence.report, evidence.certificates), (vec![7; 1184], certificates));
    assert_eq!(answered.join().unwrap().0, [0x5A; 64]);
}

#[test]
fn an_answer_that_is_too_long_is_refused() {
    let (directory, answered) = machine(vec![vec![7; 64 * 1024 + 1]]);
    let source = report::source(&Root::at(directory.path())).unwrap();
    assert!(matches!(source.report(&[0; 64]), Err(ReportError::Io { .. })));
    drop(answered);
}
