//! Ways into a guest beside its disk.

use keybroker_boots::{images::Plugin, machine::BOUND};

use crate::bench::{Bench, CREDENTIAL, assert_closed, images};

/// A host types this: a name, a password, and a command. A shell that runs the command shows [`PROMPT`]; the
/// terminal's echo of what is typed does not.
const TYPED: &str = "root\nguess\necho pro\"\"mpt-$((6*7))\n";
const PROMPT: &str = "prompt-42";

/// Words with which systems ask a person for something.
const QUESTIONS: [&str; 7] = [
    "login:",
    "(initramfs)",
    "Press Enter",
    "Give root password",
    "Entering emergency mode",
    "passphrase for",
    "sulogin",
];

fn assert_no_prompt(console: &str) {
    assert!(!console.contains(PROMPT), "a shell:\n{console}");
    for question in QUESTIONS {
        assert!(!console.contains(question), "{question}:\n{console}");
    }
}

/// With root's password by fw_cfg and by SMBIOS, which Debian 12's systemd would import.
#[test]
fn a_host_that_withholds_the_disk_gets_no_shell_of_dracut() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, _) = bench.genuine(Plugin::Dracut, images);
    launch.disks.clear();
    launch.typed = Some(TYPED.to_owned());
    let (name, value) = CREDENTIAL;
    launch.fw_cfg.push((format!("opt/io.systemd.credentials/{name}"), value.into()));
    launch.smbios.push(format!("io.systemd.credential:{name}={value}"));
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, "disk refused: root: the device /dev/vda did not come");
    assert_no_prompt(&ended.console);
    assert!(ended.console.contains("skipping importing of credentials"), "{}", ended.console);
}

#[test]
fn a_host_that_withholds_the_disk_gets_no_shell_of_initramfs_tools() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    launch.disks.clear();
    launch.typed = Some(TYPED.to_owned());
    let ended = launch.boot().ended(BOUND);
    assert_closed(&ended.console, "disk refused: root: the device /dev/vda did not come");
    assert_no_prompt(&ended.console);
}

/// The host appends a shell to the command line. Hardware measures that. This guest does not even ask.
#[test]
fn a_shell_in_place_of_init_is_never_reached() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    for plugin in [Plugin::InitramfsTools, Plugin::Dracut] {
        let (mut launch, document) = bench.machine(plugin, images);
        bench.register(&document, launch.measurement());
        launch.command_line += " init=/bin/sh";
        launch.hardware = Some(bench.hardware(launch.measurement(), document.digest().host_data()));
        launch.typed = Some(TYPED.to_owned());
        let ended = launch.boot().ended(BOUND);
        assert_closed(&ended.console, "not trusted here: the kernel command line has init=/bin/sh");
        assert_no_prompt(&ended.console);
    }
}

/// A command line can bring a shell before any program of the guest runs. That is another measurement: in
/// that shell the guest's own program gets a refusal. It also shows that these tests would see a shell.
#[test]
fn a_shell_on_another_command_line_gets_no_secret() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, document) = bench.machine(Plugin::InitramfsTools, images);
    bench.register(&document, launch.measurement());
    launch.command_line = launch.command_line.replace(" panic=10", " break=mount");
    launch.hardware = Some(bench.hardware(launch.measurement(), document.digest().host_data()));
    launch.typed = Some(TYPED.to_owned());
    let machine = launch.boot();
    assert!(machine.shows(PROMPT, BOUND), "no shell:\n{}", machine.ended(BOUND).console);
    machine.types(
        "\n. /scripts/functions; modprobe -a qemu_fw_cfg; (configure_networking); keybroker-guest unlock; \
         poweroff -f\n",
    );
    let ended = machine.ended(BOUND);
    assert!(ended.console.contains("keybroker-guest: refused: "), "{}", ended.console);
    assert!(!ended.console.contains("keybroker-guest: opened"), "{}", ended.console);
    assert_eq!(bench.decision(&ended.console)["failed"]["check"], "measurement");
}
