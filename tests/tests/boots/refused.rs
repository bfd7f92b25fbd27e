//! Guests and disks that are not the registered ones.

use std::fs;

use keybroker_boots::{
    header,
    images::{Disk, Plugin},
    machine::BOUND,
};
use keybroker_initdata::document::Binding;
use keybroker_tests::operator::Operator;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::bench::{Bench, assert_closed, images};

const REFUSED: &str = "refused: the broker refused this guest: ";

/// Another kernel, initrd or command line than the registered ones.
#[test]
fn another_measurement_is_refused_by_the_broker() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, document) = bench.machine(Plugin::InitramfsTools, images);
    bench.register(&document, [0x4D; 48]);
    launch.hardware = Some(bench.hardware(launch.measurement(), document.digest().host_data()));
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, REFUSED);
    assert_eq!(bench.decision(&ended.console)["failed"]["check"], "measurement");
}

/// The host launches the measured guest with a document of its own making, and with the HOST_DATA of that
/// one.
#[test]
fn another_document_is_refused_by_the_broker() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, document) = bench.machine(Plugin::InitramfsTools, images);
    let registered = document.text().replace("/dev/vda", "/dev/vdb");
    bench.register_for(&document, launch.measurement(), &registered);
    launch.hardware = Some(bench.hardware(launch.measurement(), document.digest().host_data()));
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, REFUSED);
    assert_eq!(bench.decision(&ended.console)["failed"]["check"], "init-data");
}

/// The host hands the guest another document than the one whose digest it put into HOST_DATA.
#[test]
fn another_host_data_is_refused_by_the_guest_itself() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, document) = bench.genuine(Plugin::InitramfsTools, images);
    launch.hardware = Some(bench.hardware(launch.measurement(), [0x48; 32]));
    drop(document);
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, "not trusted here: HOST_DATA is not the digest of the document");
}

#[test]
fn a_revoked_workload_is_refused_by_the_broker() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (launch, document) = bench.genuine(Plugin::InitramfsTools, images);
    let workload = &document.keybroker().workload;
    Operator::of(&bench.world).out(&["workload", "revoke", workload]);
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, REFUSED);
}

/// The host's disk has the same passphrase: only the volume key tells them apart.
#[test]
fn another_disk_under_the_document_is_refused_by_the_guest_itself() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    launch.disks = vec![images.disk(Disk::Other)];
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, "disk refused: root: another volume key than the document's");
}

/// A header whose segment would be read as it is. The volume key's digest is the document's.
#[test]
fn a_null_cipher_is_refused_by_the_guest_itself() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    let mut disk = fs::read(images.disk(Disk::Root)).unwrap();
    header::alter(&mut disk, |header| header["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), disk).unwrap();
    launch.disks = vec![file.path().to_owned()];
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, "disk refused: root: ");
    assert!(ended.console.contains("null cipher"), "{}", ended.console);
}

/// systemd-cryptsetup gets a key that opens nothing. It asks nobody, and the machine powers off.
#[test]
fn a_secret_that_opens_nothing_ends_a_boot_with_systemds_socket() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let mut disk = fs::read(images.disk(Disk::Root)).unwrap();
    // The digest stays, the keyslot's material goes.
    header::alter(&mut disk, |header| header["keyslots"]["0"]["kdf"]["iterations"] = json!(1001));
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), disk).unwrap();
    let mut launch = images.launch(Plugin::Socket);
    let document = bench.document(Binding::HostData, file.path());
    launch.fw_cfg.push(("opt/keybroker/initdata".to_owned(), document.text().into()));
    launch.gate = Some(bench.gate.clone());
    launch.disks = vec![file.path().to_owned()];
    bench.register(&document, launch.measurement());
    launch.hardware = Some(bench.hardware(launch.measurement(), document.digest().host_data()));
    launch.typed = Some("guess\n".to_owned());
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, "disk refused: root: ");
}
