//! The parts of a request that every handler needs: its body, its session, the id in its path.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use crate::{dialect::Dialect, ids::SessionId, problem::Problem, wire::cookie};

/// Longest body, in bytes. An attestation with a full certificate chain has about 20 KiB.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Longest body of evidence, in bytes: a report and a chain in JSON's numbers, and the init data of a pod
/// with the policy of its agent.
pub const EVIDENCE_LIMIT: usize = 512 * 1024;

/// Longest body of a registration by reference values, in bytes: 16 resources of 4,000 bytes, a module,
/// reference values and queries, and room for what JSON escapes.
pub const REFERENCE_VALUES_LIMIT: usize = 192 * 1024;

/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The JSON body of `request`, of at most [`BODY_LIMIT`].
pub(super) async fn json(request: Request) -> Result<Zeroizing<Vec<u8>>, Problem> {
    json_within(BODY_LIMIT, request).await
}

/// The JSON body of `request`, of at most `limit` bytes.
pub(super) async fn json_within(limit: usize, request: Request) -> Result<Zeroizing<Vec<u8>>, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::MediaType);
    }
    body_within(limit, request.into_body()).await
}

/// All of `body`, of at most `limit` bytes.
///
/// It may hold a passphrase, so it is gathered in one buffer of its own, which is zeroed after use. The bytes
/// that the connection itself has read ahead are out of reach.
pub async fn body_within(limit: usize, body: Body) -> Result<Zeroizing<Vec<u8>>, Problem> {
    tokio::time::timeout(BODY_TIMEOUT, collect(limit, body)).await.map_err(|_| Problem::Timeout)?
}

async fn collect(limit: usize, mut body: Body) -> Result<Zeroizing<Vec<u8>>, Problem> {
    // A declared length that is too long is refused before a byte of it is read.
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(Problem::TooLarge(limit));
    }
    // All the room at once: growing would leave copies behind. It is zeroed after use, so it is no more than
    // a declared length needs.
    let room = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(room.unwrap_or(limit)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::Truncated)?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(Problem::TooLarge(limit));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// Whether the Content-Type is application/json. Parameters change nothing: JSON is UTF-8 (RFC 8259, 8.1).
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// The session that `headers` name, and the dialects in which they may.
pub(super) fn session(headers: &HeaderMap) -> Result<(Vec<Dialect>, SessionId), Problem> {
    cookie::session(headers)?.ok_or(Problem::NoCookie)
}

/// The session that `headers` name in `dialect`. One of another dialect is none.
pub(super) fn session_of(dialect: Dialect, headers: &HeaderMap) -> Result<SessionId, Problem> {
    match session(headers)? {
        (found, id) if found.contains(&dialect) => Ok(id),
        _ => Err(Problem::NoCookie),
    }
}
