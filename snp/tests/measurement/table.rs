//! A table of launches: every option, measured by us, by sev-snp-measure and by the crate `sev`.
//!
//! All three agree, or a row says who is right, and why. Nothing here is a copied digest.

use std::{fs, path::Path};

use data_encoding::HEXLOWER;
use keybroker_snp::measurement::{
    ovmf::Ovmf,
    qemu::Vmm,
    vcpu::{MODELS, signature},
};
use keybroker_testing::{
    genuine::sev_package,
    ovmf::{HASH_TABLE, OvmfImage, RESET_VECTOR, place, section},
};
use serde_json::json;
use tempfile::{TempDir, tempdir};

use super::others::{Boot, Case, Says, debian, sev_snp_measure};

/// The answer that is expected of one of the three, in terms of what the code under test computes.
#[derive(Debug, Clone)]
enum Verdict {
    /// The measurement of this launch.
    Right,
    /// The measurement of another launch.
    Of(Box<Case>),
    /// A measurement, of which there is no right one.
    Any,
    Refuses,
    /// It has no word for the VMM or the model.
    Unknown,
}
use Verdict::{Any, Of, Refuses, Right, Unknown};

struct Row {
    case: Case,
    /// Why the three differ, or nothing.
    because: &'static str,
    ours: Verdict,
    sev_snp_measure: Verdict,
    sev: Verdict,
}

/// The launches, and the directory of their files.
struct Table {
    directory: TempDir,
    rows: Vec<Row>,
}

impl Table {
    fn new() -> Self {
        Self { directory: tempdir().unwrap(), rows: Vec::new() }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn image(&self, name: &str, image: &OvmfImage) -> Case {
        Case::new(self.file(name, &image.bytes()))
    }

    /// All three measure it alike, as far as they have words for it.
    fn agree(&mut self, case: Case) {
        let knows = |by: &[&str]| if by.contains(&case.model) { Unknown } else { Right };
        let sev_snp_measure = knows(&NEW_TO_SEV_SNP_MEASURE);
        let sev = match case.vmm {
            Vmm::Qemu | Vmm::Ec2ZeroRdx => knows(&NEW_TO_SEV),
            Vmm::Ec2 => Of(Box::new(Case { vmm: Vmm::Ec2ZeroRdx, ..case.clone() })),
            Vmm::QemuZeroFpu | Vmm::Gce => Unknown,
        };
        let because = match case.vmm {
            // Both follow EC2. The crate sev follows what EC2 did until 2026: sev-snp-measure was corrected
            // by EC2's own engineers, on an instance whose report they had.
            Vmm::Ec2 => "EC2 starts its guests with 0x600 in RDX, and did with 0",
            _ => "",
        };
        self.rows.push(Row { case, because, ours: Right, sev_snp_measure, sev });
    }

    /// None of the three measures it.
    fn refused(&mut self, case: Case) {
        let sev = if matches!(case.vmm, Vmm::QemuZeroFpu | Vmm::Gce) { Unknown } else { Refuses };
        self.rows.push(Row { case, because: "", ours: Refuses, sev_snp_measure: Refuses, sev });
    }

    fn differ(&mut self, case: Case, because: &'static str, [ours, sev_snp_measure, sev]: [Verdict; 3]) {
        self.rows.push(Row { case, because, ours, sev_snp_measure, sev });
    }
}

/// Models that were added to QEMU later than to the tool, or to neither. All have the signature of an earlier
/// version.
const NEW_TO_SEV_SNP_MEASURE: [&str; 7] = [
    "EPYC-v5",
    "EPYC-Rome-v4",
    "EPYC-Rome-v5",
    "EPYC-Milan-v3",
    "EPYC-Genoa-v2",
    "EPYC-Turin-v1",
    "EPYC-Turin-v2",
];
const NEW_TO_SEV: [&str; 5] = ["EPYC-v5", "EPYC-Rome-v4", "EPYC-Rome-v5", "EPYC-Milan-v3", "EPYC-Genoa-v2"];

#[test]
fn every_launch_is_measured_as_by_others_or_a_row_says_who_is_right() {
    let mut table = Table::new();
    every_combination(&mut table);
    debians_firmware(&mut table);
    command_lines(&mut table);
    differences(&mut table);
    let questions: Vec<_> = table.rows.iter().map(|row| row.case.row()).collect();
    let answers = sev_snp_measure(&questions);

    let mut failures = Vec::new();
    let mut count = [0; 2];
    // The crate `sev` panics for some images: its message is no failure.
    std::panic::set_hook(Box::new(|_| {}));
    for (row, answer) in table.rows.iter().zip(answers) {
        let ours = row.case.ours();
        let sev = row.case.sev();
        let mut check = |by: &str, said: &Says, verdict: &Verdict| {
            let holds = match (said, verdict) {
                (said, Right) => said == &ours && matches!(said, Says::Measured(_)),
                (said, Of(case)) => said == &case.ours() && said != &ours,
                (Says::Measured(_), Any) | (Says::Refused(_), Refuses) | (Says::Unknown, Unknown) => true,
                _ => false,
            };
            if !holds {
                let case = &row.case;
                failures.push(format!("{by} {said:?}, not {verdict:?}\n  {case:?}\n  {}", row.because));
            }
        };
        check("we", &ours, &row.ours);
        check("sev-snp-measure", &answer, &row.sev_snp_measure);
        check("sev", &sev, &row.sev);
        count[usize::from(!row.because.is_empty())] += 1;
    }
    let _ = std::panic::take_hook();
    println!("{} launches alike, {} that differ for a reason", count[0], count[1]);
    assert!(
        failures.is_empty(),
        "{} of {count:?}:\n{}",
        failures.len(),
        failures[..failures.len().min(8)].join("\n")
    );
}

/// Every option with every other, over the small images: the end of two real ones, which the crate `sev` has,
/// and one of ours.
fn every_combination(table: &mut Table) {
    let real = |name: &str| Case::new(sev_package().join("tests/measurement").join(name));
    let ours = OvmfImage {
        pages: 2,
        seed: 9,
        // The page of CPUID values comes before others: EC2 adds it last.
        sections: vec![
            (0x80_E000, 0x1000, section::CPUID),
            (0x81_0000, 0x1000, section::KERNEL_HASHES),
            (0x80_0000, 0x2000, section::MEMORY),
            (0x80_D000, 0x1000, section::SECRETS),
            (0x80_F000, 0x1000, section::CALLING_AREA),
        ],
        ..OvmfImage::default()
    };
    let ours = ours
        .with_entry(HASH_TABLE, place(0x81_0050, 0x400))
        .with_entry(RESET_VECTOR, 0xFFFE_1234_u32.to_le_bytes().to_vec());
    let images = [
        (real("ovmf_AmdSev_suffix.bin"), true),
        (real("ovmf_OvmfX64_suffix.bin"), false),
        (table.image("ours.fd", &ours), true),
    ];
    let kernel = table.file("kernel", b"a kernel");
    let initrd = table.file("initrd", b"an initrd");
    let nothing = table.file("nothing", b"");
    let line = Some("console=ttyS0 root=/dev/vda1 quiet".to_owned());
    let boot = |initrd: Option<&std::path::PathBuf>, append: &Option<String>| {
        Some(Boot { kernel: kernel.clone(), initrd: initrd.cloned(), append: append.clone() })
    };
    let boots = [
        None,
        boot(None, &None),
        boot(Some(&initrd), &None),
        boot(Some(&nothing), &Some(String::new())),
        boot(None, &line),
        boot(Some(&initrd), &line),
    ];
    for (image, takes_hashes) in &images {
        for vmm in Vmm::ALL {
            for boot in &boots {
                if boot.is_some() && !takes_hashes {
                    table.refused(Case { vmm, boot: boot.clone(), ..image.clone() });
                    continue;
                }
                for model in ["EPYC-v4", "EPYC-Rome", "EPYC-Milan-v2", "EPYC-Genoa", "EPYC-Turin"] {
                    for features in [0x1, 0x21, 0x0, u64::MAX] {
                        for vcpus in [1, 2, 7] {
                            let boot = boot.clone();
                            table.agree(Case { vmm, boot, vcpus, model, features, ..image.clone() });
                        }
                    }
                }
            }
        }
        for model in MODELS {
            table.agree(Case { model: model.name, ..image.clone() });
        }
        table.agree(Case { vcpus: 255, ..image.clone() });
    }
}

/// The images in Debian's package.
fn debians_firmware(table: &mut Table) {
    let Some(directory) = debian() else { return };
    let kernel = Boot { kernel: table.file("vmlinuz", &[0xA5; 70_000]), initrd: None, append: None };
    for name in ["OVMF_CODE.fd", "OVMF_CODE.secboot.fd"] {
        let image = Case::new(directory.join(name));
        for vmm in Vmm::ALL {
            for vcpus in [1, 4] {
                table.agree(Case { vmm, vcpus, model: "EPYC-Genoa", ..image.clone() });
            }
        }
        // It has no page for hashes.
        table.refused(Case { boot: Some(kernel.clone()), ..image });
    }
    // The larger images have no metadata: QEMU starts no SNP guest with them.
    for name in ["OVMF_CODE_4M.fd", "OVMF_CODE_4M.secboot.fd"] {
        table.differ(
            Case::new(directory.join(name)),
            "QEMU exits: it failed to locate the SEV metadata. sev-snp-measure goes on without sections",
            [Refuses, Any, Refuses],
        );
    }
    // The variables are no firmware.
    table.refused(Case::new(directory.join("OVMF_VARS.fd")));
}

/// QEMU hashes the command line to the letter, with the NUL behind it.
fn command_lines(table: &mut Table) {
    let image = table.image("lines.fd", &OvmfImage::default());
    let kernel = table.file("bzImage", b"another kernel");
    let with = |append: &str| {
        let boot = Boot { kernel: kernel.clone(), initrd: None, append: Some(append.to_owned()) };
        Case { boot: Some(boot), ..image.clone() }
    };
    let long = "x".repeat(10_000);
    for append in ["a", "quiet", "two  spaces", "tab\tinside", "line\nfeed inside", "ümläut=é", &long] {
        table.agree(with(append));
    }
    let edges = [
        " quiet",
        "quiet ",
        "quiet\n",
        "\tquiet",
        "quiet\r\n",
        "  quiet  ",
        "quiet\u{A0}",
        "\u{3000}quiet",
        " ",
        "\n",
    ];
    for append in edges {
        let trimmed = Of(Box::new(with(append.trim())));
        table.differ(
            with(append),
            "QEMU hashes strlen + 1 bytes of -append and removes nothing. sev trims white space",
            [Right, Right, trimmed],
        );
    }
    table.differ(
        with("quiet\0init=/bin/sh"),
        "no program can be given an argument with a NUL, so QEMU cannot have hashed it",
        [Refuses, Any, Any],
    );
}

/// Launches that QEMU would refuse, or do in another way, and that a tool measures all the same.
fn differences(table: &mut Table) {
    let image = OvmfImage::default();
    let case = table.image("image.fd", &image);
    table.differ(Case { vcpus: 0, ..case }, "there is no guest without a vCPU", [Refuses, Any, Any]);

    let without_start = table.image("reset.fd", &image.clone().with_entry(RESET_VECTOR, vec![0; 4]));
    table.differ(
        Case { vcpus: 2, ..without_start },
        "every vCPU has a VMSA, and this image does not say where the second starts. sev leaves it out",
        [Refuses, Refuses, Any],
    );

    let mut twice = image.clone();
    twice.entries.insert(0, (RESET_VECTOR, 0x0080_C000_u32.to_le_bytes().to_vec()));
    table.differ(
        Case { vcpus: 2, ..table.image("twice.fd", &twice) },
        "QEMU takes the entry nearest to the end, both tools take the other",
        [Refuses, Any, Any],
    );

    let with_sections = |sections: Vec<(u32, u32, u32)>| OvmfImage { sections, ..image.clone() };
    for (name, kind) in [("cpuid.fd", section::CPUID), ("secrets.fd", section::SECRETS)] {
        let two_pages = with_sections(vec![(0x80_0000, 0x2000, kind)]);
        table.differ(
            table.image(name, &two_pages),
            "QEMU adds every page of a section, both tools count one",
            [Refuses, Any, Any],
        );
    }
    table.differ(
        table.image("kind.fd", &with_sections(vec![(0x80_0000, 0x1000, 0x101)])),
        "sev reads one of the four bytes of a section's type",
        [Refuses, Refuses, Any],
    );
    table.differ(
        table.image("overlap.fd", &with_sections(vec![(0x80_0000, 0x2000, 1), (0x80_1000, 0x1000, 1)])),
        "KVM adds no page twice",
        [Refuses, Any, Any],
    );
    table.differ(
        table.image("place.fd", &with_sections(vec![(0xFFFF_F000, 0x1000, 1)])),
        "the image lies there",
        [Refuses, Any, Any],
    );

    let kernel = Boot { kernel: table.file("kernel2", b"k"), initrd: None, append: None };
    let boot = Some(kernel);
    let crossing = table.image("crossing.fd", &image.clone().with_entry(HASH_TABLE, place(0x81_0F80, 0x400)));
    table.differ(
        Case { boot: boot.clone(), ..crossing },
        "the hashes do not fit into the page. sev cuts the kernel's off",
        [Refuses, Refuses, Any],
    );
    let small = table.image("small.fd", &image.clone().with_entry(HASH_TABLE, place(0x81_0C00, 0x80)));
    table.differ(
        Case { boot, ..small },
        "QEMU exits: the hashes table area is too small",
        [Refuses, Any, Any],
    );

    for (name, version) in [("version0.fd", 0), ("version2.fd", 2)] {
        table.refused(table.image(name, &OvmfImage { version, ..image.clone() }));
    }
    table.refused(table.image("start.fd", &image.clone().without_entry(RESET_VECTOR)));
    table.refused(Case::new(table.file("short.fd", &image.bytes()[1..])));
    table.refused(Case::new(table.file("empty.fd", &[])));
    table.refused(Case::new(table.file("text.fd", &[b'x'; 4096])));
}

#[test]
fn the_digest_of_an_image_and_the_signature_of_a_cpu_are_those_of_others() {
    let directory = tempdir().unwrap();
    let ours = directory.path().join("image.fd");
    fs::write(&ours, OvmfImage::default().bytes()).unwrap();
    let mut images = vec![ours, sev_package().join("tests/measurement/ovmf_AmdSev_suffix.bin")];
    images.extend(debian().map(|directory| directory.join("OVMF_CODE.fd")));
    let cpus = [
        (23, 1, 2),
        (23, 49, 0),
        (25, 1, 1),
        (25, 17, 0),
        (26, 0, 0),
        (6, 15, 3),
        (15, 0, 0),
        (270, 255, 15),
    ];
    let mut rows: Vec<_> = images.iter().map(|image| json!({ "ovmf": image })).collect();
    rows.extend(cpus.map(|(family, model, stepping)| json!({ "signature": [family, model, stepping] })));

    let digest = |path: &Path| {
        let image = fs::read(path).unwrap();
        HEXLOWER.encode(&Ovmf::parse(&image).unwrap().digest())
    };
    let mut expected: Vec<_> = images.iter().map(|path| digest(path)).collect();
    expected.extend(
        cpus.map(|(family, model, stepping)| format!("{:08x}", signature(family, model, stepping).unwrap())),
    );
    let expected: Vec<_> = expected.into_iter().map(Says::Measured).collect();
    assert_eq!(sev_snp_measure(&rows), expected);

    for (path, digest) in images.into_iter().zip(expected) {
        let sev = sev::measurement::snp::calc_snp_ovmf_hash(path).unwrap().get_hex_ld();
        assert_eq!(Says::Measured(sev), digest);
    }
    // sev-snp-measure keeps the low bits of what does not fit, and so gives one CPU the signature of another.
    for (family, model, stepping) in [(25, 1, 17), (25, 257, 1), (271, 1, 1)] {
        assert_eq!(signature(family, model, stepping), None);
    }
    let wrapped = sev_snp_measure(&[json!({ "signature": [25, 1, 17] })]);
    assert_eq!(wrapped, [Says::Measured(format!("{:08x}", signature(25, 1, 1).unwrap()))]);
}
