//! `keybroker keys list`.

use std::time::Duration;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    challenge::Challenges,
    keyring::{Keyring, PublicHalf, Purpose},
};
use serde::Serialize;

use super::signing::{PublicKey, ValidityArgs};
use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, WrappingArgs, signing_ring},
    table::{self, Columns, NONE, optional_time, time},
};

/// List the broker's own keys: their numbers and times, never the keys
///
/// A key is `used` for what the broker makes now. It is `next` until its time comes. After that an older key
/// is honoured for as long as a challenge and a session can last: what was made under it still counts. Then
/// it is `over`.
///
/// A signing key is `next` until `keybroker keys rotate signature`, and an older one is `honoured` until
/// `keybroker keys retire`: the broker signs with it for guests that do not know the newest. The column KEY
/// ID has the SHA-256 of its public half. For a key of the ring `result` it has the `kid` by which
/// attestation results and the JWK Set name the key. --document prints the public halves that a new init
/// data document names.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker keys list
  keybroker keys list --session-ttl 3600 --json
  keybroker keys list --document >>keybroker.toml
  keybroker keys list --aws --prefix keybroker

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    /// The broker's own --session-ttl, in seconds: it says how long an older key is honoured
    #[arg(
        long,
        env = "KEYBROKER_SESSION_TTL",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=86_400),
        value_name = "SECONDS"
    )]
    session_ttl: u32,
    /// Print the signing keys that a new init data document names, as lines for its file keybroker.toml
    #[arg(long, conflicts_with = "json")]
    document: bool,
    #[command(flatten)]
    validity: ValidityArgs,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wrapping: WrappingArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct KeyringListing {
    /// Version of this form.
    schema: u8,
    rings: Vec<RingSummary>,
}

/// A ring in a list.
#[derive(Debug, Serialize)]
struct RingSummary {
    ring: Purpose,
    /// Whether the broker makes a next key as soon as it looks.
    due: bool,
    keys: Vec<KeySummary>,
}

/// A key in a list.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct KeySummary {
    number: u8,
    made_at: Timestamp,
    /// `None` while nobody has used it.
    used_since: Option<Timestamp>,
    state: KeyState,
    /// Until when what was made under it counts; `None` while it has no successor.
    honoured_until: Option<Timestamp>,
    /// The public half of a key that signs.
    #[serde(flatten)]
    public: Option<Public>,
}

/// The public half of a key that signs, under the name that others know.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Public {
    /// As documents name it.
    Answers(PublicKey),
    /// As the JWK Set names it: `key_id` is its `kid`.
    Results { key_id: String, public_key: String },
}

impl Public {
    fn of(half: &PublicHalf) -> Self {
        match half {
            PublicHalf::Answers(key) => Self::Answers(PublicKey::of(key)),
            PublicHalf::Results(key) => Self::Results { key_id: key.kid(), public_key: key.to_string() },
        }
    }

    fn key_id(&self) -> &str {
        match self {
            Self::Answers(PublicKey { key_id, .. }) | Self::Results { key_id, .. } => key_id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum KeyState {
    Next,
    Used,
    Honoured,
    Over,
}

impl RingSummary {
    fn of(purpose: Purpose, ring: &Keyring, honoured_for: SignedDuration, now: Timestamp) -> Self {
        // No clock and no successor decides about a signing key.
        let (due, used, honoured_for) = match purpose {
            Purpose::Signature => (ring.keys.is_empty(), ring.signing().next_back(), SignedDuration::MAX),
            Purpose::Challenge | Purpose::Session | Purpose::Result => {
                (ring.is_due(now), ring.current(now), honoured_for)
            }
        };
        let used = used.map(|key| key.number);
        let honoured: Vec<_> = ring.honoured(now, honoured_for).map(|key| key.number).collect();
        let successors = ring.keys.iter().skip(1).map(Some).chain([None]);
        let keys = ring.keys.iter().zip(successors).map(|(key, successor)| KeySummary {
            number: key.number,
            made_at: key.made_at,
            // A first key counts for clocks that are behind, too.
            used_since: key.from.map(|from| from.max(key.made_at)),
            state: match key.number {
                number if used == Some(number) => KeyState::Used,
                _ if key.from.is_none_or(|from| from > now) => KeyState::Next,
                number if honoured.contains(&number) => KeyState::Honoured,
                _ => KeyState::Over,
            },
            honoured_until: successor.and_then(|next| next.from?.checked_add(honoured_for).ok()),
            public: key.public.as_ref().map(Public::of),
        });
        Self { ring: purpose, due, keys: keys.collect() }
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.keys.iter().map(|key| {
            let state = match (key.state, key.honoured_until) {
                (KeyState::Next, _) => "next".to_owned(),
                (KeyState::Used, _) => "used".to_owned(),
                (KeyState::Honoured, Some(until)) => format!("honoured until {}", time(until)),
                (KeyState::Honoured, None) => "honoured".to_owned(),
                (KeyState::Over, _) => "over".to_owned(),
            };
            let (made_at, used_since) = (time(key.made_at), optional_time(key.used_since));
            let key_id = key.public.as_ref().map_or(NONE, Public::key_id).to_owned();
            vec![self.ring.to_string(), key.number.to_string(), made_at, used_since, state, key_id]
        })
    }
}

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    if args.document {
        let ring = signing_ring::checked(&operator, args.wrapping.key_file()).await?;
        let keys: Vec<_> = signing_ring::for_documents(&ring).collect();
        if keys.is_empty() {
            let error = anyhow!("there is no signing key yet");
            return Err(Failure::new(Exit::Failure, error)
                .hint(operator.place.advice("make the first with `keybroker keys prepare`")));
        }
        return args.validity.print(keys);
    }
    let lasts = Challenges::keys_last(Duration::from_secs(args.session_ttl.into()));
    let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
    let now = Timestamp::now();
    let mut rings = Vec::new();
    for purpose in Purpose::ALL {
        let stored = operator.store.keyring(purpose).await.map_err(|error| operator.failure(error))?;
        let ring = stored.map(|stored| stored.ring).unwrap_or_default();
        rings.push(RingSummary::of(purpose, &ring, lasts, now));
    }
    if args.json {
        table::json(&KeyringListing { schema: 1, rings })?;
        return Ok(Exit::Ok);
    }
    for RingSummary { ring, keys, .. } in rings.iter().filter(|ring| ring.due) {
        let told = if keys.is_empty() { "there is no key, the" } else { "the next key is due, and the" };
        say!("{ring}: {told} broker makes one when it needs it");
    }
    let rows = rings.iter().flat_map(RingSummary::rows);
    Columns::new(&["ring", "number", "made", "used since", "state", "key id"]).print(rows)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use keybroker_common::secret::WrappedSecret;

    use super::*;

    #[test]
    fn a_key_is_next_then_used_then_honoured_then_over() {
        let wrapped = || WrappedSecret { key_id: "k".to_owned(), ciphertext: vec![1] };
        let start: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let turned = start + Keyring::TURNS_AFTER;
        let ring = Keyring::default().with(wrapped(), start).with(wrapped(), turned);
        let lasts = SignedDuration::from_mins(11);
        let came = turned + Keyring::LEAD;
        let states = |now| {
            let summary = RingSummary::of(Purpose::Challenge, &ring, lasts, now);
            summary.keys.iter().map(|key| key.state).collect::<Vec<_>>()
        };
        assert_eq!(states(turned), [KeyState::Used, KeyState::Next]);
        assert_eq!(states(came), [KeyState::Honoured, KeyState::Used]);
        assert_eq!(states(came + lasts), [KeyState::Over, KeyState::Used]);
        let keys = RingSummary::of(Purpose::Challenge, &ring, lasts, came).keys;
        let ends: Vec<_> = keys.iter().map(|key| key.honoured_until).collect();
        assert_eq!(ends, [Some(came + lasts), None]);
    }
}
