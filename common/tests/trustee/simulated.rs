//! Evidence of the simulator's guests, in every shape, on every product.

use keybroker_common::wire::trustee::evidence::read;
use keybroker_simulator::{
    Product,
    guest::{
        Machine,
        trustee::{CertTable, CertType, Shape, evidence},
    },
    pki::{Amd, CSP_ID, Chip},
    report::ReportFields,
};
use serde_json::Value;

use crate::shapes;

/// The test's own reading of the crate `sev`, beside the simulator's.
const SHAPES: [(Shape, shapes::Shape); 3] =
    [(Shape::A, shapes::Shape::A), (Shape::B, shapes::Shape::B), (Shape::C, shapes::Shape::C)];

fn usable(table: &CertTable) -> Vec<Vec<u8>> {
    let usable =
        table.0.iter().filter(|(kind, _)| matches!(kind, CertType::Vcek | CertType::Vlek | CertType::Ask));
    usable.map(|(_, certificate)| certificate.clone()).collect()
}

#[test]
fn a_report_and_its_certificates_come_through_every_shape() {
    for product in Product::ALL {
        let (amd, chip) =
            (Amd::new(product, keybroker_testing::time("2026-06-01T00:00:00Z")), Chip::new(product, 1));
        let turin = product == Product::Turin;
        for machine in [Machine::new(&amd, &chip), Machine::in_cloud(&amd, &chip, CSP_ID)] {
            let tables = [
                CertTable::default(),
                CertTable::leaf(&machine),
                CertTable::full(&amd, &machine),
                CertTable::mixed(&amd, &machine),
            ];
            for version in 2..=5 {
                let report =
                    ReportFields { version, ..ReportFields::new(&chip) }.sign(&chip.vcek_key(chip.tcb));
                for (shape, own) in SHAPES {
                    let Some(text) = shape.write(&report) else {
                        // Shape B has no place for mitigation vectors.
                        assert_eq!((shape, version), (Shape::B, 5));
                        continue;
                    };
                    let written: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(written, shapes::report(own, turin, &report), "{product} {version} {shape:?}");
                    assert_eq!(read(&evidence(&text, None)).unwrap().certificates, Vec::<Vec<u8>>::new());
                    for table in &tables {
                        let read = read(&evidence(&text, Some(table))).unwrap();
                        assert_eq!(read.report.bytes, report, "{product} {version} {shape:?}");
                        assert_eq!(read.certificates, usable(table));
                    }
                }
            }
        }
    }
}
