//! The form of the blob.

use keybroker_simulator::paravisor;
use keybroker_snp::{
    hcl::{HclError, HclReport},
    report::Report,
};

use crate::{MACHINE, USER_DATA};

/// Where the numbers are.
const HEADER_VERSION: usize = 4;
const TOTAL: usize = 8;
const DATA_SIZE: usize = 1216;
const DATA_VERSION: usize = 1220;
const KIND: usize = 1224;
const HASH: usize = 1228;
const CLAIMS_SIZE: usize = 1232;

fn set(blob: &mut [u8], at: usize, word: u32) {
    blob[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

fn word(blob: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(blob[at..at + 4].try_into().unwrap())
}

#[test]
fn a_blob_is_read_as_it_was_written() {
    let claims = paravisor::claims(Some(&USER_DATA));
    let blob = MACHINE.hcl_report(USER_DATA);
    for (version, size) in [(1, 2600), (2, 2600), (2, 2400), (2, 4096), (2, 1236 + claims.len())] {
        let mut blob = blob.clone();
        blob.resize(size, 0);
        set(&mut blob, HEADER_VERSION, version);
        let hcl = HclReport::parse(&blob).unwrap();
        assert_eq!(hcl.claims(), claims.as_bytes());
        assert_eq!(hcl.user_data().unwrap(), USER_DATA);
        let report = Report::parse(hcl.report()).unwrap();
        assert_eq!(*report.report_data(), hcl.expected_report_data());
        assert_eq!(report.report_data()[32..], [0; 32]);
    }
}

#[test]
fn every_defect_has_its_error() {
    type Alter = fn(&mut Vec<u8>);
    let rows: [(&str, Alter, HclError); 26] = [
        ("empty", |blob| blob.clear(), HclError::Size(0)),
        ("a bare report", |blob| drop(blob.splice(.., [2; 1184])), HclError::Size(1184)),
        ("cut in the header", |blob| blob.truncate(31), HclError::Size(31)),
        ("cut in the report", |blob| blob.truncate(1215), HclError::Size(1215)),
        ("cut in the numbers", |blob| blob.truncate(1235), HclError::Size(1235)),
        ("longer than any index", |blob| blob.resize(4097, 0), HclError::Size(4097)),
        ("another magic", |blob| blob[3] = b'B', HclError::Magic),
        ("header version 0", |blob| set(blob, HEADER_VERSION, 0), HclError::HeaderVersion(0)),
        ("header version 3", |blob| set(blob, HEADER_VERSION, 3), HclError::HeaderVersion(3)),
        ("data version 0", |blob| set(blob, DATA_VERSION, 0), HclError::DataVersion(0)),
        ("data version 2", |blob| set(blob, DATA_VERSION, 2), HclError::DataVersion(2)),
        ("no report", |blob| set(blob, KIND, 0), HclError::ReportKind(0)),
        ("VBS", |blob| set(blob, KIND, 1), HclError::ReportKind(1)),
        ("a trusted VM", |blob| set(blob, KIND, 3), HclError::ReportKind(3)),
        ("TDX", |blob| set(blob, KIND, 4), HclError::ReportKind(4)),
        ("big-endian 2", |blob| set(blob, KIND, 0x0200_0000), HclError::ReportKind(0x0200_0000)),
        ("no hash", |blob| set(blob, HASH, 0), HclError::Hash(0)),
        ("SHA-384", |blob| set(blob, HASH, 2), HclError::Hash(2)),
        ("SHA-512", |blob| set(blob, HASH, 3), HclError::Hash(3)),
        (
            "claims to the end of numbers",
            |blob| set(blob, CLAIMS_SIZE, u32::MAX),
            HclError::ClaimsSize { claims: u32::MAX, room: 2600 - 1236 },
        ),
        (
            "claims one byte beyond the index",
            |blob| set(blob, CLAIMS_SIZE, 2600 - 1236 + 1),
            HclError::ClaimsSize { claims: 2600 - 1236 + 1, room: 2600 - 1236 },
        ),
        ("another size of the data", |blob| blob[DATA_SIZE] ^= 1, HclError::SizesDisagree),
        ("another size of all", |blob| blob[TOTAL] ^= 1, HclError::SizesDisagree),
        ("claims that end early", |blob| blob[CLAIMS_SIZE] -= 1, HclError::SizesDisagree),
        ("a last byte", |blob| *blob.last_mut().unwrap() = 1, HclError::Trailing),
        (
            "a byte behind the claims",
            |blob| {
                let end = usize::try_from(word(blob, TOTAL)).unwrap();
                blob[end] = b' ';
            },
            HclError::Trailing,
        ),
    ];
    for (name, alter, expected) in rows {
        let mut blob = MACHINE.hcl_report(USER_DATA);
        alter(&mut blob);
        assert_eq!(HclReport::parse(&blob).err(), Some(expected), "{name}");
    }
}

/// All three sizes can agree with each other and end where no claims do: then the hash is another.
#[test]
fn sizes_that_agree_on_a_lie_change_the_hash() {
    let blob = MACHINE.hcl_report(USER_DATA);
    let sound = HclReport::parse(&blob).unwrap().expected_report_data();
    for difference in [-1_i32, 1] {
        let mut blob = blob.clone();
        for at in [TOTAL, DATA_SIZE, CLAIMS_SIZE] {
            let size = word(&blob, at).checked_add_signed(difference).unwrap();
            set(&mut blob, at, size);
        }
        match HclReport::parse(&blob) {
            Ok(hcl) => assert_ne!(hcl.expected_report_data(), sound),
            Err(error) => assert_eq!((error, difference), (HclError::Trailing, -1)),
        }
    }
}

#[test]
fn the_errors_say_what_they_saw() {
    for (error, words) in [
        (HclError::Size(1184), "an HCL report has 1236 to 4096 bytes, this has 1184"),
        (
            HclError::ReportKind(4),
            "the HCL report holds a report of kind 4, and this broker reads kind 2 (SEV-SNP) alone; 4 is Intel TDX",
        ),
        (
            HclError::ReportKind(1),
            "the HCL report holds a report of kind 1, and this broker reads kind 2 (SEV-SNP) alone",
        ),
        (
            HclError::NoUserData,
            "the claims of the HCL report have no user-data: nothing was written to the NV index 0x01400002",
        ),
    ] {
        assert_eq!(error.to_string(), words);
    }
}
