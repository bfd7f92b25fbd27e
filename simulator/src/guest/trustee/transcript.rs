//! The words of a guest and its broker, in a file. `tests/clients` reads such files with the types of the
//! real clients.

use std::{env, fs, io, path::Path};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::TrusteeGuest;
use crate::guest::Error;

/// The environment variable that names the directory for transcripts.
pub const TRANSCRIPTS: &str = "TEST_TRANSCRIPTS";

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The path below `/kbs/v0/`.
    pub step: String,
    /// The body that was sent, as text. `None` for a GET.
    pub request: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// The body of the answer, as text.
    pub response: String,
}

/// A guest, its requests, and the answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript(Value);

impl Transcript {
    /// The transcript of this guest. `broker` names who answered. `opened` is the resource that the guest
    /// opened.
    pub fn of(guest: &TrusteeGuest, broker: &str, opened: Option<&[u8]>) -> Result<Self, Error> {
        let exchange = |exchange: &super::Exchange| {
            json!({
                "step": exchange.step,
                "request": exchange.request,
                "status": exchange.status,
                "response": exchange.response,
            })
        };
        let exchanges: Vec<Value> = guest.exchanges.iter().map(exchange).collect();
        let report_data = guest.attestation()?.report_data(guest.hash);
        let report = guest.machine.report(report_data);
        Ok(Self(json!({
            "broker": broker,
            "version": guest.version.text(),
            "alg": guest.key.form().alg(),
            "shape": format!("{:?}", guest.shape),
            "hash": guest.hash.name(),
            "product": guest.machine.fields.product.name(),
            "report": HEXLOWER.encode(&report),
            "report_data": HEXLOWER.encode(&report_data),
            "evidence": guest.evidence(&report)?,
            "opened": opened.map(|opened| HEXLOWER.encode(opened)),
            "exchanges": exchanges,
        })))
    }

    /// Writes the transcript as `NAME.json` into the directory that the environment names, if it names one.
    pub fn keep(&self, name: &str) -> io::Result<()> {
        let Some(directory) = env::var_os(TRANSCRIPTS) else { return Ok(()) };
        fs::create_dir_all(&directory)?;
        fs::write(Path::new(&directory).join(format!("{name}.json")), self.0.to_string())
    }
}
