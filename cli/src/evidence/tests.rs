use std::fs;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXUPPER};
use jiff::Timestamp;
use keybroker_simulator::{
    Product,
    guest::Machine,
    paravisor,
    pki::{Amd, Chip, CrlOptions},
};
use keybroker_snp::hcl::HclError;

use super::*;

const VCEK: [u8; 16] = *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
/// The same as UEFI writes it.
const VCEK_TURNED: [u8; 16] = *b"\x8d\x75\xda\x63\x64\xe6\x64\x45\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
const OWN: [u8; 16] = [7; 16];

/// A report, two certificates and a list.
struct Sample {
    report: Vec<u8>,
    vcek: Vec<u8>,
    ask: Vec<u8>,
    list: Vec<u8>,
}

fn sample() -> Sample {
    let amd = Amd::new(Product::Milan, Timestamp::now());
    let machine = Machine::new(&amd, &Chip::new(Product::Milan, 1));
    Sample {
        report: machine.report([7; 64]).to_vec(),
        vcek: machine.vek.certificate.clone(),
        ask: amd.ask().to_vec(),
        list: amd.crl(&CrlOptions::default()),
    }
}

/// A table as the GHCB specification has it.
fn table(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
    let (mut header, mut content) = (Vec::new(), Vec::new());
    for (guid, bytes) in entries {
        let offset = (entries.len() + 1) * 24 + content.len();
        header.extend_from_slice(guid);
        header.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
        header.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        content.extend_from_slice(bytes);
    }
    [header, vec![0; 24], content].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An answer of /dev/sev-guest, in a buffer of that length.
fn answer(status: u32, size: u32, report: &[u8], len: usize) -> Vec<u8> {
    let mut answer = [words(&[status, size, 0, 0, 0, 0, 0, 0]), report.to_vec()].concat();
    answer.resize(len, 0);
    answer
}

fn hcl(report: &[u8], kind: u32) -> Vec<u8> {
    let mut blob = paravisor::blob(report.try_into().unwrap(), br#"{"keys":[]}"#);
    blob[1224..1228].copy_from_slice(&kind.to_le_bytes());
    blob
}

#[test]
fn a_report_is_found_in_every_form_that_tools_write() {
    let Sample { report, vcek, ask, .. } = sample();
    let with = |behind: &[u8]| [report.as_slice(), behind].concat();
    let hex = HEXUPPER.encode(&report);
    let lines: String =
        hex.as_bytes().chunks(32).map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap())).collect();
    for (form, bytes) in [
        ("raw", report.clone()),
        ("raw and a line break", with(b"\n")),
        ("in a page", with(&[0; 2912])),
        ("the driver's answer", answer(0, 1184, &report, 1216)),
        ("the driver's buffer", answer(0, 1184, &report, 4000)),
        ("hex", hex.clone().into_bytes()),
        ("hex with 0x", format!("0x{hex}\n").into_bytes()),
        ("hex in lines", lines.into_bytes()),
        ("hex behind a BOM", format!("\u{feff}{hex}").into_bytes()),
        ("base64", BASE64.encode(&report).into_bytes()),
        ("base64url", BASE64URL_NOPAD.encode(&report).into_bytes()),
        ("a host without certificates", with(&table(&[]))),
    ] {
        assert_eq!(Evidence::of(&bytes), Ok(Evidence::report(&report)), "{form}");
    }
    let blob = hcl(&report, 2);
    for bytes in [blob.clone(), BASE64.encode(&blob).into_bytes()] {
        let found = Evidence::of(&bytes).unwrap();
        assert_eq!(found, Evidence::hcl(&blob));
        assert_eq!(found.report.unwrap().read().unwrap().report().as_bytes().as_slice(), report);
    }
    let both = with(&table(&[
        (VCEK, &vcek),
        (OWN, b"whatever"),
        (VCEK_TURNED, pem("CERTIFICATE", &ask).as_bytes()),
    ]));
    let expected = Evidence { ders: vec![vcek, ask], ..Evidence::report(&report) };
    assert_eq!(Evidence::of(&both).as_ref(), Ok(&expected), "a report and the host's table");
    assert_eq!(Evidence::of(BASE64.encode(&both).as_bytes()), Ok(expected));
}

#[test]
fn certificates_and_lists_are_found_in_every_form() {
    let Sample { vcek, ask, list, .. } = sample();
    let (first, second, crl) = (pem("CERTIFICATE", &vcek), pem("CERTIFICATE", &ask), pem("X509 CRL", &list));
    let text = "Certificate:\n    Data:\n        Serial Number: 0 (0x0)\n    Größe: 1\n";
    let escaped = |pem: &str| pem.replace('\n', "\\n");
    let thim = format!(
        r#"{{"vcekCert":"{}","tcbm":"DB18000000000004","certificateChain":"{}","cacheControl":"86400"}}"#,
        escaped(&first),
        escaped(&second)
    );
    let page = [table(&[(VCEK, &vcek), (VCEK, &ask)]), vec![0; 500]].concat();
    for (form, bytes, ders) in [
        ("DER", vcek.clone(), vec![&vcek]),
        ("DER and a line break", [vcek.as_slice(), b"\n"].concat(), vec![&vcek]),
        ("DER behind DER", [vcek.as_slice(), &ask].concat(), vec![&vcek, &ask]),
        ("a list in DER", list.clone(), vec![&list]),
        ("PEM", first.clone().into_bytes(), vec![&vcek]),
        ("PEM without a line break", first.trim_end().as_bytes().to_vec(), vec![&vcek]),
        ("PEM with text before it", format!("{text}{first}{text}{second}").into_bytes(), vec![&vcek, &ask]),
        ("PEM behind a BOM", format!("\u{feff}{first}\u{feff}{second}").into_bytes(), vec![&vcek, &ask]),
        ("PEM with CRLF", first.replace('\n', "\r\n").into_bytes(), vec![&vcek]),
        ("PEM glued together", format!("{}{second}", first.trim_end()).into_bytes(), vec![&vcek, &ask]),
        ("a list in PEM", crl.clone().into_bytes(), vec![&list]),
        ("both in PEM", format!("{first}{crl}").into_bytes(), vec![&vcek, &list]),
        ("a table", page, vec![&vcek, &ask]),
        ("a table as UEFI would", table(&[(VCEK_TURNED, &vcek)]), vec![&vcek]),
        ("Azure's THIM", thim.into_bytes(), vec![&vcek, &ask]),
        ("base64", BASE64.encode(&vcek).into_bytes(), vec![&vcek]),
        ("base64 of PEM", BASE64.encode(first.as_bytes()).into_bytes(), vec![&vcek]),
    ] {
        let expected = Evidence::ders(ders.into_iter().cloned().collect());
        assert_eq!(Evidence::of(&bytes), Ok(expected), "{form}");
    }
}

#[test]
fn a_refused_file_is_told_by_its_kind() {
    let Sample { report, vcek, .. } = sample();
    let junk_behind = [report.as_slice(), b"junk"].concat();
    let half = pem("CERTIFICATE", &vcek).replace("-----END CERTIFICATE-----\n", "");
    let outside = {
        let mut table = table(&[(VCEK, &vcek)]);
        table.truncate(table.len() - 1);
        table
    };
    let into_itself = [VCEK.to_vec(), words(&[24, 24]), vec![0; 24], vcek.clone()].concat();
    let wraps = [VCEK.to_vec(), words(&[u32::MAX, u32::MAX]), vec![0; 24]].concat();
    let endless = [VCEK.to_vec(), words(&[48, 1])].concat();
    let utf16: Vec<u8> = "\u{feff}-----BEGIN".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let key = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n".to_owned();
    let nested = format!(
        "{}{}",
        pem("CERTIFICATE", &vcek).replace("-----END CERTIFICATE-----\n", ""),
        pem("CERTIFICATE", &vcek)
    );
    // Two entries lead to the bytes of one certificate.
    let mut shared = table(&[(VCEK, &vcek), (VCEK, b"")]);
    shared.copy_within(16..24, 40);
    for (bytes, unread) in [
        (Vec::new(), Unread::Empty),
        (b"junk".to_vec(), Unread::Text),
        (b"\n".to_vec(), Unread::Text),
        (b"Certificate:\n    Data:\n".to_vec(), Unread::Text),
        (BASE64.encode(b"text in text, and nothing else").into_bytes(), Unread::Text),
        (utf16, Unread::Utf16),
        (half.into_bytes(), Unread::Pem),
        (nested.into_bytes(), Unread::Pem),
        (b"-----BEGIN CERTIFICATE-----\nMII*\n-----END CERTIFICATE-----\n".to_vec(), Unread::Pem),
        (key.into_bytes(), Unread::PemLabel("EC PRIVATE KEY".to_owned())),
        (pem("PKCS7", &vcek).into_bytes(), Unread::Pkcs7),
        (b"{\"vcekCert\":\"\"}".to_vec(), Unread::Json),
        (b"{\"vcekCert\":\"x\",\"certificateChain\":\"y\"}".to_vec(), Unread::Pem),
        (b"[1, 2]".to_vec(), Unread::Json),
        (b"{\"attestation_report\":{\"version\":2}}".to_vec(), Unread::ReportMembers),
        (report[..1183].to_vec(), Unread::Short(1183)),
        (HEXUPPER.encode(&report[..1000]).into_bytes(), Unread::Short(1000)),
        (junk_behind.clone(), Unread::Behind(4)),
        ([report.as_slice(), &report].concat(), Unread::Behind(1184)),
        (answer(0, 1184, &report[..1000], 1032), Unread::Short(1000)),
        (answer(0x16, 0, &[], 4000), Unread::Firmware(0x16)),
        (hcl(&report, 4), Unread::HclType(4)),
        (hcl(&report, 2)[..1227].to_vec(), Unread::HclShort),
        (hcl(&report, 2)[..1240].to_vec(), Unread::HclShort),
        ([hcl(&report, 2), vec![1]].concat(), Unread::Hcl(HclError::Trailing)),
        (b"HCLA\0".to_vec(), Unread::HclShort),
        (outside, Unread::Table(1)),
        (into_itself, Unread::Table(1)),
        (wraps, Unread::Table(1)),
        (endless, Unread::Table(2)),
        (shared, Unread::Table(2)),
        (vec![0; 4096], Unread::EmptyTable),
        (table(&[(VCEK, b"")]), Unread::EmptyTable),
        (table(&[(VCEK, &report)]), Unread::Unknown(1184)),
        (vcek[..700].to_vec(), Unread::Der(vcek.len())),
        ([vcek.as_slice(), b"\0"].concat(), Unread::Der(vcek.len())),
        (vec![0x30, 0x82], Unread::Der(2)),
        (vec![0x1F, 0x8B, 8], Unread::Gzip),
        (vec![0xEE; 2000], Unread::Unknown(2000)),
    ] {
        assert_eq!(Evidence::of(&bytes), Err(unread), "{}", HEXUPPER.encode(&bytes[..bytes.len().min(40)]));
    }
}

/// A report, table or certificate that is cut anywhere never becomes something else.
#[test]
fn a_cut_file_is_never_taken_for_another() {
    let Sample { report, vcek, ask, .. } = sample();
    let with_table = [report.clone(), table(&[(VCEK, &vcek), (VCEK, &ask)])].concat();
    for whole in [&with_table, &answer(0, 1184, &report, 1216), &hcl(&report, 2), &vcek] {
        for len in 0..whole.len() {
            if let Ok(found) = Evidence::of(&whole[..len]) {
                assert_eq!(found.ders, Vec::<Vec<u8>>::new(), "{len}");
                let sent = found.report.unwrap();
                let read = sent.read().unwrap();
                assert_eq!(read.report().as_bytes().as_slice(), report, "{len}");
            }
        }
    }
}

/// Each of a table's two entries could lead to the same table, whose entries do so again.
#[test]
fn a_table_in_a_table_is_not_read() {
    let Sample { vcek, .. } = sample();
    let inner = table(&[(VCEK, &vcek)]);
    assert_eq!(Evidence::of(&table(&[(VCEK, &inner)])), Err(Unread::Unknown(inner.len())));
    let deep = (0..2000).fold(vcek, |inner, _| table(&[(VCEK, &inner)]));
    assert!(Evidence::of(&deep).is_err());
}

#[test]
fn sixty_four_bytes_are_raw_or_digits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("request-file.txt");
    let bytes: [u8; 64] = std::array::from_fn(|index| u8::try_from(index).unwrap() + 0x90);
    // Earlier releases of snpguest wrote a random request as hex, in lines of sixteen bytes.
    let lines: Vec<_> = bytes.chunks(16).map(|line| data_encoding::HEXLOWER.encode(line)).collect();
    for content in [
        bytes.to_vec(),
        [bytes.as_slice(), b"\n"].concat(),
        lines.join("\n").into_bytes(),
        format!("0x{}\n", lines.concat()).into_bytes(),
        BASE64.encode(&bytes).into_bytes(),
    ] {
        fs::write(&path, &content).unwrap();
        assert_eq!(fixed(&path).unwrap(), bytes, "{content:?}");
    }
    // A file of sixty-four characters holds these bytes, even if they look like hex.
    fs::write(&path, [b'a'; 64]).unwrap();
    assert_eq!(fixed(&path).unwrap(), [b'a'; 64]);
    for content in [vec![], vec![0x90; 63], vec![0x90; 65], vec![0x90; 1184]] {
        fs::write(&path, &content).unwrap();
        let error = format!("{:#}", fixed::<64>(&path).unwrap_err());
        assert!(error.contains(&format!("it has {} bytes", content.len())), "{error}");
    }
}

/// A device that never ends, and a file that is no evidence, are not read into memory whole.
#[test]
fn no_more_is_read_than_evidence_has() {
    let endless = super::bounded(std::io::repeat(b'0')).unwrap_err().to_string();
    assert!(endless.contains("more than 16 MiB"), "{endless}");
    let longest = std::io::Read::take(std::io::repeat(b'0'), super::LONGEST);
    assert_eq!(super::bounded(longest).unwrap().len() as u64, super::LONGEST);
}
