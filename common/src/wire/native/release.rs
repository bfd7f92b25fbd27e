//! `POST /v1/release`: evidence, and the names of the secrets that it is to release.

use std::{collections::BTreeSet, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use keybroker_initdata::{Document, InitDataDigest, KeyId};
use keybroker_native::{Ask, Suite};
use serde::Deserialize;

use super::{
    super::{Invalid, Part, certificates, json, keybroker::resource_name},
    ReleaseFault as Fault, challenge,
};
use crate::{
    binding::{Binding, SentReport},
    broker::{Evidence, RecipientKey, ReleaseRequest},
    challenge::Nonce,
    decision::EvidenceDigest,
    dialect::Dialect,
    ids::{SessionId, WorkloadId},
    requirements::{EvidenceForm, init_data},
};

/// Most secrets of one request.
pub(super) const MAX_SECRETS: usize = 16;
/// Most keys of the broker that a request names.
pub(super) const MAX_BROKER_KEYS: usize = 8;

/// A request for secrets. REPORT_DATA must be SHA-512 of everything in it but `evidence`: docs/protocol.md
/// has the encoding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    /// The challenge as it was answered.
    challenge: String,
    /// The id of the workload that the guest is.
    workload: String,
    /// The names of the secrets, in the order in which they are answered.
    secrets: Vec<String>,
    /// How they are sealed: `hpke-p384-sha384-aes256gcm` or `hpke-x25519-sha256-aes256gcm`.
    suite: String,
    /// The guest's public key, in base64url, as RFC 9180 serialises it for the suite.
    public_key: String,
    #[serde(deserialize_with = "json::object")]
    init_data: InitData,
    /// The ids of the broker's keys that the guest accepts a signature of: SHA-256 of the point, in
    /// base64url.
    broker_keys: Vec<String>,
    #[serde(deserialize_with = "json::object")]
    evidence: SentEvidence,
}

/// The guest's init data: the document, or its digest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InitData {
    /// `sha256`, `sha384` or `sha512`.
    #[serde(default, deserialize_with = "json::present")]
    algorithm: Option<String>,
    /// In hex.
    #[serde(default, deserialize_with = "json::present")]
    digest: Option<String>,
    /// The whole document.
    #[serde(default, deserialize_with = "json::present")]
    document: Option<String>,
}

/// The evidence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentEvidence {
    /// `snp` or `az-snp-vtpm`.
    r#type: String,
    /// The report, 1184 bytes, in base64url. In the form `az-snp-vtpm`: the blob that holds it.
    report: String,
    /// The certificates of the host's table: DER, in base64url.
    certificates: Vec<String>,
}

/// Reads a request for secrets, and under which challenge's id it is made. The report's own form is not
/// looked at: `Report::parse` judges that.
pub fn release_request(body: &[u8]) -> Result<(SessionId, ReleaseRequest), Invalid> {
    let digest = EvidenceDigest::of(body);
    let body: Body = json::read(Part::Body, body)?;
    let session_id = challenge::session_id(&body.challenge).ok_or(Fault::Challenge)?;
    let workload_id = WorkloadId::new(body.workload)?;
    let secrets = named(body.secrets)?;
    let suite = Suite::named(&body.suite).ok_or(Fault::Suite)?;
    let public_key = bytes("public_key", &body.public_key)?;
    if public_key.len() != suite.public_len() {
        return Err(Fault::PublicKey.into());
    }
    let init_data = init_data(&body.init_data)?;
    let broker_keys = broker_keys(&body.broker_keys)?;
    let form = EvidenceForm::named(&body.evidence.r#type).ok_or(Fault::Evidence)?;
    let report = bytes("evidence.report", &body.evidence.report)?;
    let sent = body.evidence.certificates.iter().map(|der| bytes("evidence.certificates", der));
    let certificates = sent.collect::<Result<Vec<_>, _>>()?;
    certificates::check(certificates.iter().map(Vec::len))?;
    let ask = Ask {
        challenge: body.challenge,
        workload: workload_id.as_str().to_owned(),
        secrets: secrets.clone(),
        suite,
        public_key: public_key.clone(),
        init_data: init_data.clone(),
        broker_keys: broker_keys.clone(),
    };
    let evidence = Evidence {
        dialects: vec![Dialect::Native],
        workload_id: Some(workload_id),
        init_data: Some(init_data),
        report: Ok(SentReport { form, bytes: report }),
        claimed_product: None,
        certificates,
        guest_key: RecipientKey { suite, public_key },
        binding: Arc::new(AskBinding { ask, session_id: session_id.clone() }),
        digest,
    };
    Ok((session_id, ReleaseRequest { evidence, secrets, broker_keys }))
}

fn named(secrets: Vec<String>) -> Result<Vec<String>, Fault> {
    let different: BTreeSet<_> = secrets.iter().collect();
    let known = secrets.iter().all(|name| resource_name(name).is_ok());
    let bounded = (1..=MAX_SECRETS).contains(&secrets.len());
    if known && bounded && different.len() == secrets.len() { Ok(secrets) } else { Err(Fault::Secrets) }
}

fn init_data(sent: &InitData) -> Result<InitDataDigest, Fault> {
    match (&sent.document, &sent.algorithm, &sent.digest) {
        (Some(document), None, None) => {
            Document::parse(document).map(|document| document.digest()).map_err(|_| Fault::InitData)
        }
        (None, Some(algorithm), Some(hex)) => init_data::digest(algorithm, hex).map_err(|_| Fault::InitData),
        _ => Err(Fault::InitData),
    }
}

fn broker_keys(sent: &[String]) -> Result<Vec<KeyId>, Fault> {
    if !(1..=MAX_BROKER_KEYS).contains(&sent.len()) {
        return Err(Fault::BrokerKeys);
    }
    sent.iter().map(|text| KeyId::from_text(text).ok_or(Fault::BrokerKeys)).collect()
}

fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, Fault> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Fault::Base64(field))
}

/// A report is bound to the whole request, and to the challenge as the broker makes it.
#[derive(Debug)]
struct AskBinding {
    ask: Ask,
    session_id: SessionId,
}

impl Binding for AskBinding {
    fn report_data(&self, nonce: &Nonce) -> [u8; 64] {
        Ask { challenge: challenge::text(&self.session_id, nonce), ..self.ask.clone() }.hash().0
    }
}
