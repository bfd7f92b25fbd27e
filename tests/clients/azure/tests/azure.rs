//! The blob of an Azure confidential VM, read by the crate of Trustee's clients and by ours. The crate
//! carries genuine blobs: one of an SEV-SNP VM of March 2023, which has no `user-data`, and one of a TDX VM.
//! The certificate beside them is another chip's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use az_cvm_vtpm::hcl::{HclReport as Theirs, ReportType};
use keybroker_snp::{
    hcl::{HclError, HclReport as Ours},
    report::Report,
};

/// Where cargo has put the crate.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let run = |arguments: &[&str]| {
            let output = Command::new(&cargo)
                .args(arguments)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let version = run(&["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        // Only packages of this host's graph are sure to have been fetched.
        let metadata =
            run(&["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host]);
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
        let mut packages = metadata["packages"].as_array().unwrap().iter();
        let package = packages.find(|package| package["name"] == "az-cvm-vtpm").unwrap();
        Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
    })
}

fn file(name: &str) -> Vec<u8> {
    fs::read(package().join("test").join(name)).unwrap()
}

#[test]
fn a_genuine_blob_is_read_alike() {
    let blob = file("hcl-report-snp.bin");
    let (ours, theirs) = (Ours::parse(&blob).unwrap(), Theirs::new(blob.clone()).unwrap());
    assert_eq!(theirs.report_type(), ReportType::Snp);
    assert_eq!(ours.claims(), theirs.var_data());
    assert_eq!(ours.expected_report_data()[..32], theirs.var_data_sha256());
    let (report, theirs) = (Report::parse(ours.report()).unwrap(), az_cvm_vtpm_report(&theirs));
    assert_eq!(*report.report_data(), ours.expected_report_data());
    assert_eq!((report.version(), report.vmpl(), report.guest_svn()), (2, 0, 2));
    assert_eq!(theirs, report.as_bytes()[0x90..0xC0]);
    // A paravisor of 2023 repeats nothing.
    assert_eq!(ours.user_data(), Err(HclError::NoUserData));
    // Padding of any length, and none.
    for size in [1236 + ours.claims().len(), 2600, 4096] {
        let mut padded = blob.clone();
        padded.resize(size, 0);
        assert_eq!(Ours::parse(&padded).unwrap().claims(), ours.claims());
    }
}

/// MEASUREMENT as the other crate reads it.
fn az_cvm_vtpm_report(theirs: &Theirs) -> Vec<u8> {
    let report: az_cvm_vtpm::hcl::HwReport = match theirs.report_type() {
        ReportType::Snp => az_cvm_vtpm::hcl::HwReport::Snp(theirs.try_into().unwrap()),
        ReportType::Tdx => az_cvm_vtpm::hcl::HwReport::Tdx(theirs.try_into().unwrap()),
    };
    match report {
        az_cvm_vtpm::hcl::HwReport::Snp(report) => report.measurement.to_vec(),
        az_cvm_vtpm::hcl::HwReport::Tdx(_) => Vec::new(),
    }
}

#[test]
fn a_genuine_blob_of_tdx_is_refused_by_its_kind() {
    let blob = file("hcl-report-tdx.bin");
    assert_eq!(Theirs::new(blob.clone()).unwrap().report_type(), ReportType::Tdx);
    assert_eq!(Ours::parse(&blob), Err(HclError::ReportKind(4)));
    // Had it said SEV-SNP, its claims would be read: they are those of a paravisor that knows user-data.
    let mut said = blob;
    said[1224] = 2;
    assert_eq!(Ours::parse(&said).unwrap().user_data(), Ok([0; 64]));
}

/// Each byte set to a few values: a blob that ours reads, theirs reads alike.
#[test]
fn whatever_is_altered_ours_reads_nothing_that_theirs_reads_otherwise() {
    let blob = file("hcl-report-snp.bin");
    let (mut both, mut theirs_alone) = (0, 0);
    for at in 0..blob.len() {
        for value in [0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF, blob[at] ^ 1, blob[at].wrapping_add(1)] {
            let mut altered = blob.clone();
            altered[at] = value;
            let (ours, theirs) = (Ours::parse(&altered), Theirs::new(altered.clone()));
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    both += 1;
                    assert_eq!(ours.claims(), theirs.var_data(), "byte {at} is {value}");
                    assert_eq!(ours.expected_report_data()[..32], theirs.var_data_sha256());
                    assert_eq!(theirs.report_type(), ReportType::Snp);
                }
                (Err(_), Ok(_)) => theirs_alone += 1,
                (Ok(_), Err(_)) => panic!("ours alone reads it: byte {at} is {value}"),
                (Err(_), Err(_)) => {}
            }
        }
    }
    // They look at no magic, version, size of the whole, or padding.
    assert!(both > 10_000 && theirs_alone > 1_000, "{both} {theirs_alone}");
}
