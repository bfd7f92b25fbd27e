//! Evidence, as sev 4.0.0 and 6.3.1 read and write it.

use clients_shared::{
    again,
    evidence::{Release, check},
    read, written,
};

struct V4_0_0;

impl Release for V4_0_0 {
    const NAME: &'static str = "4.0.0";
    const SHAPE: &'static str = "A";

    fn report(text: &str) -> Result<String, String> {
        again::<sev_4_0_0::firmware::guest::AttestationReport>(text)
    }

    fn table(text: &str) -> Result<String, String> {
        again::<Option<Vec<sev_4_0_0::firmware::host::CertTableEntry>>>(text)
    }

    fn from_bytes(report: &[u8]) -> Result<String, String> {
        let report: sev_4_0_0::firmware::guest::AttestationReport =
            bincode::deserialize(report).map_err(|error| error.to_string())?;
        written(&report)
    }

    fn to_bytes(text: &str) -> Result<Vec<u8>, String> {
        let report: sev_4_0_0::firmware::guest::AttestationReport = read(text)?;
        bincode::serialize(&report).map_err(|error| error.to_string())
    }
}

clients_shared::from_6!(V6_3_1, sev_6_3_1, "6.3.1", "C");

#[test]
fn shape_a() {
    check::<V4_0_0>();
}

#[test]
fn shape_c() {
    check::<V6_3_1>();
}
