//! `keybroker measure`: every combination of a fleet, in every form; and what differs in a guest with another
//! measurement.

use std::{fs, path::Path};

use data_encoding::{BASE64, HEXLOWER};
use keybroker_snp::measurement::{
    direct_boot::DirectBoot,
    ovmf::Ovmf,
    qemu::{Launch, Vmm, measure},
    vcpu::{GuestFeatures, parse_signature},
};
use keybroker_testing::ovmf::{HASH_TABLE, OvmfImage, place};
use keybroker_tests::program::{self, Ended};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A machine's firmware and kernel.
struct Files {
    directory: TempDir,
    ovmf: Vec<u8>,
    other: Vec<u8>,
}

const LINE: &str = "root=/dev/vda nr_cpus=4";

impl Files {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let ovmf = OvmfImage::default().bytes();
        let other = OvmfImage { seed: 9, ..OvmfImage::default() }.bytes();
        let without_hashes = OvmfImage::default().with_entry(HASH_TABLE, place(0, 0)).bytes();
        for (name, bytes) in [
            ("a.fd", &ovmf),
            ("b.fd", &other),
            ("x64.fd", &without_hashes),
            ("vars.fd", &vec![0; 8192]),
            ("kernel", &b"kernel".to_vec()),
            ("initrd", &b"initrd".to_vec()),
            ("line", &format!("{LINE}\n").into_bytes()),
        ] {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        Self { directory, ovmf, other }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// `measure` with these arguments, in which `@name` is a file.
    fn run(&self, arguments: &str) -> Ended {
        let words = arguments.split(' ').map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name),
            None => word.to_owned(),
        });
        let words: Vec<_> = words.collect();
        program::run(&[&["measure"], &words.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
    }

    fn out(&self, arguments: &str) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments}: {ended:?}");
        ended.out
    }
}

/// QEMU's guest of two Milan vCPUs.
fn launch<'a>(ovmf: &'a Ovmf<'a>) -> Launch<'a> {
    let signature = parse_signature("milan").unwrap();
    Launch { vmm: Vmm::Qemu, ovmf, boot: boot(LINE), vcpus: 2, signature, features: GuestFeatures::SNP }
}

fn boot(line: &str) -> Option<DirectBoot<'_>> {
    Some(DirectBoot::new(b"kernel", Some(b"initrd"), line))
}

fn hex(launch: &Launch<'_>) -> String {
    HEXLOWER.encode(&measure(launch).unwrap())
}

#[test]
fn every_combination_is_measured_with_its_inputs_and_in_every_form() {
    let files = Files::new();
    let fleet = "qemu --ovmf @a.fd --kernel @kernel --initrd @initrd --append-file @line --vcpus 1,2,4 \
                 --vcpu-type milan,EPYC-Genoa --guest-features 0x1,0x21";
    let document: Value = serde_json::from_str(&files.out(&format!("{fleet} --json"))).unwrap();
    assert_eq!(document["schema"], 1);
    let measured = document["measurements"].as_array().unwrap();
    assert_eq!(measured.len(), 12);
    let ovmf = Ovmf::parse(&files.ovmf).unwrap();
    let mut all = Vec::new();
    for (name, signature) in [("EPYC-Milan", "0x00a00f11"), ("EPYC-Genoa", "0x00a10f10")] {
        for features in [0x1, 0x21] {
            for vcpus in [1, 2, 4] {
                let launch = Launch {
                    vcpus,
                    signature: parse_signature(signature).unwrap(),
                    features: GuestFeatures(features),
                    ..launch(&ovmf)
                };
                let one = &measured[all.len()];
                let file = |name: &str, member: &Value| {
                    let sha256 = member["sha256"].as_str().unwrap();
                    assert_eq!(sha256.len(), 64);
                    json!({ "file": files.path(name), "sha256": sha256 })
                };
                let expected = json!({
                    "measurement": hex(&launch), "vmm": "qemu", "vcpus": vcpus, "vcpu_type": name,
                    "vcpu_signature": signature, "guest_features": format!("{features:#x}"),
                    "ovmf": file("a.fd", &one["ovmf"]), "kernel": file("kernel", &one["kernel"]),
                    "initrd": file("initrd", &one["initrd"]), "append": LINE,
                });
                assert_eq!(one, &expected);
                all.push(measure(&launch).unwrap());
            }
        }
    }
    let lines = |format: &str| {
        let out = files.out(&format!("{fleet} --format {format}"));
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let of = |form: &dyn Fn(&[u8; 48]) -> String| all.iter().map(form).collect::<Vec<_>>();
    assert_eq!(lines("hex"), of(&|digest| HEXLOWER.encode(digest)));
    assert_eq!(lines("0x"), of(&|digest| format!("0x{}", HEXLOWER.encode(digest))));
    assert_eq!(lines("base64"), of(&|digest| BASE64.encode(digest)));
    let table = files.out(fleet);
    assert!(table.starts_with("LAUNCHED BY  VCPUS  VCPU TYPE   GUEST FEATURES  MEASUREMENT"), "{table}");
    assert_eq!(table.lines().count(), 13);
}

#[test]
fn a_cloud_and_earlier_hosts_are_measured_in_their_own_ways() {
    let files = Files::new();
    let ovmf = Ovmf::parse(&files.ovmf).unwrap();
    let of = |vmm, vcpus| hex(&Launch { vmm, vcpus, boot: None, ..launch(&ovmf) });
    let ec2 = files.out("ec2 --ovmf @a.fd --vcpus 1,2 --earlier-hosts --format hex");
    let expected = [(Vmm::Ec2, 1), (Vmm::Ec2, 2), (Vmm::Ec2ZeroRdx, 1), (Vmm::Ec2ZeroRdx, 2)];
    assert_eq!(ec2.lines().collect::<Vec<_>>(), expected.map(|(vmm, vcpus)| of(vmm, vcpus)));
    let qemu = files.out("qemu --ovmf @a.fd --vcpus 2 --vcpu-type milan --earlier-hosts --format hex");
    assert_eq!(qemu.lines().collect::<Vec<_>>(), [Vmm::Qemu, Vmm::QemuZeroFpu].map(|vmm| of(vmm, 2)));
}

/// Each row: how a guest was launched that was to have two Milan vCPUs, and what is said of its digest.
#[test]
fn what_differs_is_named_with_the_flag_to_change() {
    let files = Files::new();
    let [ovmf, other] = [&files.ovmf, &files.other].map(|bytes| Ovmf::parse(bytes).unwrap());
    let genoa = parse_signature("genoa").unwrap();
    let (with_line_feed, larger_node) = (format!("{LINE}\n"), LINE.replace("=4", "=192"));
    let [a, b] = ["a.fd", "b.fd"].map(|name| files.path(name));
    let given = launch(&ovmf);
    let no_initrd = Some(DirectBoot::new(b"kernel", None, LINE));
    for (launched, said) in [
        (given, "as you say: 2 vCPUs of the type EPYC-Milan, and guest features 0x1.".to_owned()),
        (Launch { vcpus: 4, ..given }, "with 4 vCPUs, not 2: give --vcpus 4.".to_owned()),
        (
            Launch { signature: genoa, ..given },
            "with vCPUs of the type EPYC-Genoa, not EPYC-Milan: give --vcpu-type EPYC-Genoa.".to_owned(),
        ),
        (
            Launch { features: GuestFeatures(0x21), vcpus: 1, ..given },
            "with 1 vCPU, not 2, and with guest features 0x21, not 0x1: give --vcpus 1 --guest-features 0x21."
                .to_owned(),
        ),
        (Launch { ovmf: &other, ..given }, format!("with the firmware {b}, not {a}: give --ovmf {b}.")),
        (
            Launch { vmm: Vmm::QemuZeroFpu, ..given },
            "by QEMU on a host before Linux 6.10: give --earlier-hosts.".to_owned(),
        ),
        (
            Launch { boot: None, ..given },
            "without kernel hashes, so that the measurement says nothing about its kernel: have it launched \
             with kernel-hashes=on."
                .to_owned(),
        ),
        (Launch { boot: no_initrd, ..given }, "without the initrd: leave --initrd out.".to_owned()),
        (
            Launch { boot: boot(&with_line_feed), vcpus: 1, ..given },
            "with a line feed at the end of its command line, and with 1 vCPU, not 2: give --vcpus 1, and give \
             --append with it."
                .to_owned(),
        ),
        (Launch { boot: boot(""), ..given }, "without the command line: leave --append out.".to_owned()),
        (
            Launch { boot: boot(&larger_node), ..given },
            "with nr_cpus=192 on its command line, not nr_cpus=4: give --append with nr_cpus=192.".to_owned(),
        ),
    ] {
        let out = files.out(&format!(
            "qemu --ovmf @a.fd --kernel @kernel --initrd @initrd --append-file @line --vcpus 2 --vcpu-type milan \
             --firmware @b.fd --explain {}",
            hex(&launched)
        ));
        assert_eq!(out, format!("The guest was launched {said}\n"));
    }
}

#[test]
fn what_is_left_out_is_found_and_what_no_neighbour_has_is_said() {
    let files = Files::new();
    let ovmf = Ovmf::parse(&files.ovmf).unwrap();
    let launched = Launch { vcpus: 64, boot: None, ..launch(&ovmf) };
    let digest = BASE64.encode(&measure(&launched).unwrap());
    let document = files.out(&format!("qemu --ovmf @a.fd --json --explain {digest}"));
    let document: Value = serde_json::from_str(&document).unwrap();
    let explanation = "The guest was launched with 64 vCPUs, and with vCPUs of the type EPYC-Milan: give --vcpus 64 \
                       --vcpu-type EPYC-Milan.";
    assert_eq!(document["explanation"], explanation);
    assert_eq!((&document["measurement"], &document["fits"]["vcpus"]), (&json!(hex(&launched)), &json!(64)));
    assert_eq!(document["differences"][0]["change"], json!({ "give": "--vcpus 64" }));

    let unknown = format!("qemu --ovmf @a.fd --vcpus 2 --vcpu-type milan --explain {}", "66".repeat(48));
    let ended = files.run(&unknown);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = "No likely neighbour of this launch has the measurement: the firmware is another one, or a kernel \
                is measured with it.\n";
    assert_eq!(ended.out, said);
}

#[test]
fn kata_is_measured_by_its_configuration_and_a_command_line() {
    let files = Files::new();
    let configuration = |initrd: &str| {
        let path = |name| files.path(name);
        let text = format!(
            "[hypervisor.qemu]\nfirmware = {:?}\nkernel = {:?}\n{initrd}\nsev_snp_guest = true\ndefault_vcpus = 2\n",
            path("a.fd"),
            path("kernel")
        );
        fs::write(path("kata.toml"), text).unwrap();
    };
    let ovmf = Ovmf::parse(&files.ovmf).unwrap();
    let signature = parse_signature("EPYC-v4").unwrap();
    configuration(&format!("initrd = {:?}", files.path("initrd")));
    let kata = "kata --config @kata.toml --append-file @line --format hex";
    assert_eq!(files.out(kata).trim_end(), hex(&Launch { signature, ..launch(&ovmf) }));
    let more = files.out(&format!("{kata} --vcpus 4 --vcpu-type milan"));
    assert_eq!(more.trim_end(), hex(&Launch { vcpus: 4, ..launch(&ovmf) }));
    // The root hash of an image is on the command line.
    configuration("image = \"/nowhere\"");
    let boot = Some(DirectBoot::new(b"kernel", None, LINE));
    assert_eq!(files.out(kata).trim_end(), hex(&Launch { signature, boot, ..launch(&ovmf) }));
}

/// Each row: the arguments, the exit code, and what the error and its hint say.
#[test]
fn a_wrong_flag_or_file_is_told_with_what_helps() {
    let files = Files::new();
    let qemu = "qemu --vcpus 2 --vcpu-type milan --ovmf";
    for (arguments, code, said) in [
        (format!("{qemu} @a.fd --append quiet"), 2, "--append needs --kernel"),
        (format!("{qemu} @a.fd --initrd @initrd"), 2, "--initrd needs --kernel"),
        (format!("{qemu} @none.fd"), 5, "none.fd: No such file"),
        (format!("{qemu} @vars.fd"), 5, "does not end with OVMF's table"),
        (format!("{qemu} @vars.fd"), 5, "not a file of variables"),
        (format!("{qemu} @x64.fd --kernel @kernel"), 1, "does not check a kernel's hashes"),
        (format!("{qemu} @x64.fd --kernel @kernel"), 1, "Its guests start any kernel"),
        (format!("{qemu} @a.fd --firmware @b.fd"), 2, "--explain"),
        (format!("{qemu} @a.fd --guest-features 0x20"), 2, "bit 0 is missing"),
        (format!("{qemu} @a.fd --explain {}", "ab".repeat(32)), 2, "those of SEV-SNP have 96"),
        (format!("{qemu} @a.fd --explain @a.fd"), 5, "holds nothing that can be read"),
        ("qemu --ovmf @a.fd --vcpus 2 --vcpu-type EPYC-Millan".to_owned(), 2, "did you mean EPYC-Milan"),
        ("qemu --ovmf @a.fd --vcpus 0 --vcpu-type milan".to_owned(), 2, "1 to 4096"),
        ("qemu --ovmf @a.fd --vcpus 2".to_owned(), 2, "--vcpu-type"),
        ("kata --append quiet".to_owned(), 2, "no configuration of kata for QEMU with SEV-SNP"),
        ("kata --config @line".to_owned(), 2, "is not in kata's configuration"),
        ("kata --config @line".to_owned(), 2, "--append-file FILE"),
        ("kata --config @line --append quiet".to_owned(), 5, "it is no TOML"),
        ("krun --explain ".to_owned() + &"ab".repeat(48), 2, "--library must name it"),
    ] {
        let ended = files.run(&arguments);
        assert_eq!(ended.code, Some(code), "{arguments}: {ended:?}");
        assert!(ended.log.contains(said), "{arguments}: {said}: {ended:?}");
    }
    assert!(
        !Path::new("/etc/kata-containers").exists(),
        "the rows without a configuration need a machine without"
    );
}
