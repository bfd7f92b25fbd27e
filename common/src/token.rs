//! Tokens: what lets a build register one workload for a short time.
//!
//! `buildah` leaves the URL that it was given in the image, credentials included. So a token is bound to the
//! first workload that it registers, and worth nothing once its build is over: when its time is up, when the
//! build window that its first use opened has ended, or when the first guest has attested as what it
//! registered.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    ids::{TokenId, WorkloadId},
    random::{RandomnessError, random},
    revocation::Revocation,
    workload::build_window_is_over,
};

/// A token as its holder has it: 14 characters of base64url without padding, 80 random bits.
///
/// None that is drawn begins with `-`, at a cost of less than a fortieth of a bit: a token in a command line
/// is never taken for an option, so no program answers to half of it, or repeats it in an error.
///
/// Anybody who knows it can register, so it is redacted from `Debug` and has no `Display`; no store and no
/// log ever holds it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TokenText([u8; Self::BYTES]);

impl TokenText {
    /// Length of a token's text, in characters.
    pub const LEN: usize = 14;
    /// Length of what it stands for, in bytes.
    const BYTES: usize = 10;

    /// The first six bits of those whose text begins with `-`.
    const HYPHEN: u8 = 62;

    /// Draws a new one.
    pub fn random() -> Result<Self, RandomnessError> {
        loop {
            let drawn = Self(random()?);
            if drawn.0[0] >> 2 != Self::HYPHEN {
                return Ok(drawn);
            }
        }
    }

    /// Reads a text: `None` unless it is exactly one that [`Self::expose`] may give.
    pub fn parse(text: &[u8]) -> Option<Self> {
        BASE64URL_NOPAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The text, for the one who asked for the token.
    pub fn expose(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Under what its row is kept.
    pub fn id(&self) -> TokenId {
        TokenId::of(&self.0)
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(redacted)")
    }
}

/// A token's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The row's key.
    pub id: TokenId,
    /// When an operator made it.
    pub created_at: Timestamp,
    /// First instant at which it no longer counts.
    pub expires_at: Timestamp,
    /// The operator's note beside it.
    pub note: Option<String>,
    /// The one workload that it may register, in the place of whatever is registered under that id.
    pub made_for: Option<WorkloadId>,
    /// The registration that its first use bound it to.
    pub bound: Option<Bound>,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// The operator who made it, where a release wrote that which knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_by: Option<String>,
    /// The revocation, likewise: see [`Self::revoked_by`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revocation: Option<Revocation>,
}

/// The first use of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The workload.
    pub workload_id: WorkloadId,
    /// When: the build window of that registration begins here.
    pub at: Timestamp,
}

/// Why a token lets nobody register what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dead {
    /// An operator revoked it.
    #[error("the token is revoked")]
    Revoked,
    /// Its time is up.
    #[error("the token's time is up")]
    Expired,
    /// It is for another workload, by its maker's word or by its first use.
    #[error("the token is another workload's")]
    Foreign,
    /// The build that it was used for had 30 minutes.
    #[error("the build window that the token's first use opened is over")]
    WindowOver,
    /// A guest has attested as the workload that it registered.
    #[error("a guest has attested as what the token registered")]
    Released,
    /// The registration that it wrote was deleted, or is another's by now.
    #[error("what the token registered was deleted or replaced by somebody else")]
    Gone,
}

impl Token {
    /// The revocation by which it is revoked, if it is and the row tells.
    pub fn revoked_by(&self) -> Option<&Revocation> {
        self.revocation.as_ref().filter(|revocation| revocation.is_of(self.revoked_at))
    }

    /// For how long one that has expired is still listed.
    pub const LISTED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

    /// First instant at which its row may go; `None`: never.
    pub fn unlisted_at(&self) -> Option<Timestamp> {
        self.expires_at.checked_add(Self::LISTED_FOR).ok()
    }

    /// Whether it may be used at `now` for `workload_id`, as far as its row can say: how it fares after its
    /// first use also hangs on what it registered.
    pub fn check(&self, workload_id: &WorkloadId, now: Timestamp) -> Result<(), Dead> {
        if self.revoked_at.is_some() {
            return Err(Dead::Revoked);
        }
        if self.expires_at <= now {
            return Err(Dead::Expired);
        }
        let others = |id: &WorkloadId| id != workload_id;
        if self.made_for.as_ref().is_some_and(others) {
            return Err(Dead::Foreign);
        }
        match &self.bound {
            Some(bound) if others(&bound.workload_id) => Err(Dead::Foreign),
            Some(bound) if build_window_is_over(bound.at, now) => Err(Dead::WindowOver),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp::constant(1_786_795_200, 0);

    fn id(text: &str) -> WorkloadId {
        WorkloadId::new(text).unwrap()
    }

    fn token() -> Token {
        Token {
            id: TokenText::random().unwrap().id(),
            created_at: BEGIN,
            expires_at: BEGIN + SignedDuration::from_hours(1),
            note: None,
            made_for: None,
            bound: None,
            revoked_at: None,
            created_by: None,
            revocation: None,
        }
    }

    #[test]
    fn a_token_is_read_from_its_14_characters_and_no_others() {
        let token = TokenText::random().unwrap();
        let text = token.expose();
        assert_eq!(text.len(), TokenText::LEN);
        assert_eq!(TokenText::parse(text.as_bytes()), Some(token.clone()));
        assert_ne!(TokenText::random().unwrap(), token);
        // The last character holds four bits too many: of the 16 that decode to the same bytes one is the
        // token's.
        for wrong in
            [&text[..13], &format!("{text}A"), "AAAAAAAAAAAAAB", "AAAAAAAAAAA+AA", "AAAAAAAAAAAAA=", ""]
        {
            assert_eq!(TokenText::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(TokenText::parse(b"AAAAAAAAAAAAAA").is_some());
    }

    #[test]
    fn no_token_that_is_drawn_looks_like_an_option() {
        // If `-` were as likely as the other 63 characters, one in 10^27 runs would not see it.
        for _ in 0..4_000 {
            assert!(!TokenText::random().unwrap().expose().starts_with('-'));
        }
        // One of an earlier release still counts.
        assert!(TokenText::parse(b"-AAAAAAAAAAAAA").is_some());
    }

    #[test]
    fn the_stored_and_shown_id_is_not_the_token() {
        let token = TokenText::random().unwrap();
        let id = token.id();
        assert_eq!(TokenId::parse(&id.to_string()), Some(id));
        for shown in [format!("{token:?}"), format!("{id:?} {id}"), id.principal()] {
            assert!(!shown.contains(&token.expose()), "{shown}");
        }
    }

    #[test]
    fn a_token_counts_until_the_second_it_expires() {
        let token = token();
        assert_eq!(token.check(&id("a"), token.expires_at - SignedDuration::from_secs(1)), Ok(()));
        assert_eq!(token.check(&id("a"), token.expires_at), Err(Dead::Expired));
    }

    #[test]
    fn each_limit_stops_a_token_by_itself() {
        let bound = |workload: &str, minutes| {
            let at = BEGIN - SignedDuration::from_mins(minutes);
            Token { bound: Some(Bound { workload_id: id(workload), at }), ..token() }
        };
        let rows = [
            (token(), Ok(())),
            (Token { made_for: Some(id("a")), ..token() }, Ok(())),
            (Token { made_for: Some(id("b")), ..token() }, Err(Dead::Foreign)),
            (Token { revoked_at: Some(BEGIN), ..token() }, Err(Dead::Revoked)),
            (bound("a", 29), Ok(())),
            (bound("a", 30), Err(Dead::WindowOver)),
            (bound("b", 0), Err(Dead::Foreign)),
        ];
        for (token, expected) in rows {
            assert_eq!(token.check(&id("a"), BEGIN), expected, "{token:?}");
        }
    }
}
