//! libkrun's SEV-SNP client, a C program over libcurl, which distributions shipped up to libkrun 1.16.0 with
//! libkrunfw 4.10.0. This one sends the same bytes and has the same flaws when it reads.

use data_encoding::HEXUPPER_PERMISSIVE;

use super::{Error, Machine, Said, State};
use crate::http::Response;

/// Size of the buffer for auth's body, its terminating NUL included.
const CHALLENGE_BUFFER: usize = 8 * 1024;
/// Size of the buffer for attest's body.
const ERROR_BUFFER: usize = 200;
/// Size of the buffer for the key's URL, and of the one for the cookie's value.
const URL_BUFFER: usize = 100;

/// A guest with libkrun's client. It sends no User-Agent, ignores every status, and copies what it receives
/// into buffers of fixed size. Where a buffer would overrun, this returns [`Error::Crash`] or
/// [`Error::UrlOverflow`].
#[derive(Debug)]
pub struct KrunGuest {
    /// Its knowledge.
    pub state: State,
    /// The previous response, which is still in memory behind the next body.
    stale: Vec<u8>,
}

impl KrunGuest {
    /// A guest that asks the broker at `url` for the passphrase of `workload_id`.
    pub fn new(url: &str, workload_id: &str, machine: Machine) -> Result<Self, Error> {
        Ok(Self { state: State::new(url, workload_id, machine)?, stale: Vec::new() })
    }

    /// Runs all three steps and returns the passphrase.
    pub async fn boot(&mut self) -> Result<Vec<u8>, Error> {
        self.auth().await?;
        self.attest().await?;
        self.key().await
    }

    /// Asks for a challenge.
    pub async fn auth(&mut self) -> Result<Response, Error> {
        let response = self.post("auth", &self.state.auth_body()).await?;
        if c_string(&response.body, &[]).len() >= CHALLENGE_BUFFER {
            return Err(Error::Crash("the challenge overruns its buffer"));
        }
        let nonce = nonce(&response.text()).ok_or_else(|| Error::NoNonce(Said::from(&response)))?;
        let session_id =
            response.header("set-cookie").into_iter().find_map(session_id).ok_or(Error::NoCookie)?;
        if session_id.len() >= URL_BUFFER {
            return Err(Error::Crash("the cookie overruns its buffer"));
        }
        self.state.nonce = Some(nonce);
        self.state.session_id = Some(session_id);
        Ok(response)
    }

    /// Sends the evidence. An empty body means success, whichever status comes with it.
    pub async fn attest(&mut self) -> Result<Response, Error> {
        self.attest_with(&self.state.attest_body()?).await
    }

    /// Sends `body` to attest.
    pub async fn attest_with(&mut self, body: &str) -> Result<Response, Error> {
        let response = self.post("attest", body).await?;
        match c_string(&response.body, &[]).len() {
            0 => Ok(response),
            1..ERROR_BUFFER => Err(Error::Refused(Said::from(&response))),
            _ => Err(Error::Crash("the error message overruns its buffer")),
        }
    }

    /// Asks for the passphrase and decrypts it.
    pub async fn key(&mut self) -> Result<Vec<u8>, Error> {
        let url = format!("{}/kbs/v0/key/{}", self.state.url, self.state.workload_id);
        if url.len() >= URL_BUFFER {
            return Err(Error::UrlOverflow(url.len()));
        }
        let path = target(&url);
        let response = self.state.send(&(self.head("GET", path, true) + "\r\n")).await?;
        // The client reads the text of the first write only, and each chunk would be a write.
        let bad_key = || Error::BadKey(Said::from(&response));
        if response.chunked {
            return Err(bad_key());
        }
        // Only a NUL ends the text. If the body has none, the text goes on with the bytes that were in memory
        // before.
        let text = c_string(&response.body, &self.stale);
        if response.body.len().min(text.len()) <= 2 {
            return Err(Error::Crash("it cuts a byte off either end of fewer than three"));
        }
        let hex = text.get(1..text.len() - 1).unwrap_or_default();
        let ciphertext = HEXUPPER_PERMISSIVE.decode(hex).map_err(|_| bad_key())?;
        self.stale = response.raw;
        self.state.key.decrypt(&ciphertext)
    }

    async fn post(&mut self, step: &str, body: &str) -> Result<Response, Error> {
        let url = format!("{}/kbs/v0/{step}", self.state.url);
        let head = self.head("POST", target(&url), step != "auth");
        let response =
            self.state.send(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await?;
        self.stale.clone_from(&response.raw);
        Ok(response)
    }

    /// The head of a request without its end. It has the cookie twice: libcurl's cookie engine puts it behind
    /// the host, and the client adds a field of its own.
    fn head(&self, method: &str, target: &str, with_cookie: bool) -> String {
        let session_id = self.state.session_id.as_ref().filter(|_| with_cookie);
        let cookie = session_id.map(|value| format!("Cookie: session_id={value}\r\n")).unwrap_or_default();
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n{cookie}Accept: application/json\r\n\
             Content-Type: application/json; charset=utf-8\r\n{cookie}",
            self.state.endpoint.authority
        )
    }
}

/// The path that libcurl asks for: everything behind the host, unchanged. A slash at the end of the image's
/// URL stays.
fn target(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

/// The text that C sees in `memory` followed by `behind`: up to the first NUL.
fn c_string(memory: &[u8], behind: &[u8]) -> Vec<u8> {
    memory.iter().chain(behind).copied().take_while(|byte| *byte != 0).collect()
}

/// The value of the cookie `session_id`, if this field sets it and libcurl keeps it. Over plain http, libcurl
/// ignores a `Secure` cookie.
fn session_id(set_cookie: &str) -> Option<String> {
    let mut parts = set_cookie.split(';').map(str::trim);
    let value = parts.next()?.strip_prefix("session_id=")?;
    let secure = parts.any(|attribute| attribute.eq_ignore_ascii_case("secure"));
    (!secure).then(|| value.to_owned())
}

/// The value of the first string that begins with `nonce`, as it stands: escapes are not resolved.
fn nonce(json: &str) -> Option<String> {
    let (_, rest) = json.split_once("\"nonce")?;
    let (_, rest) = rest.split_once('"')?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(rest.split_once('"')?.0.to_owned())
}
