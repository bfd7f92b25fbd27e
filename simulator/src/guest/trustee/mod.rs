//! The guests of kata and Confidential Containers: Trustee's protocol, in the four versions that are in the
//! field.
//!
//! | file | what it knows |
//! |---|---|
//! | [`version`](KbsVersion) | the differences from version to version |
//! | [`shape`](Shape), [`evidence`] | how a report and certificates are written in JSON |
//! | [`vtpm`](Vtpm) | how an Azure confidential VM writes them |
//! | [`message`](Attestation) | the bodies of auth and attest, and what a report binds |
//! | [`key`](TrusteeKey), [`jwe`](Jwe) | the guest's key, and how it opens a resource |
//! | [`client`](Pace) | when the client tries again |
//! | [`transcript`](Transcript) | what was said, for those who check it against the client's own types |
//!
//! Each step can be called by itself, and with any body. [`TrusteeGuest::attestation`] gives the message that
//! attest would send, whose parts a test can alter before it is written.

mod client;
mod evidence;
mod init_data;
mod json;
mod jwe;
mod key;
mod message;
mod shape;
mod transcript;
mod version;
mod vtpm;

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

pub use client::Pace;
pub use evidence::{CertTable, CertType, evidence};
pub use init_data::InitData;
pub use jwe::Jwe;
pub use key::{KeyForm, TrusteeKey};
pub use message::{Attestation, Auth, Jwk};
pub use shape::Shape;
pub use transcript::{Exchange, TRANSCRIPTS, Transcript};
pub use version::{HashAlgorithm, JweForm, KbsVersion};
pub use vtpm::{Vtpm, VtpmShape};

use super::{Error, Machine, Said};
use crate::{
    http::{self, Endpoint, Response},
    report::REPORT_LEN,
};

/// Its User-Agent.
pub const TRUSTEE_USER_AGENT: &str = "attestation-agent-kbs-client/0.1.0";

/// The credential that the guest shows to get a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The session's cookie, as kbs-client and trustee-attester do.
    Cookie,
    /// `Authorization: Bearer` with the token and no cookie, as the CDH of kata does.
    Bearer,
}

impl Credential {
    /// Both.
    pub const ALL: [Credential; 2] = [Self::Cookie, Self::Bearer];
}

/// A guest with Trustee's client. It believes the status and parses JSON; any status but 200 is
/// [`Error::Refused`].
#[derive(Debug)]
pub struct TrusteeGuest {
    /// The machine on which it runs. HOST_DATA is in its fields.
    pub machine: Machine,
    /// The version that it speaks.
    pub version: KbsVersion,
    /// How it writes its report.
    pub shape: Shape,
    /// Its key. One client keeps it over all handshakes.
    pub key: TrusteeKey,
    /// Whether its build sorts the members of evidence that is no string, as `serde_json` does unless another
    /// crate of the build asks it to keep their order.
    pub sorts: bool,
    /// The guest runs in an Azure confidential VM, and sends its paravisor's blob. Then neither `shape` nor
    /// `certificates` is used.
    pub vtpm: Option<Vtpm>,
    /// The host's certificate table. `None` is `null`.
    pub certificates: Option<CertTable>,
    /// The init data document that it sends, from 0.4.0 on.
    pub init_data: Option<InitData>,
    /// The names of the hash algorithms that it offers, from 0.1.1 on.
    pub offered: Vec<String>,
    /// The value of the cookie.
    pub session_id: Option<String>,
    /// The nonce as text.
    pub nonce: Option<String>,
    /// The hash algorithm of REPORT_DATA.
    pub hash: HashAlgorithm,
    /// The token that attest gave.
    pub token: Option<String>,
    /// How long each request may take.
    pub deadline: Duration,
    /// Every request so far, with its answer.
    pub exchanges: Vec<Exchange>,
    endpoint: Endpoint,
}

impl TrusteeGuest {
    /// A guest of the broker at `url`, which may end with `/w/WORKLOAD`. Its shape is the one that its
    /// version's guests write most often, and it sends the certificates that its machine has.
    pub fn new(url: &str, version: KbsVersion, form: KeyForm, machine: Machine) -> Result<Self, Error> {
        let certificates = machine.is_in_cloud().then(|| CertTable::leaf(&machine));
        Ok(Self {
            machine,
            version,
            shape: if version == KbsVersion::V0_4_0 { Shape::C } else { Shape::A },
            key: TrusteeKey::generate(form),
            sorts: true,
            vtpm: None,
            certificates,
            init_data: None,
            offered: ["sha256", "sha384", "sha512", "sm3"].map(str::to_owned).to_vec(),
            session_id: None,
            nonce: None,
            hash: HashAlgorithm::Sha384,
            token: None,
            deadline: Duration::from_secs(60),
            exchanges: Vec::new(),
            endpoint: Endpoint::parse(url).ok_or_else(|| Error::Url(url.to_owned()))?,
        })
    }

    /// The same guest, launched with this init data: HOST_DATA binds it, and a guest of 0.4.0 sends it.
    pub fn launched_with(mut self, init_data: InitData) -> Self {
        self.machine.fields.host_data = init_data.host_data();
        self.init_data = Some(init_data);
        self
    }

    /// The request for a challenge.
    pub fn auth_request(&self) -> Auth {
        Auth {
            version: self.version.text().to_owned(),
            tee: self.vtpm.as_ref().map_or("snp", |vtpm| vtpm.tee.as_str()).to_owned(),
            offered: self.version.offers_hashes().then(|| self.offered.clone()),
        }
    }

    /// Asks for a challenge.
    pub async fn auth(&mut self) -> Result<Response, Error> {
        self.auth_with(&self.auth_request().body()).await
    }

    /// Sends `body` to auth.
    pub async fn auth_with(&mut self, body: &str) -> Result<Response, Error> {
        let response = self.post("auth", body).await?;
        let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        // The client's type has both members, and neither may be missing.
        let (nonce, extra) = (json.get("nonce").and_then(Value::as_str), json.get("extra-params"));
        let (Some(nonce), Some(extra)) = (nonce, extra) else {
            return Err(Error::NoNonce(Said::from(&response)));
        };
        let selected = extra.get("selected-hash-algorithm").filter(|_| self.version.offers_hashes());
        self.hash = match selected {
            None => HashAlgorithm::Sha384,
            Some(selected) => selected
                .as_str()
                .and_then(HashAlgorithm::named)
                .ok_or_else(|| Error::NoNonce(Said::from(&response)))?,
        };
        self.nonce = Some(nonce.to_owned());
        let cookies = response.header("set-cookie");
        let session_id = cookies.into_iter().find_map(|cookie| session_id(cookie, &self.endpoint.base));
        self.session_id = Some(session_id.ok_or(Error::NoCookie)?);
        Ok(response)
    }

    /// The message that attest sends: a report of this machine for the nonce at hand, bound to this guest's
    /// key.
    pub fn attestation(&self) -> Result<Attestation, Error> {
        self.attestation_for(self.key.jwk().clone())
    }

    /// The same message with another key, which the report binds.
    pub fn attestation_for(&self, tee_pubkey: Jwk) -> Result<Attestation, Error> {
        let mut message = Attestation {
            version: self.version,
            nonce: self.nonce.clone().ok_or(Error::NoChallenge)?,
            tee_pubkey,
            evidence: String::new(),
            additional_evidence: String::new(),
            init_data: self.init_data.as_ref().map(|init_data| init_data.text.clone()),
        };
        let report_data = message.report_data(self.hash);
        let written = match &self.vtpm {
            Some(vtpm) => vtpm.evidence(&self.machine, report_data),
            None => self.evidence(&self.machine.report(report_data))?,
        };
        let sorts = self.sorts && !self.version.evidence_in_string();
        message.evidence = if sorts { json::sorted(&written) } else { written };
        Ok(message)
    }

    /// The JSON text of the evidence with this report, as the structures write it.
    pub fn evidence(&self, report: &[u8; REPORT_LEN]) -> Result<String, Error> {
        let report = self.shape.write(report).ok_or(Error::Unsayable)?;
        Ok(evidence(&report, self.certificates.as_ref()))
    }

    /// Sends the evidence.
    pub async fn attest(&mut self) -> Result<Response, Error> {
        self.attest_with(&self.attestation()?.body()).await
    }

    /// Sends `body` to attest.
    pub async fn attest_with(&mut self, body: &str) -> Result<Response, Error> {
        let response = self.post("attest", body).await?;
        let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = json.get("token").and_then(Value::as_str).filter(|token| expiry(token).is_some());
        let token = token.ok_or_else(|| Error::NoToken(Said::from(&response)))?;
        self.token = Some(token.to_owned());
        Ok(response)
    }

    /// Asks for the resource `repository/type/tag` once, and opens it.
    pub async fn resource(&mut self, path: &str, credential: Credential) -> Result<Vec<u8>, Error> {
        let response = self.resource_response(path, credential).await?;
        let jwe = Jwe::parse(&response.body).ok_or_else(|| Error::BadKey(Said::from(&response)))?;
        jwe.open(self.version.jwe(), &self.key)
    }

    /// Asks for a resource once: the response as it is, if its status is 200.
    pub async fn resource_response(&mut self, path: &str, credential: Credential) -> Result<Response, Error> {
        let token = self.token.as_ref().filter(|_| credential == Credential::Bearer);
        let header = match (credential, token) {
            (Credential::Bearer, None) => return Err(Error::NoChallenge),
            (Credential::Bearer, Some(token)) => format!("authorization: Bearer {token}\r\n"),
            (Credential::Cookie, _) => self.cookie(),
        };
        self.get(&format!("resource/{path}"), &header).await
    }

    /// A GET below `/kbs/v0/` with these header lines.
    pub async fn get(&mut self, step: &str, headers: &str) -> Result<Response, Error> {
        self.send("GET", step, headers, None).await
    }

    async fn post(&mut self, step: &str, body: &str) -> Result<Response, Error> {
        // The client's cookie store sends the cookie of an earlier handshake to auth, too.
        let headers = format!("content-type: application/json\r\n{}", self.cookie());
        self.send("POST", step, &headers, Some(body)).await
    }

    fn cookie(&self) -> String {
        self.session_id.as_ref().map(|id| format!("cookie: kbs-session-id={id}\r\n")).unwrap_or_default()
    }

    async fn send(
        &mut self,
        method: &str,
        step: &str,
        headers: &str,
        body: Option<&str>,
    ) -> Result<Response, Error> {
        let Endpoint { authority, base, .. } = &self.endpoint;
        let length = body.map(|body| format!("content-length: {}\r\n", body.len())).unwrap_or_default();
        let request = format!(
            "{method} {base}/kbs/v0/{step} HTTP/1.1\r\n{headers}user-agent: {TRUSTEE_USER_AGENT}\r\n\
             accept: */*\r\nhost: {authority}\r\n{length}\r\n{}",
            body.unwrap_or_default()
        );
        let response = http::exchange(authority, request.as_bytes(), self.deadline).await?;
        self.exchanges.push(Exchange {
            step: step.to_owned(),
            request: body.map(str::to_owned),
            status: response.status,
            response: response.text(),
        });
        if response.status == 200 { Ok(response) } else { Err(Error::Refused(Said::from(&response))) }
    }
}

/// The session id in a `Set-Cookie`, if the client's cookie store sends it below `base` over plain http.
fn session_id(cookie: &str, base: &str) -> Option<String> {
    let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
    let sent = attributes.split(';').map(str::trim).all(|attribute| match attribute.split_once('=') {
        Some((name, path)) if name.eq_ignore_ascii_case("path") => {
            format!("{base}/kbs/v0/").starts_with(&format!("{}/", path.trim_end_matches('/')))
        }
        _ => !attribute.eq_ignore_ascii_case("secure"),
    });
    pair.trim().strip_prefix("kbs-session-id=").filter(|_| sent).map(str::to_owned)
}

/// `nbf` (zero if there is none) and `exp` of a token: all that the client reads of it.
fn expiry(token: &str) -> Option<(i64, i64)> {
    let claims = claims(token)?;
    let nbf = claims.get("nbf").map_or(Some(0), Value::as_i64)?;
    Some((nbf, claims.get("exp")?.as_i64()?))
}

/// The claims of a token, unverified: the second of its three parts.
pub fn claims(token: &str) -> Option<Value> {
    let [_, claims, _] = token.split('.').collect::<Vec<_>>().try_into().ok()?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?).ok()
}
