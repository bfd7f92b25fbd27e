//! `keybroker keys list`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    challenge::Challenges,
    keyring::{Keyring, Purpose},
};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    operator::StoreArgs,
    table::{self, Columns, time},
};

/// List the broker's own keys: their numbers and times, never the keys
///
/// A key is `used` for what the broker makes now. It is `next` until its time comes. After that an older key
/// is honoured for as long as a challenge and a session can last: what was made under it still counts. Then
/// it is `over`.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker keys list
  keybroker keys list --session-ttl 3600 --json
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
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
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
    used_since: Timestamp,
    state: KeyState,
    /// Until when what was made under it counts; `None` while it has no successor.
    honoured_until: Option<Timestamp>,
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
        let used = ring.current(now).map(|key| key.number);
        let honoured: Vec<_> = ring.honoured(now, honoured_for).map(|key| key.number).collect();
        let successors = ring.keys.iter().skip(1).map(Some).chain([None]);
        let keys = ring.keys.iter().zip(successors).map(|(key, successor)| KeySummary {
            number: key.number,
            made_at: key.made_at,
            // A first key counts for clocks that are behind, too.
            used_since: key.from.max(key.made_at),
            state: match key.number {
                _ if key.from > now => KeyState::Next,
                number if used == Some(number) => KeyState::Used,
                number if honoured.contains(&number) => KeyState::Honoured,
                _ => KeyState::Over,
            },
            honoured_until: successor.and_then(|next| next.from.checked_add(honoured_for).ok()),
        });
        Self { ring: purpose, due: ring.is_due(now), keys: keys.collect() }
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
            let (made_at, used_since) = (time(key.made_at), time(key.used_since));
            vec![self.ring.to_string(), key.number.to_string(), made_at, used_since, state]
        })
    }
}

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
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
        anstream::eprintln!("{ring}: {told} broker makes one when it needs it");
    }
    let rows = rings.iter().flat_map(RingSummary::rows);
    Columns::new(&["ring", "number", "made", "used since", "state"]).print(rows)?;
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
