//! The machine of a guest, and its knowledge between the steps of the protocol.

use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXUPPER;
use serde_json::{Value, json};

use super::{Error, GuestKey};
use crate::{
    http::{self, Endpoint, Response},
    pki::{Amd, Chip, Vek},
    report::{REPORT_LEN, ReportFields, SIGNED_BY_VLEK},
};

/// The machine that a guest runs on: it signs reports.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The key that signs, and its certificate.
    pub vek: Vek,
    /// The fields of its reports, except REPORT_DATA.
    pub fields: ReportFields,
    /// Certificates that the guest sends along, each with its type (`VCEK`, `VLEK`, `ASK`, `ARK`). libkrun
    /// sends none.
    pub certificates: Vec<(String, Vec<u8>)>,
}

impl Machine {
    /// A machine with `chip`, whose VCEK signs.
    pub fn new(amd: &Amd, chip: &Chip) -> Self {
        Self { vek: amd.vcek(chip), fields: ReportFields::new(chip), certificates: Vec::new() }
    }

    /// A machine of the cloud provider `csp_id`: its VLEK signs and the chip's id is masked. The guest sends
    /// the VLEK along, because AMD's KDS serves none.
    pub fn in_cloud(amd: &Amd, chip: &Chip, csp_id: &str) -> Self {
        let vek = amd.vlek(csp_id, chip.tcb);
        let certificates = vec![("VLEK".to_owned(), vek.certificate.clone())];
        let fields =
            ReportFields { signing_key: SIGNED_BY_VLEK, chip_id: [0; 64], ..ReportFields::new(chip) };
        Self { vek, fields, certificates }
    }

    /// Whether a cloud provider's key signs.
    pub fn is_in_cloud(&self) -> bool {
        self.fields.signing_key == SIGNED_BY_VLEK
    }

    /// A report with this REPORT_DATA.
    pub fn report(&self, report_data: [u8; 64]) -> [u8; REPORT_LEN] {
        ReportFields { report_data, ..self.fields.clone() }.sign(&self.vek.key)
    }
}

/// The knowledge of a guest. The fields are public, so that tests can mix the knowledge of several guests.
#[derive(Debug)]
pub struct State {
    /// The machine on which it runs.
    pub machine: Machine,
    /// The workload that it claims to be.
    pub workload_id: String,
    /// The value of the cookie `session_id`.
    pub session_id: Option<String>,
    /// The nonce as text.
    pub nonce: Option<String>,
    /// Its key, new with every guest.
    pub key: GuestKey,
    /// How long each request may take.
    pub deadline: Duration,
    pub(super) url: String,
    pub(super) endpoint: Endpoint,
}

impl State {
    pub(super) fn new(url: &str, workload_id: &str, machine: Machine) -> Result<Self, Error> {
        Ok(Self {
            machine,
            workload_id: workload_id.to_owned(),
            session_id: None,
            nonce: None,
            key: GuestKey::generate(),
            deadline: Duration::from_secs(60),
            url: url.to_owned(),
            endpoint: Endpoint::parse(url).ok_or_else(|| Error::Url(url.to_owned()))?,
        })
    }

    /// The body of auth. The workload id goes in unescaped, as libkrun prints it.
    pub fn auth_body(&self) -> String {
        let id = &self.workload_id;
        format!(r#"{{"extra-params":"{{\"workload_id\":\"{id}\"}}","tee":"snp","version":"0.0.0"}}"#)
    }

    /// REPORT_DATA: SHA-512 over the texts of nonce, modulus and exponent.
    pub fn report_data(&self) -> Result<[u8; 64], Error> {
        let nonce = self.nonce.as_ref().ok_or(Error::NoChallenge)?;
        let text = [nonce.as_str(), &self.key.modulus(), &self.key.exponent()].concat();
        let hash = digest::digest(&digest::SHA512, text.as_bytes());
        hash.as_ref().try_into().map_err(|_| Error::NoChallenge)
    }

    /// The machine's report for the nonce at hand and this guest's key.
    pub fn report(&self) -> Result<[u8; REPORT_LEN], Error> {
        Ok(self.machine.report(self.report_data()?))
    }

    /// The body of attest.
    pub fn attest_body(&self) -> Result<String, Error> {
        Ok(self.attest_body_with(&self.report()?))
    }

    /// The body of attest with these bytes for the report.
    pub fn attest_body_with(&self, report: &[u8]) -> String {
        let certificates = self.machine.certificates.iter();
        let certificates: Vec<Value> =
            certificates.map(|(kind, data)| json!({"cert_type": kind, "data": data})).collect();
        let chain = json_string(&Value::from(certificates).to_string());
        let evidence =
            format!(r#"{{"gen":"milan","report":"{}","cert_chain":{chain}}}"#, HEXUPPER.encode(report));
        format!(
            r#"{{"tee-pubkey":{{"alg":"RSA","k-mod":"{}","k-exp":"{}"}},"tee-evidence":{}}}"#,
            self.key.modulus(),
            self.key.exponent(),
            json_string(&evidence)
        )
    }

    pub(super) async fn send(&self, request: &str) -> Result<Response, Error> {
        Ok(http::exchange(&self.endpoint.authority, request.as_bytes(), self.deadline).await?)
    }
}

/// A JSON string with its quotes.
fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}
