//! `keybroker token create`.

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::Decision,
    config,
    http::guest_url::room_for_id,
    ids::{TokenId, WorkloadId},
    token::{Token, TokenText},
};
use serde::Serialize;

use crate::{
    counted::counted,
    exit::{Exit, Failure},
    note::note,
    operator::{StoreArgs, workload_id},
    table::{self, time},
    when,
};

/// Make a token for one build
///
/// The command prints the token once, and the store keeps only its hash. stdout gets the token and then the
/// URL for buildah's --attestation-url, a line each. Anybody who has the token can register one workload:
/// keep it out of logs.
///
/// The image contains the URL with the token, and krun's guest has 99 characters for the URL of its key:
/// stderr says how many are left for the workload id. With `keybroker relay --token-file` images contain no
/// token.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker token create --url http://127.0.0.1:8080
  keybroker token create --aws --url https://k.example.org --ttl 20m --note 'nightly build'
  To build an image again under an id that is registered:
      keybroker token create --workload-id billing-7f3a
  For the relay of a build host, in a file that nobody else can read:
      umask 077
      keybroker token create --aws >token

{}", Exit::TABLE))]
pub(super) struct CreateArgs {
    /// The time after which the token expires: 30m, 1h, up to 7d. It ends earlier, 30 minutes after its first
    /// use
    #[arg(long, default_value = "1h", value_parser = ttl, value_name = "DURATION")]
    ttl: SignedDuration,
    /// Make the token for this workload only, with the right to replace its registration
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload_id: Option<WorkloadId>,
    /// A note of up to 200 characters, which `token list` shows
    #[arg(long, value_parser = note, value_name = "TEXT")]
    note: Option<String>,
    /// The broker's base URL, as builds reach it
    #[arg(long, value_parser = base_url, value_name = "URL")]
    url: Option<String>,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Longest life of a token, which is for one build.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

fn base_url(text: &str) -> Result<String, &'static str> {
    let url = config::base_url(text)?;
    if url.contains('@') {
        Err("must hold no user and no password: the token takes their place")
    } else {
        Ok(url)
    }
}

fn ttl(text: &str) -> Result<SignedDuration, String> {
    match when::duration(text)? {
        ttl if ttl.is_zero() => Err("the token would expire at once".to_owned()),
        ttl if ttl > LONGEST => Err("a token may live for 7d at most".to_owned()),
        ttl => Ok(ttl),
    }
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Created<'a> {
    /// Version of this form.
    schema: u8,
    id: TokenId,
    token: &'a str,
    /// `None` without `--url`.
    url: Option<&'a str>,
    expires_at: Timestamp,
    workload_id: Option<&'a WorkloadId>,
    /// The number of bytes that krun's guest leaves for the workload id, with this URL in the image.
    room_for_id: Option<i64>,
}

pub(super) async fn run(args: &CreateArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let text = TokenText::random().map_err(|error| Failure::new(Exit::Failure, error))?;
    let now = Timestamp::now();
    let token = Token {
        id: text.id(),
        created_at: now,
        expires_at: now.checked_add(args.ttl).map_err(|_| anyhow!("the clock is out of range"))?,
        note: args.note.clone(),
        made_for: args.workload_id.clone(),
        bound: None,
        revoked_at: None,
        created_by: Some(operator.principal.clone()),
        revocation: None,
    };
    let mut audit = operator.record_of_token(Decision::TokenCreated, token.id);
    audit.workload_id.clone_from(&token.made_for);
    operator.store.put_token(&token, &audit).await.map_err(|error| operator.failure(error))?;

    let text = text.expose();
    let url = args.url.as_deref().map(|base| with_token(base, &text));
    let room = url.as_deref().map(|url| room_for_id(url.len()));
    // First: a token that cannot be printed can still be revoked.
    tell(&token, room);
    let revoke = operator.place.command("token revoke", &[&token.id.to_string()]);
    say!("to revoke it: {revoke}");
    if args.json {
        table::json(&Created {
            schema: 1,
            id: token.id,
            token: &text,
            url: url.as_deref(),
            expires_at: token.expires_at,
            workload_id: token.made_for.as_ref(),
            room_for_id: room,
        })?;
    } else {
        table::line(&text)?;
        url.as_deref().map(table::line).transpose()?;
    }
    Ok(Exit::Ok)
}

/// `base` with the token as a password, and a user name without meaning.
fn with_token(base: &str, token: &str) -> String {
    match base.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://x:{token}@{rest}"),
        None => base.to_owned(),
    }
}

fn tell(token: &Token, room: Option<i64>) {
    say!("token {} counts until {}", token.id, time(token.expires_at));
    match (room, &token.made_for) {
        (None, _) => {
            say!("the URL for buildah is https://x:TOKEN@HOST; give --url to print it")
        }
        (Some(room), _) if room < 1 => say!(
            "warning: with this URL in the image, krun's guest has no room for a workload id: use a relay on \
             the host, or a shorter name"
        ),
        (Some(room), Some(id)) if i64::try_from(id.as_str().len()).is_ok_and(|len| len > room) => {
            say!(
                "warning: with this URL in the image, krun's guest has room for a workload id of {}, and \
                 {id} is longer: use a relay on the host, or a shorter name",
                counted(room, "character")
            );
        }
        (Some(room), _) if room < 64 => say!(
            "with this URL in the image, krun's guest has room for a workload id of {}; buildah's own \
             ids have 64, so give a shorter one with -w",
            counted(room, "character")
        ),
        (Some(room), _) => {
            say!("with this URL in the image, krun's guest has room for a workload id of {room} characters");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_before_the_host() {
        assert_eq!(with_token("https://k.example.org/prod", "T"), "https://x:T@k.example.org/prod");
    }

    #[test]
    fn a_token_lives_for_some_time_and_7_days_at_most() {
        assert_eq!(ttl("90m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(ttl("7d"), Ok(LONGEST));
        for text in ["0s", "8d", "-1h", "soon"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }
}
