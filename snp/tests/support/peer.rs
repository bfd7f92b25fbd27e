//! The `sev` package as a second opinion: an implementation that shares nothing with this one.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each suite uses its own part")]

use keybroker_snp::report::Report;
use sev::{
    certs::snp::{Certificate, Chain, Verifiable, ca},
    firmware::guest::AttestationReport,
    parser::ByteParser,
};

/// Certificates and report as received.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub ark: Vec<u8>,
    pub issuer: Vec<u8>,
    pub vek: Vec<u8>,
    pub report: Vec<u8>,
}

impl Evidence {
    /// Whether `sev` verifies chain and report. It looks at signatures alone.
    pub fn sev_accepts(&self) -> bool {
        self.sev_verify().is_ok()
    }

    pub fn sev_verify(&self) -> std::io::Result<()> {
        let chain = self.sev_chain()?;
        let report = sev_report(&self.report)?;
        (&chain, &report).verify()
    }

    pub fn sev_chain(&self) -> std::io::Result<Chain> {
        Ok(Chain {
            ca: ca::Chain {
                ark: Certificate::from_der(&self.ark)?,
                ask: Certificate::from_der(&self.issuer)?,
            },
            vek: Certificate::from_der(&self.vek)?,
        })
    }
}

/// `sev`'s reading of a report.
pub fn sev_report(bytes: &[u8]) -> std::io::Result<AttestationReport> {
    assert_eq!(Report::SIZE, 1184);
    AttestationReport::from_bytes(bytes)
}
