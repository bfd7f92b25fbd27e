//! Genuine boots.

use keybroker_boots::{
    images::{Disk, Plugin},
    machine::BOUND,
};
use keybroker_initdata::document::Binding;
use keybroker_tests::{skip, world::World};

use crate::bench::{Bench, CREDENTIAL, assert_opened, images};

/// A broker: a deployment, if the environment names one.
fn bench() -> Bench {
    Bench::over(World::start())
}

#[test]
fn a_script_of_initramfs_tools_opens_the_root() {
    let Some(images) = images() else { return };
    let bench = bench();
    let (launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    let ended = launch.boot().ended(BOUND);
    assert_opened(&ended.console);
}

/// The host hands over credentials, too. systemd takes none of them.
#[test]
fn a_module_of_dracut_opens_the_root() {
    let Some(images) = images() else { return };
    let bench = bench();
    if !bench.world.is_served() {
        return skip("through the functions, the module of dracut: one boot is enough there");
    }
    let (mut launch, _) = bench.genuine(Plugin::Dracut, images);
    let (name, value) = CREDENTIAL;
    launch.fw_cfg.push((format!("opt/io.systemd.credentials/{name}"), value.into()));
    launch.smbios.push("io.systemd.credential:ssh.authorized_keys.root=a-key".to_owned());
    let ended = launch.boot().ended(BOUND);
    assert_opened(&ended.console);
    assert!(ended.console.contains("credentials of the host: \n"), "{}", ended.console);
}

/// The document is part of the initrd, and so of the measurement: HOST_DATA says nothing.
#[test]
fn systemd_opens_the_root_with_keys_from_the_socket() {
    let Some(images) = images() else { return };
    let bench = bench();
    if !bench.world.is_served() {
        return skip("through the functions, systemd's socket: one boot is enough there");
    }
    let document = bench.document(Binding::Measured, &images.disk(Disk::Root));
    let mut launch = images.launch(Plugin::Socket);
    let (_kept, initrd) = images.with_document(Plugin::Socket, document.text());
    launch.initrd = initrd;
    launch.gate = Some(bench.gate.clone());
    bench.register(&document, launch.measurement());
    launch.hardware = Some(bench.hardware(launch.measurement(), [0; 32]));
    let ended = launch.boot().ended(BOUND);
    assert_opened(&ended.console);
    // The document stays, which is no secret. Socket and header are gone.
    assert!(ended.console.contains("left in /run/keybroker: initdata.toml \n"), "{}", ended.console);
}
