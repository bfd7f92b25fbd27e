//! keybroker's guest. keybroker registers reference values: the guest names no workload, its HOST_DATA
//! selects one.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use super::{Error, Machine, Said, State};
use crate::http::Response;

/// A guest that was launched with HOST_DATA from a registration. It believes the status and parses JSON; any
/// status but 200 is [`Error::Refused`].
#[derive(Debug)]
pub struct KeybrokerGuest {
    /// Its knowledge. The guest does not use the workload's id.
    pub state: State,
}

impl KeybrokerGuest {
    /// A guest of the broker at `url`.
    pub fn new(url: &str, machine: Machine) -> Result<Self, Error> {
        Ok(Self { state: State::new(url, "", machine)? })
    }

    /// Runs all three steps and returns the resource `name`.
    pub async fn boot(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        self.auth().await?;
        self.attest().await?;
        self.resource(name).await
    }

    /// The body of auth.
    pub fn auth_body(&self) -> &'static str {
        r#"{"version":"0.1.0","tee":"snp","extra-params":""}"#
    }

    /// Asks for a challenge.
    pub async fn auth(&mut self) -> Result<Response, Error> {
        let response = self.request("POST", "auth", Some(self.auth_body())).await?;
        let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let nonce = json.get("nonce").and_then(Value::as_str);
        let nonce = nonce.ok_or_else(|| Error::NoNonce(Said::from(&response)))?.to_owned();
        let session_id = response.header("set-cookie").into_iter().find_map(|cookie| {
            let pair = cookie.split(';').next()?.trim();
            pair.strip_prefix("kbs-session-id=").map(str::to_owned)
        });
        self.state.session_id = Some(session_id.ok_or(Error::NoCookie)?);
        self.state.nonce = Some(nonce);
        Ok(response)
    }

    /// The body of attest.
    pub fn attest_body(&self) -> Result<String, Error> {
        let evidence = json!({"report": HEXLOWER.encode(&self.state.report()?), "gen": "milan"});
        let (n, e) = (self.state.key.modulus(), self.state.key.exponent());
        let key = json!({"kty": "RSA", "alg": "RSA", "n": n, "e": e});
        Ok(json!({"tee-pubkey": key, "tee-evidence": evidence.to_string()}).to_string())
    }

    /// Sends the evidence.
    pub async fn attest(&self) -> Result<Response, Error> {
        self.attest_with(&self.attest_body()?).await
    }

    /// Sends `body` to attest.
    pub async fn attest_with(&self, body: &str) -> Result<Response, Error> {
        self.request("POST", "attest", Some(body)).await
    }

    /// Asks for a resource and decrypts it.
    pub async fn resource(&self, name: &str) -> Result<Vec<u8>, Error> {
        let response = self.request("GET", &format!("resource/{name}"), None).await?;
        self.open(&response).ok_or_else(|| Error::BadKey(Said::from(&response)))?
    }

    /// `ciphertext` in hex where the other members are empty; in full, a JWE.
    fn open(&self, response: &Response) -> Option<Result<Vec<u8>, Error>> {
        let jwe: Value = serde_json::from_slice(&response.body).ok()?;
        let member = |name: &str| jwe.get(name)?.as_str();
        let ciphertext = member("ciphertext")?;
        if member("protected")?.is_empty() {
            return Some(self.state.key.decrypt(&HEXLOWER.decode(ciphertext.as_bytes()).ok()?));
        }
        let decode = |name| BASE64URL_NOPAD.decode(member(name)?.as_bytes()).ok();
        let (key, iv) = (decode("encrypted_key")?, decode("iv")?);
        let sealed = [decode("ciphertext")?, decode("tag")?].concat();
        Some(self.state.key.decrypt_jwe(member("protected")?, &key, &iv, sealed))
    }

    async fn request(&self, method: &str, step: &str, body: Option<&str>) -> Result<Response, Error> {
        let endpoint = &self.state.endpoint;
        let mut head = format!("{method} {}/kbs/v0/{step} HTTP/1.1\r\n", endpoint.base);
        if let Some(session_id) = self.state.session_id.as_ref().filter(|_| step != "auth") {
            head += &format!("cookie: kbs-session-id={session_id}\r\n");
        }
        if body.is_some() {
            head += "content-type: application/json\r\n";
        }
        head += &format!("accept: */*\r\nhost: {}\r\n", endpoint.authority);
        if let Some(body) = body {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let response = self.state.send(&format!("{head}\r\n{}", body.unwrap_or_default())).await?;
        if response.status == 200 { Ok(response) } else { Err(Error::Refused(Said::from(&response))) }
    }
}
