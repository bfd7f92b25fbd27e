//! The evidence of Azure confidential VMs, as each release of Trustee's client writes it.

use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};
use keybroker_common::{
    requirements::EvidenceForm,
    wire::trustee::evidence::{
        EvidenceFault::{
            self, Base64, Blob, BlobVersion, CertificateCount, CertificateLength, Duplicate, Missing, Pem,
            Syntax, Unknown,
        },
        Member, read,
    },
};
use keybroker_simulator::{
    Product,
    guest::{
        Machine,
        trustee::{Vtpm, VtpmShape},
    },
    pki::{Amd, Chip, pem},
};
use keybroker_testing::time;
use serde_json::{Value, json};

fn machine(product: Product) -> Machine {
    Machine::new(&Amd::new(product, time("2026-06-01T00:00:00Z")), &Chip::new(product, 1))
}

fn whole(shape: VtpmShape) -> Value {
    let evidence = Vtpm::new("az-snp-vtpm", shape).evidence(&machine(Product::Milan), [0xA5; 64]);
    serde_json::from_str(&evidence).unwrap()
}

fn member(name: &str) -> Member {
    Member::new("tee-evidence", name)
}

fn fault(evidence: &Value) -> EvidenceFault {
    let text = evidence.to_string();
    let short: String = text.chars().take(200).collect();
    read(&text).err().unwrap_or_else(|| panic!("{short}"))
}

#[test]
fn each_release_is_read_on_each_product() {
    for product in Product::ALL {
        let machine = machine(product);
        for shape in VtpmShape::ALL {
            for bytes in [[0xA5; 64], [0; 64]] {
                let mut vtpm = Vtpm::new("az-snp-vtpm", shape);
                vtpm.written = Some(bytes);
                let sent = read(&vtpm.evidence(&machine, [1; 64])).unwrap();
                assert_eq!(sent.report.form, EvidenceForm::AzSnpVtpm);
                assert_eq!(sent.certificates, std::slice::from_ref(&machine.vek.certificate));
                let report = sent.report.read().unwrap();
                let bound = report.report_data([0xA5; 64]);
                assert_eq!(bound.is_ok(), bytes == [0xA5; 64], "{product} {shape:?}");
            }
        }
    }
}

#[test]
fn every_member_must_be_there_once_and_no_other() {
    for shape in VtpmShape::ALL {
        let evidence = whole(shape);
        for name in evidence.as_object().unwrap().keys() {
            let mut without = evidence.clone();
            without.as_object_mut().unwrap().remove(name);
            // Without its blob it is no evidence of this kind.
            let missing = match name.as_str() {
                "report" | "hcl_report" => continue,
                name => Missing(member(name)),
            };
            assert_eq!(fault(&without), missing, "{shape:?}");
            let text = evidence.to_string();
            let twice = format!(r#"{{"{name}":{},{}"#, evidence[name], &text[1..]);
            assert_eq!(read(&twice).unwrap_err(), Duplicate(member(name)), "{shape:?} {name}");
        }
        let mut more = evidence.clone();
        more["new_field"] = json!(1);
        assert_eq!(fault(&more), Unknown(member("new_field")));
        more["new_field"] = Value::Null;
        assert!(read(&more.to_string()).is_ok());
    }
}

/// A blob beside a report is an unknown member, and one release has no members of another.
#[test]
fn no_two_kinds_are_mixed() {
    let (early, later) = (whole(VtpmShape::V0), whole(VtpmShape::V2));
    let mut both = later.clone();
    both["report"] = early["report"].clone();
    assert_eq!(fault(&both), Unknown(member("report")));
    let mut quoted = later.clone();
    quoted["quote"] = early["quote"].clone();
    assert_eq!(fault(&quoted), Unknown(member("quote")));
    let mut versioned = early.clone();
    versioned["version"] = json!(2);
    assert_eq!(fault(&versioned), Unknown(member("version")));
    for evidence in [early, later] {
        let mut beside = evidence;
        beside["attestation_report"] = json!({});
        assert!(matches!(fault(&beside), Unknown(_) | Missing(_) | EvidenceFault::Object(_)));
    }
}

#[test]
fn every_value_has_its_form() {
    let with = |shape, name: &str, value: Value| {
        let mut evidence = whole(shape);
        evidence[name] = value;
        evidence
    };
    let (v0, v2) = (VtpmShape::V0, VtpmShape::V2);
    for wrong in
        [json!("00"), json!([256]), json!([-1]), json!([1.5]), Value::Null, json!({}), json!(vec![0; 4097])]
    {
        assert_eq!(fault(&with(v0, "report", wrong)), Blob);
    }
    assert!(read(&with(v0, "report", json!([])).to_string()).unwrap().report.read().is_err());
    for wrong in [json!(0), json!(3), json!("2"), json!(-1), Value::Null, json!(4_294_967_298_u64)] {
        assert_eq!(fault(&with(v2, "version", wrong)), BlobVersion);
    }
    let bytes = [0xFB, 0xEF, 0xBE, 0xFF];
    for name in ["hcl_report", "vcek"] {
        for wrong in [
            json!(BASE64.encode(&bytes)),
            json!(BASE64URL_NOPAD.encode(&bytes)),
            json!(BASE64URL.encode(&bytes) + "\n"),
            json!([1, 2]),
            Value::Null,
        ] {
            assert_eq!(fault(&with(v2, name, wrong)), Base64(member(name)));
        }
    }
    let long = json!(BASE64URL.encode(&vec![0; 16 * 1024 + 1]));
    assert_eq!(fault(&with(v2, "vcek", long)), CertificateLength);
    let one = pem(&[0x30, 0]);
    for wrong in [
        json!("x"),
        json!(one.clone() + "x"),
        json!("x".to_owned() + &one),
        json!(one.replace("END", "BEGIN")),
        json!(one.replace("CERTIFICATE", "PRIVATE KEY")),
        json!(one.replace("MAA=", "MA=A")),
        json!([1]),
        Value::Null,
    ] {
        assert_eq!(fault(&with(v0, "vcek", wrong.clone())), Pem, "{wrong}");
    }
    assert_eq!(read(&with(v0, "vcek", json!(one.repeat(8))).to_string()).unwrap().certificates.len(), 8);
    assert_eq!(fault(&with(v0, "vcek", json!(one.repeat(9)))), CertificateCount);
    assert_eq!(fault(&with(v0, "vcek", json!(pem(&vec![0; 16 * 1024 + 1])))), CertificateLength);
    let text = whole(v2).to_string();
    assert_eq!(read(&(text.clone() + "x")).unwrap_err(), Syntax);
    assert_eq!(read(&text[..text.len() - 1]).unwrap_err(), Syntax);
}
