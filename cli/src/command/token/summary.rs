//! A token as `token list` and `token show` print it.

use jiff::Timestamp;
use keybroker_common::{
    ids::{TokenId, WorkloadId},
    revocation::Revocation,
    token::Token,
    workload::build_window_is_over,
};
use serde::Serialize;

/// A token without what makes it one.
#[derive(Debug, Serialize)]
pub(super) struct TokenSummary {
    pub(super) id: TokenId,
    pub(super) state: &'static str,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The only workload that it was made for.
    pub(super) made_for: Option<WorkloadId>,
    /// The workload that its first use bound it to.
    pub(super) bound_to: Option<WorkloadId>,
    pub(super) bound_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) note: Option<String>,
    /// The operator who made it, where the row tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_by: Option<String>,
    /// The revocation, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revocation: Option<Revocation>,
}

impl TokenSummary {
    /// `token` as it is at `now`.
    pub(super) fn of(token: Token, now: Timestamp) -> Self {
        let state = state(&token, now);
        let revocation = token.revoked_by().cloned();
        let Token { id, created_at, expires_at, note, made_for, bound, revoked_at, created_by, .. } = token;
        let (bound_to, bound_at) = bound.map(|bound| (bound.workload_id, bound.at)).unzip();
        Self {
            id,
            state,
            created_at,
            expires_at,
            made_for,
            bound_to,
            bound_at,
            revoked_at,
            note,
            created_by,
            revocation,
        }
    }

    /// Whether a build may still use it.
    pub(super) fn counts(&self) -> bool {
        [UNUSED, USED].contains(&self.state)
    }
}

const UNUSED: &str = "unused";
const USED: &str = "used";

fn state(token: &Token, now: Timestamp) -> &'static str {
    match &token.bound {
        _ if token.revoked_at.is_some() => "revoked",
        _ if token.expires_at <= now => "expired",
        Some(bound) if build_window_is_over(bound.at, now) => "window over",
        Some(_) => USED,
        None => UNUSED,
    }
}
