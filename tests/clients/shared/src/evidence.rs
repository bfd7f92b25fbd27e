//! Evidence, read and written by releases of sev.

use crate::transcripts;

/// A release of sev.
pub trait Release {
    /// Its version.
    const NAME: &'static str;
    /// The shape that it writes.
    const SHAPE: &'static str;

    /// The report that it writes in JSON after it has read it from JSON.
    fn report(text: &str) -> Result<String, String>;
    /// The certificate table that it writes after it has read it.
    fn table(text: &str) -> Result<String, String>;
    /// The JSON of a report from the firmware.
    fn from_bytes(report: &[u8]) -> Result<String, String>;
    /// The bytes of a report in JSON.
    fn to_bytes(text: &str) -> Result<Vec<u8>, String>;
}

/// Checks every evidence in this release's shape: the release writes the same text after it has read it, the
/// text from the report's bytes, and the bytes from the text.
pub fn check<R: Release>() {
    let mut checked = 0;
    for transcript in transcripts().into_iter().filter(|transcript| transcript.shape == R::SHAPE) {
        checked += 1;
        let at = format!("sev {}, {}", R::NAME, transcript.name);
        let (report, table) = (transcript.report_json(), transcript.table_json());
        assert_eq!(R::report(&report).as_ref(), Ok(&report), "{at}");
        assert_eq!(R::table(&table).as_ref(), Ok(&table), "{at}");
        assert_eq!(R::from_bytes(&transcript.report).as_ref(), Ok(&report), "{at}");
        assert_eq!(R::to_bytes(&report).as_ref(), Ok(&transcript.report), "{at}");
    }
    assert!(checked > 0, "no evidence in shape {}", R::SHAPE);
}

/// Implements [`Release`] for a crate of the series 6.
#[macro_export]
macro_rules! from_6 {
    ($name:ident, $krate:ident, $version:literal, $shape:literal) => {
        struct $name;
        impl $crate::evidence::Release for $name {
            const NAME: &'static str = $version;
            const SHAPE: &'static str = $shape;

            fn report(text: &str) -> Result<String, String> {
                $crate::again::<$krate::firmware::guest::AttestationReport>(text)
            }

            fn table(text: &str) -> Result<String, String> {
                $crate::again::<Option<Vec<$krate::firmware::host::CertTableEntry>>>(text)
            }

            fn from_bytes(report: &[u8]) -> Result<String, String> {
                let report = $krate::firmware::guest::AttestationReport::from_bytes(report);
                $crate::written(&report.map_err(|error| error.to_string())?)
            }

            fn to_bytes(text: &str) -> Result<Vec<u8>, String> {
                let report: $krate::firmware::guest::AttestationReport = $crate::read(text)?;
                let mut bytes = Vec::new();
                report.write_bytes(&mut bytes).map_err(|error| error.to_string())?;
                Ok(bytes)
            }
        }
    };
}
