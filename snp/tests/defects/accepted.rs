use keybroker_simulator::pki::{Algorithm, Overrides};
use keybroker_snp::{
    endorsement::EndorsementKind::{Vcek, Vlek},
    product::Product::{self, Genoa, Milan, Turin},
};
use keybroker_testing::Attempt;

/// Family and model of CPUs by name.
const CPUS: [(&str, Product, [u8; 2]); 5] = [
    ("Milan", Milan, [0x19, 0x01]),
    ("Genoa", Genoa, [0x19, 0x11]),
    ("Bergamo", Genoa, [0x19, 0xA0]),
    ("Siena", Genoa, [0x19, 0xA8]),
    ("Turin", Turin, [0x1A, 0x02]),
];

#[test]
fn every_cpu_version_and_kind_of_key() {
    for (name, product, [family, model]) in CPUS {
        for version in 2..=5 {
            for kind in [Vcek, Vlek] {
                let attempt = Attempt::new(product, kind).fields(|fields| {
                    fields.version = version;
                    fields.cpuid = [family, model, 1];
                });
                let verified = attempt.verify().unwrap_or_else(|refusal| {
                    panic!("{name}, version {version}, {kind}: {refusal:?}");
                });
                assert_eq!(verified.product(), product);
                assert_eq!(verified.report().as_bytes()[..0x2A0], attempt.report_bytes()[..0x2A0]);
            }
        }
    }
}

/// Milan's VCEKs spell the default trailer field out, the others omit it. Either form is AMD's algorithm.
#[test]
fn both_encodings_of_the_pss_parameters() {
    for product in Product::ALL {
        for algorithm in [Algorithm::PSS, Algorithm::PSS_EXPLICIT_TRAILER] {
            let altered = Overrides { algorithm: Some(algorithm), ..Overrides::default() };
            let attempt = Attempt {
                vek: altered.clone(),
                issuer: altered.clone(),
                ark: Some(altered),
                ..Attempt::vcek(product)
            };
            attempt.verify().unwrap();
        }
    }
}

/// A level of a TCB component of 128 or more takes two bytes in a certificate.
#[test]
fn every_level_of_every_component() {
    for product in Product::ALL {
        for level in [0, 1, 127, 128, 255] {
            let mut attempt = Attempt::vcek(product);
            attempt.chip.tcb.snp = level;
            attempt.chip.tcb.microcode = level;
            attempt.chip.tcb.fmc = level;
            attempt.fields.reported_tcb = attempt.chip.tcb;
            attempt.verify().unwrap();
        }
    }
}

/// The running firmware may be ahead of the reported one: the key is derived for the reported one.
#[test]
fn a_current_tcb_ahead_of_the_reported() {
    Attempt::vcek(Milan).fields(|fields| fields.current_tcb.microcode += 1).verify().unwrap();
}
