//! An image as buildah makes it, under krun's `/init`, in the initrd that krun-initrd writes.
//!
//! The kernel is Debian's in place of libkrun's, and the library a stand-in. So the launch is QEMU's, and the
//! simulated processor reports the measurement of the library.

use std::{fs, path::PathBuf};

use keybroker_boots::{
    images::{Disk, INSIDE, Images, KRUN, PASSPHRASE},
    machine::{BOUND, Launch},
    network::BROKER,
};
use keybroker_testing::krunfw::Krunfw;
use keybroker_tests::unique;
use serde_json::Value;
use tempfile::TempDir;

use crate::bench::{Bench, assert_closed, images, simulated};

/// All capabilities that Linux has had since 5.9.
const KERNELS: u64 = (1 << 41) - 1;

/// Those that no program of the workload gets, as linux/capability.h numbers them: SYS_MODULE, SYS_RAWIO,
/// SYS_PTRACE, SYS_ADMIN, SYS_BOOT, MKNOD, PERFMON and BPF.
const TAKEN: [u64; 8] = [16, 17, 19, 21, 22, 27, 38, 39];

/// An image that krun-initrd has bound.
struct Bound {
    _directory: TempDir,
    _kept: TempDir,
    disk: PathBuf,
    initrd: PathBuf,
    output: Value,
}

impl Bound {
    fn new(bench: &Bench, images: &Images) -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut disk = fs::read(images.disk(Disk::Luks1)).unwrap();
        let trailer = format!(
            r#"{{"tee":"snp","tee_data":"{{\"gen\":\"milan\"}}","workload_id":"{}","cpus":1,"ram_mib":512,"attestation_url":""}}"#,
            unique("krun")
        );
        disk.extend([trailer.as_bytes(), b"KRUN", &(trailer.len() as u64).to_le_bytes()].concat());
        fs::write(path("disk.img"), disk).unwrap();
        fs::write(path("passphrase"), PASSPHRASE).unwrap();
        // A build for tests is larger than a release, so this kernel lies further up.
        let library = Krunfw { kernel_address: 0x400_0000, ..Krunfw::default() }.build(directory.path());
        let (image, out) = (path("disk.img"), path("out"));
        let paths = [
            ("--image", image),
            ("--library", library),
            ("--out", out.clone()),
            ("--guest", simulated()),
            ("--passphrase-file", path("passphrase")),
        ];
        let paths: Vec<(&str, String)> =
            paths.map(|(name, path)| (name, path.to_str().unwrap().to_owned())).into();
        let mut arguments = vec!["krun-initrd", "--yes", "--json", "--broker", BROKER];
        arguments.extend(paths.iter().flat_map(|(name, path)| [*name, path.as_str()]));
        let ended = bench.operator().run(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (kept, initrd) = images.with_drivers(&out.join("initrd.gz"));
        let output = serde_json::from_str(&ended.out).unwrap();
        Self { disk: path("disk.img"), _directory: directory, _kept: kept, initrd, output }
    }

    /// A machine with this initrd and disk, whose processor reports what it was registered under.
    fn launch(&self, bench: &Bench, images: &Images) -> Launch {
        let hex = self.output["measurement"].as_str().unwrap();
        let measurement = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap();
        Launch {
            kernel: images.kernel(),
            initrd: self.initrd.clone(),
            command_line: KRUN.to_owned(),
            disks: vec![self.disk.clone()],
            gate: Some(bench.gate.clone()),
            hardware: Some(bench.hardware(measurement, [0; 32])),
            ..Launch::default()
        }
    }
}

#[test]
fn an_image_of_buildah_boots_and_its_workload_can_do_no_more_than_run() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let bound = Bound::new(&bench, images);
    let console = bound.launch(&bench, images).boot().ended(BOUND).console;
    assert!(console.contains("keybroker-guest: opened root (decision "), "{console}");
    assert!(console.contains(INSIDE), "{console}");
    assert!(
        console.contains(
            "started with 2 arguments, the last is two words, in /etc, with a greeting of the image"
        ),
        "{console}"
    );
    let devices = "devices: console fd full null ptmx pts random shm stderr stdin stdout tty urandom zero \n";
    assert!(console.replace('\r', "").contains(devices), "{console}");
    assert!(console.contains("the host's variables: 0"), "{console}");
    let able: Vec<&str> = console.lines().filter(|line| line.starts_with("can: ")).collect();
    let allowed =
        ["true </dev/zero", "echo quiet >/dev/null"].map(|what| format!("can: /bin/busybox sh -c {what}"));
    assert_eq!(able, allowed, "{console}");
    let left = KERNELS & !TAKEN.iter().fold(0, |taken, number| taken | 1 << number);
    assert!(console.contains(&format!("capabilities: {left:016x}")), "{left:016x}: {console}");
    assert!(console.replace('\r', "").contains("SysRq: 0\n"), "{console}");
    assert!(console.contains("keybroker-guest: the workload ended: exit status 7"), "{console}");
    assert!(!console.contains(PASSPHRASE), "{console}");
}

/// The host gives the workload's library the disk of another one. The measured guest refuses it, and asks
/// nobody.
#[test]
fn the_disk_of_another_workload_is_refused() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let bound = Bound::new(&bench, images);
    let mut launch = bound.launch(&bench, images);
    launch.disks = vec![images.disk(Disk::Root)];
    let console = launch.boot().ended(BOUND).console;
    assert_closed(&console, "disk refused: root: another version of LUKS than the document's");
}

/// The host launches another library, so that the processor reports another measurement.
#[test]
fn another_measurement_is_refused() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let bound = Bound::new(&bench, images);
    let mut launch = bound.launch(&bench, images);
    launch.hardware = Some(bench.hardware([7; 48], [0; 32]));
    let console = launch.boot().ended(BOUND).console;
    assert_closed(&console, "refused: the broker refused this guest");
}
