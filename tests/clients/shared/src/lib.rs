//! Transcripts of guests, and the checks that clients' own types must pass with them.
//!
//! The simulator's Trustee guest writes transcripts: see `simulator/src/guest/trustee/transcript.rs`.
//! `TEST_TRANSCRIPTS` names their directory.

pub mod evidence;
pub mod messages;

use std::{collections::BTreeMap, env, fs};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// A guest, its requests, and the answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// The name of its file.
    #[serde(skip)]
    pub name: String,
    /// The broker that answered: `keybroker`, `stand-in`, or `none`.
    pub broker: String,
    /// The version that the guest speaks.
    pub version: String,
    /// The `alg` of its key.
    pub alg: String,
    /// How it writes its report.
    pub shape: String,
    /// The hash algorithm of REPORT_DATA.
    pub hash: String,
    /// The product that it runs on.
    pub product: String,
    /// Its report.
    #[serde(with = "hex::serde")]
    pub report: Vec<u8>,
    /// REPORT_DATA as the guest computed it.
    #[serde(with = "hex::serde")]
    pub report_data: Vec<u8>,
    /// The evidence as the structures write it.
    pub evidence: String,
    /// The resource that it opened, in hex.
    pub opened: Option<String>,
    /// Every request with its answer.
    pub exchanges: Vec<Exchange>,
}

impl Transcript {
    /// A member of the evidence, as text.
    fn evidence(&self, name: &str) -> String {
        let evidence: BTreeMap<&str, &RawValue> = serde_json::from_str(&self.evidence).expect("an object");
        evidence[name].get().to_owned()
    }

    /// The JSON text of the report.
    pub fn report_json(&self) -> String {
        self.evidence("attestation_report")
    }

    /// The JSON text of the certificate table.
    pub fn table_json(&self) -> String {
        self.evidence("cert_chain")
    }
}

/// One request and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The path below `/kbs/v0/`.
    pub step: String,
    /// The body that was sent.
    pub request: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// The body of the answer.
    pub response: String,
}

/// Every transcript of the directory. There must be some.
pub fn transcripts() -> Vec<Transcript> {
    let directory = env::var_os("TEST_TRANSCRIPTS").expect("TEST_TRANSCRIPTS names a directory");
    let mut transcripts = Vec::new();
    for file in fs::read_dir(directory).expect("a directory") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("a text");
        let name = path.display().to_string();
        let read: Transcript = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        transcripts.push(Transcript { name, ..read });
    }
    assert!(!transcripts.is_empty(), "no transcripts");
    transcripts
}

/// A value from its text.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The text of a value.
pub fn written<T: Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// The text that a type writes after it has read `text`.
pub fn again<T: DeserializeOwned + Serialize>(text: &str) -> Result<String, String> {
    written(&read::<T>(text)?)
}
