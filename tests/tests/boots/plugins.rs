//! When the plug-ins refuse to put the guest into an initrd.

use std::{fs, process::Command};

use keybroker_boots::{
    images::{self, Plugin},
    machine::BOUND,
};
use keybroker_tests::{program, skip};
use tempfile::TempDir;

use crate::bench::{Bench, assert_opened, cache, images, package};

/// Words that the owner of these guests vouches for.
const ALSO: &str = "hugepages=64 nosmt";

/// The rule's words about a command line.
fn faults(maker: &str, line: &str) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("cmdline");
    fs::write(&file, line).unwrap();
    let rule = program::workspace().join("guest/initrd/command-line");
    let output = Command::new("sh").arg(rule).arg(maker).arg(&file).env("ALSO", ALSO).output().unwrap();
    let said: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(output.status.success(), said.is_empty(), "{line}: {said:?}");
    said
}

#[test]
fn a_command_line_must_close_every_way_in() {
    for (maker, plugin) in [("dracut", Plugin::Dracut), ("initramfs-tools", Plugin::InitramfsTools)] {
        let line = plugin.command_line();
        assert_eq!(faults(maker, &line), [""; 0], "{line}");
        // Without the line feed at the end of a file, too, and with two.
        assert_eq!(faults(maker, &format!("{line}\n")), [""; 0]);
        let needed = |word: &&str| !word.starts_with("console=") && *word != "no_timer_check";
        let words: Vec<&str> = line.split(' ').filter(needed).collect();
        for missing in &words {
            let rest: Vec<&str> = words.iter().copied().filter(|word| word != missing).collect();
            let said = faults(maker, &rest.join(" "));
            assert_eq!(said.len(), 1, "{missing}: {said:?}");
            assert!(said[0].contains("lacks"), "{said:?}");
        }
    }
}

#[test]
fn a_command_line_must_open_no_way_in() {
    let ways = [
        "root=/dev/vda",
        "root=LABEL=root",
        "root=/dev/mapper/cr-root",
        "efi=runtime",
        "efi=debug",
        "\ninit=/bin/sh",
        "\n\nquiet",
        "rd.shell=1",
        "rd.shell",
        "rd.emergency=reboot",
        "panic=-1",
        "panic=",
        "systemd.import_credentials=yes",
        "systemd.import-credentials=yes",
        "systemd.gpt_auto=1",
        "systemd.debug_shell",
        "systemd.debug-shell=1",
        "rd.systemd.debug_shell=ttyS0",
        "systemd.crash_shell=yes",
        "systemd.unit=rescue.target",
        "rd.systemd.unit=emergency.target",
        "systemd.run=/bin/sh",
        "systemd.set_credential=passwd.plaintext-password.root:guess",
        "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1",
        "SYSTEMD_SULOGIN_FORCE=1",
        "rd.break",
        "rd.break=pre-mount",
        "rd.cmdline=ask",
        "break=top",
        "init=/bin/sh",
        "rdinit=/bin/sh",
        "emergency",
        "rescue",
        "single",
        "1",
        "boot=nfs",
        "resume=/dev/vdb",
        "\"quoted words\"",
        // Words that nobody vouches for: a debugger, a shell of newer systemd, another disk, and half of one.
        "kgdboc=ttyS0",
        "rd.systemd.break=pre-switch-root",
        "systemd.mount-extra=/dev/vdb:/etc",
        "nosm",
        "--",
    ];
    for (maker, plugin) in [("dracut", Plugin::Dracut), ("initramfs-tools", Plugin::InitramfsTools)] {
        for way in ways {
            let line = format!("{} {way}", plugin.command_line());
            assert!(!faults(maker, &line).is_empty(), "{line}");
        }
    }
    assert_eq!(faults("grub", &Plugin::Dracut.command_line()).len(), 1);
}

#[test]
fn words_that_leave_no_way_in_may_be_there() {
    for (maker, plugin) in [("dracut", Plugin::Dracut), ("initramfs-tools", Plugin::InitramfsTools)] {
        let line = format!("BOOT_IMAGE=/vmlinuz {} ro quiet {ALSO} initrd=initrd", plugin.command_line());
        assert_eq!(faults(maker, &line), [""; 0], "{line}");
    }
}

/// The package does nothing until it is set up; then an initrd has a measured command line without ways in,
/// or is not made.
#[test]
fn an_initrd_with_a_way_in_is_not_built() {
    if images().is_none() {
        return;
    }
    let debian = images::with_guest(&cache(), &package());
    let made = |plugin: Plugin| {
        let output = debian.try_run(&plugin.script());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let initrd = debian.path("/out").join(plugin.file());
        let is_made = fs::metadata(initrd).is_ok_and(|file| file.len() > 0);
        (output.status.success() && is_made, words)
    };
    let conf = |text: &str| debian.write("/etc/keybroker/guest.conf", text);
    let line = |line: String| debian.write("/etc/kernel/cmdline", line);

    let (is_made, words) = made(Plugin::InitramfsTools);
    assert!(is_made && !words.contains("keybroker"), "{words}");

    let rows = [
        ("COMMAND_LINE=/etc/kernel/cmdline\n", "must say MEASURED_BY"),
        ("MEASURED_BY=kernel-hashes\n", "must say COMMAND_LINE"),
        ("MEASURED_BY=kernel-hashes\nCOMMAND_LINE=/etc/kernel/none\n", "cannot be read"),
        ("MEASURED_BY=kernel-hashes\nCOMMAND_LINE=/etc/kernel/cmdline\n", "has init=/bin/sh"),
    ];
    line(Plugin::InitramfsTools.command_line() + " init=/bin/sh");
    for (text, why) in rows {
        conf(text);
        let (is_made, words) = made(Plugin::InitramfsTools);
        assert!(!is_made && words.contains("no initrd is built") && words.contains(why), "{text}\n{words}");
    }

    line(Plugin::Dracut.command_line().replace("rd.shell=0", ""));
    let (is_made, words) = made(Plugin::Dracut);
    assert!(!is_made && words.contains("lacks rd.shell=0"), "{words}");
}

/// systemd-cryptsetup must take the judged header, and ask no person.
#[test]
#[ignore = "tests/run --boots"]
fn a_crypttab_without_the_judged_header_is_not_taken() {
    if images().is_none() {
        return;
    }
    let debian = images::with_guest(&cache(), &package());
    debian.write("/etc/keybroker/guest.conf", "MEASURED_BY=uki\nCOMMAND_LINE=/etc/kernel/cmdline\n");
    debian.write("/etc/kernel/cmdline", Plugin::Socket.command_line());
    for options in ["luks,headless=yes", "luks,header=/run/keybroker/root.header", "luks"] {
        debian.write("/etc/crypttab", format!("root /dev/vda /run/keybroker/keys {options}\n"));
        let output = debian.try_run(&Plugin::Socket.script());
        assert!(!output.status.success(), "{options}");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains("line 1 of crypttab, for root, must have the options"), "{words}");
    }
}

/// An initrd that was built for a command line that nothing measures says so at every boot.
#[test]
#[ignore = "tests/run --boots"]
fn an_unmeasured_initrd_says_so() {
    let Some(images) = images() else { return };
    let debian = images::with_guest(&cache(), &package());
    debian.write("/etc/keybroker/guest.conf", "MEASURED_BY=no\n");
    let output = debian.try_run(&Plugin::InitramfsTools.script());
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing measures the kernel command line"));
    let bench = Bench::served();
    let (mut launch, document) = bench.machine(Plugin::InitramfsTools, images);
    launch.initrd = debian.path("/out").join(Plugin::InitramfsTools.file());
    launch.command_line = "console=ttyS0 root=/dev/mapper/root".to_owned();
    bench.register(&document, launch.measurement());
    let host_data = document.digest().host_data();
    launch.hardware = Some(bench.hardware(launch.measurement(), host_data));
    let ended = launch.boot().ended(BOUND);
    assert!(ended.console.contains("warning: the command line is not measured"), "{}", ended.console);
    assert_opened(&ended.console);
}

/// Lintian finds nothing in the package that no override explains.
#[test]
fn the_package_is_as_debian_wants_it() {
    if images().is_none() {
        return;
    }
    let mut lintian = Command::new("lintian");
    match lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(package()).output() {
        Err(_) => skip("boots: lintian is not installed"),
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
    }
}
