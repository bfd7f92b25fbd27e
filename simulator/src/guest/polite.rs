//! A client that follows HTTP.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::{Error, Machine, Said, State};
use crate::http::Response;

/// Its User-Agent.
pub const USER_AGENT: &str = "polite-guest/1";

/// A guest that speaks libkrun's protocol well: it has a User-Agent, sends one cookie, believes the status
/// and parses JSON. Any status but 200 is [`Error::Refused`].
#[derive(Debug)]
pub struct PoliteGuest {
    /// Its knowledge.
    pub state: State,
}

impl PoliteGuest {
    /// A guest that asks the broker at `url` for the passphrase of `workload_id`.
    pub fn new(url: &str, workload_id: &str, machine: Machine) -> Result<Self, Error> {
        Ok(Self { state: State::new(url, workload_id, machine)? })
    }

    /// Runs all three steps and returns the passphrase.
    pub async fn boot(&mut self) -> Result<Vec<u8>, Error> {
        self.auth().await?;
        self.attest().await?;
        self.key().await
    }

    /// Asks for a challenge.
    pub async fn auth(&mut self) -> Result<Response, Error> {
        let response = self.request("POST", "auth", Some(&self.state.auth_body())).await?;
        let json: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let nonce = json.get("nonce").and_then(|nonce| nonce.as_str());
        let nonce = nonce.ok_or_else(|| Error::NoNonce(Said::from(&response)))?.to_owned();
        let session_id = response.header("set-cookie").into_iter().find_map(|cookie| {
            let pair = cookie.split(';').next()?.trim();
            pair.strip_prefix("session_id=").map(str::to_owned)
        });
        self.state.session_id = Some(session_id.ok_or(Error::NoCookie)?);
        self.state.nonce = Some(nonce);
        Ok(response)
    }

    /// Sends the evidence.
    pub async fn attest(&self) -> Result<Response, Error> {
        self.attest_with(&self.state.attest_body()?).await
    }

    /// Sends `body` to attest.
    pub async fn attest_with(&self, body: &str) -> Result<Response, Error> {
        self.request("POST", "attest", Some(body)).await
    }

    /// Asks for the passphrase and decrypts it.
    pub async fn key(&self) -> Result<Vec<u8>, Error> {
        let response = self.key_response().await?;
        let bad_key = |_| Error::BadKey(Said::from(&response));
        let hex: String = serde_json::from_slice(&response.body).map_err(|_| bad_key(()))?;
        let ciphertext = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| bad_key(()))?;
        self.state.key.decrypt(&ciphertext)
    }

    /// Asks for the passphrase: the response as it is, if its status is 200.
    pub async fn key_response(&self) -> Result<Response, Error> {
        self.request("GET", &format!("key/{}", self.state.workload_id), None).await
    }

    async fn request(&self, method: &str, step: &str, body: Option<&str>) -> Result<Response, Error> {
        let endpoint = &self.state.endpoint;
        let mut head = format!(
            "{method} {}/kbs/v0/{step} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n",
            endpoint.base, endpoint.authority
        );
        if let Some(session_id) = self.state.session_id.as_ref().filter(|_| step != "auth") {
            head += &format!("Cookie: session_id={session_id}\r\n");
        }
        if let Some(body) = body {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        let response = self.state.send(&format!("{head}\r\n{}", body.unwrap_or_default())).await?;
        if response.status == 200 { Ok(response) } else { Err(Error::Refused(Said::from(&response))) }
    }
}
