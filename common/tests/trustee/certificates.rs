//! The certificates that come with a report.

use keybroker_common::wire::trustee::evidence::{self, EvidenceFault, Member};

use crate::shapes::{Shape, report, sample};

fn read(chain: &str) -> Result<Vec<Vec<u8>>, EvidenceFault> {
    let report = report(Shape::C, false, &sample(3));
    let read = evidence::read(&format!(r#"{{"cert_chain":{chain},"attestation_report":{report}}}"#))?;
    assert_eq!(read.report.bytes.len(), 1184);
    Ok(read.certificates)
}

fn entry(kind: &str, length: usize) -> String {
    format!(r#"{{"cert_type":{kind},"data":[{}]}}"#, vec!["7"; length].join(","))
}

fn in_chain(name: &str) -> Member {
    Member::new("cert_chain", name)
}

#[test]
fn a_host_may_have_none() {
    assert_eq!(read("null"), Ok(vec![]));
    assert_eq!(read("[]"), Ok(vec![]));
    let without = format!(r#"{{"attestation_report":{}}}"#, report(Shape::A, false, &sample(2)));
    assert_eq!(evidence::read(&without).unwrap().certificates, Vec::<Vec<u8>>::new());
}

#[test]
fn leaves_and_intermediates_are_kept_in_any_order_and_nothing_else() {
    let chain = concat!(
        r#"[{"cert_type":"ARK","data":[1]},{"cert_type":{"OTHER":"8a4f7f4e-92a1-4b5b-8f0e-6d1ab0a8b0a1"},"data":[2]},"#,
        r#"{"data":[3,255],"cert_type":"VLEK"},{"cert_type":"Empty","data":[]},{"cert_type":"ASK","data":[0]},"#,
        r#"{"cert_type":"CRL","data":[4]},{"cert_type":"VCEK","data":[5]}]"#
    );
    assert_eq!(read(chain), Ok(vec![vec![3, 255], vec![0], vec![5]]));
}

#[test]
fn the_bounds_are_those_of_every_dialect() {
    let table = |count| format!("[{}]", vec![entry(r#""VCEK""#, 1); count].join(","));
    assert_eq!(read(&table(8)).unwrap().len(), 8);
    assert_eq!(read(&table(9)), Err(EvidenceFault::CertificateCount));
    for kind in [r#""VCEK""#, r#""CRL""#] {
        let longest = read(&format!("[{}]", entry(kind, 16 * 1024))).unwrap();
        assert!(longest.iter().all(|certificate| certificate.len() == 16 * 1024));
        let longer = format!("[{}]", entry(kind, 16 * 1024 + 1));
        assert_eq!(read(&longer), Err(EvidenceFault::CertificateLength), "{kind}");
    }
}

#[test]
fn a_table_of_another_form_is_refused() {
    for chain in ["{}", "\"\"", "7", "true"] {
        assert_eq!(read(chain), Err(EvidenceFault::CertChain), "{chain}");
    }
    for chain in ["[null]", "[[\"VCEK\",[1]]]", "[7]", "[\"VCEK\"]"] {
        assert_eq!(read(chain), Err(EvidenceFault::Object(in_chain("entry"))), "{chain}");
    }
    for kind in ["7", "null", "[\"VCEK\"]", "true"] {
        assert_eq!(read(&format!("[{}]", entry(kind, 1))), Err(EvidenceFault::CertType), "{kind}");
    }
    for data in ["[256]", "[-1]", "[1.0]", "[1e1]", "\"AQ==\"", "null", "{}", "[[1]]", "[null]"] {
        let chain = format!(r#"[{{"cert_type":"VCEK","data":{data}}}]"#);
        assert_eq!(read(&chain), Err(EvidenceFault::CertData), "{data}");
    }
}

#[test]
fn an_entry_has_two_members() {
    for (entry, fault) in [
        (r#"{"cert_type":"VCEK"}"#, EvidenceFault::Missing(in_chain("data"))),
        (r#"{"data":[1]}"#, EvidenceFault::Missing(in_chain("cert_type"))),
        (r#"{"cert_type":"ASK","data":[],"guid":"x"}"#, EvidenceFault::Unknown(in_chain("guid"))),
        (r#"{"cert_type":"ASK","data":[],"data":[1]}"#, EvidenceFault::Duplicate(in_chain("data"))),
        (
            r#"{"cert_type":"CRL","cert_type":"ASK","data":[]}"#,
            EvidenceFault::Duplicate(in_chain("cert_type")),
        ),
    ] {
        assert_eq!(read(&format!("[{entry}]")), Err(fault), "{entry}");
    }
    assert_eq!(read(r#"[{"cert_type":"ASK","data":[9],"guid":null}]"#), Ok(vec![vec![9]]));
}
