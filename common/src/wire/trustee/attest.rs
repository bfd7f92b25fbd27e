//! `POST /kbs/v0/attest`: the evidence of each version.

use std::sync::Arc;

use keybroker_initdata::InitDataDigest;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    super::{Invalid, Part, json},
    evidence as sev,
    key::TeePubkey,
    runtime_data::RuntimeData,
};
use crate::{
    broker::{Evidence, Unreadable},
    decision::EvidenceDigest,
    dialect::Dialect,
    ids::{KbsVersion, TrusteeClaim},
    requirements::EvidenceForm,
};

/// 0.1.0: the evidence is JSON in a string.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceInText {
    #[serde(rename = "tee-pubkey", deserialize_with = "json::object")]
    tee_pubkey: TeePubkey,
    #[serde(rename = "tee-evidence")]
    tee_evidence: String,
}

/// 0.1.1 and 0.2.0: the evidence is a JSON value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceInPlace<'a> {
    #[serde(rename = "tee-pubkey", deserialize_with = "json::object")]
    tee_pubkey: TeePubkey,
    #[serde(rename = "tee-evidence", borrow)]
    tee_evidence: &'a RawValue,
}

/// 0.4.0: the key stands in the runtime data, and init data comes along.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceWithInitData<'a> {
    #[serde(rename = "init-data", default, deserialize_with = "object_or_null")]
    init_data: Option<InitData>,
    #[serde(rename = "runtime-data", deserialize_with = "json::object")]
    runtime_data: SentRuntimeData,
    #[serde(rename = "tee-evidence", borrow, deserialize_with = "json::object")]
    tee_evidence: Composite<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InitData {
    /// `toml`.
    format: String,
    /// The document.
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentRuntimeData {
    #[serde(rename = "nonce")]
    _nonce: String,
    #[serde(rename = "tee-pubkey", deserialize_with = "json::object")]
    tee_pubkey: TeePubkey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Composite<'a> {
    #[serde(borrow)]
    primary_evidence: &'a RawValue,
    /// The evidence of other devices: none is served.
    additional_evidence: String,
}

/// Reads what a guest of this claim presents. A report that is in none of the sev crate's shapes is left for
/// the broker to refuse, so that the record says why.
pub fn evidence(claim: &TrusteeClaim, body: &[u8]) -> Result<Evidence, Invalid> {
    let version = claim.version;
    let (tee_pubkey, init_data, read) = match version {
        KbsVersion::V0_1_0 => {
            let sent: EvidenceInText = json::read(Part::Body, body)?;
            (sent.tee_pubkey, None, sev::read(&sent.tee_evidence))
        }
        KbsVersion::V0_1_1 | KbsVersion::V0_2_0 => {
            let sent: EvidenceInPlace = json::read(Part::Body, body)?;
            (sent.tee_pubkey, None, sev::read(sent.tee_evidence.get()))
        }
        KbsVersion::V0_4_0(_) => {
            let sent: EvidenceWithInitData = json::read(Part::Body, body)?;
            if !sent.tee_evidence.additional_evidence.is_empty() {
                return Err(Invalid::AdditionalEvidence);
            }
            let init_data = sent.init_data.map(|sent| sent.digest()).transpose()?;
            (sent.runtime_data.tee_pubkey, init_data, sev::read(sent.tee_evidence.primary_evidence.get()))
        }
    };
    let (guest_key, key) = tee_pubkey.read(version)?;
    let (report, certificates) = match read {
        Ok(sev::SevEvidence { report, certificates }) => (Ok(report), certificates),
        Err(fault) => (Err(Unreadable::new(fault)), Vec::new()),
    };
    // Nothing that the broker verifies binds the document of an Azure VM: it is as if none had come.
    let azure = report.as_ref().is_ok_and(|sent| sent.form == EvidenceForm::AzSnpVtpm);
    let init_data = init_data.filter(|_| !azure);
    Ok(Evidence {
        dialects: vec![Dialect::Trustee],
        workload_id: None,
        init_data,
        report,
        claimed_product: None,
        certificates,
        guest_key,
        binding: Arc::new(RuntimeData { version, key }),
        digest: EvidenceDigest::of(body),
    })
}

impl InitData {
    /// The digest of the document as it came, by the function that it names.
    fn digest(&self) -> Result<InitDataDigest, Invalid> {
        if self.format != "toml" {
            return Err(Invalid::InitData);
        }
        keybroker_initdata::digest_of(&self.body).map_err(|_| Invalid::InitData)
    }
}

fn object_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<InitData>, D::Error> {
    #[derive(Deserialize)]
    struct Sent(#[serde(deserialize_with = "json::object")] InitData);
    Ok(Option::<Sent>::deserialize(deserializer)?.map(|Sent(sent)| sent))
}
