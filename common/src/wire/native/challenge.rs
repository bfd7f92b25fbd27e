//! `POST /v1/challenge`.

use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use keybroker_native::client;
use serde::Deserialize;

use super::super::{Invalid, Part, json};
use crate::{
    challenge::{Challenge, Claim, Nonce},
    ids::SessionId,
};

/// An empty object: the guest names its workload with its evidence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {}

/// Reads a request for a challenge.
pub fn challenge_request(body: &[u8]) -> Result<Claim, Invalid> {
    let Body {} = json::read(Part::Body, body)?;
    Ok(Claim::Later)
}

/// The answer's body.
pub fn challenge(challenge: &Challenge, ttl: Duration) -> Vec<u8> {
    let challenge = text(&challenge.session_id, &challenge.nonce);
    serde_json::to_vec(&client::Challenge { challenge, expires_in: ttl.as_secs() }).unwrap_or_default()
}

/// The one text that a challenge is to the guest: the session id, and the nonce in base64url.
pub(super) fn text(id: &SessionId, nonce: &Nonce) -> String {
    let nonce = BASE64.decode(nonce.expose().as_bytes()).unwrap_or_default();
    id.expose() + &BASE64URL_NOPAD.encode(&nonce)
}

/// The session id in a challenge. Its nonce is not looked at: the hash of the request decides about it, which
/// the broker computes with the nonce as it makes it anew.
pub(super) fn session_id(text: &str) -> Option<SessionId> {
    let (id, nonce) = text.split_at_checked(SessionId::HEAD_LEN)?;
    let nonce = BASE64URL_NOPAD.decode(nonce.as_bytes()).ok()?;
    let id = SessionId::parse(id).filter(|id| *id.claim() == Claim::Later)?;
    (nonce.len() == Nonce::LEN).then_some(id)
}
