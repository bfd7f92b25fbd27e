//! The `cert_chain` of a guest's evidence: the serde form of the sev crate's certificate table.

use serde::Deserialize;

use super::super::{
    Invalid,
    certificates::{Kind, check},
};

/// One row of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The kind of the certificate. VCEK, VLEK and ASK are of use; roots, CRLs and all other kinds are
    /// ignored.
    cert_type: Kind,
    /// The certificate, DER or PEM.
    data: Vec<u8>,
}

/// The certificates that verification may find useful. Rows of other kinds are dropped unread.
pub(super) fn usable(entries: Vec<Entry>) -> Result<Vec<Vec<u8>>, Invalid> {
    check(entries.iter().map(|entry| entry.data.len()))?;
    let certificates = entries.into_iter().filter(|entry| matches!(entry.cert_type, Kind::Usable));
    Ok(certificates.map(|entry| entry.data).collect())
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Fault, FieldName, Part, json},
        *,
    };

    fn read(text: &str) -> Result<Vec<Vec<u8>>, Invalid> {
        usable(json::read_all(Part::CertChain, text.as_bytes())?)
    }

    fn entry(kind: &str, length: usize) -> String {
        format!(r#"{{"cert_type":{kind},"data":[{}]}}"#, vec!["7"; length].join(","))
    }

    #[test]
    fn leaves_and_intermediates_are_kept_in_order() {
        let text = r#"[{"cert_type":"VCEK","data":[1,255]},{"data":[2],"cert_type":"ASK"},{"cert_type":"VLEK","data":[]}]"#;
        assert_eq!(read(text), Ok(vec![vec![1, 255], vec![2], vec![]]));
        assert_eq!(read("[]"), Ok(vec![]));
    }

    #[test]
    fn roots_and_crls_are_never_taken_from_a_guest() {
        for kind in [r#""ARK""#, r#""CRL""#, r#""Empty""#, r#""vcek""#, r#"{"OTHER":"6f2b"}"#] {
            assert_eq!(read(&format!("[{}]", entry(kind, 3))), Ok(vec![]), "{kind}");
        }
    }

    #[test]
    fn eight_entries_are_enough() {
        let table = |count| format!("[{}]", vec![entry(r#""VCEK""#, 1); count].join(","));
        assert_eq!(read(&table(8)).unwrap().len(), 8);
        assert_eq!(read(&table(9)), Err(Invalid::CertificateCount));
    }

    #[test]
    fn an_entry_has_16_kib_at_most() {
        let table = |length| format!("[{}]", entry(r#""VCEK""#, length));
        assert_eq!(read(&table(16 * 1024)).unwrap()[0].len(), 16 * 1024);
        assert_eq!(read(&table(16 * 1024 + 1)), Err(Invalid::CertificateLength));
    }

    #[test]
    fn a_table_of_another_form_is_refused() {
        let refused = |text: &str, fault| {
            assert_eq!(read(text), Err(Invalid::Json { part: Part::CertChain, fault }), "{text}");
        };
        refused("{}", Fault::Type);
        refused(r#"[{"cert_type":"VCEK","data":[256]}]"#, Fault::Type);
        refused(r#"[{"cert_type":"VCEK","data":"AQ=="}]"#, Fault::Type);
        refused(r#"[{"cert_type":7,"data":[]}]"#, Fault::Type);
        refused(r#"[{"cert_type":"VCEK"}]"#, Fault::MissingField(FieldName::new("data")));
        refused(r#"[{"cert_type":"ASK","data":[],"x":1}]"#, Fault::UnknownField(FieldName::new("x")));
    }
}
