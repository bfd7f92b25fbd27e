//! `keybroker keys rotate`, of the rings that also rotate by themselves. The ring of signing keys is beside
//! it.

use keybroker_common::{
    audit::{Act, AuditRecord, Decision},
    keyring::{Keyring, Purpose},
    keys::Keys,
    store::{StoreError, StoredKeyring},
};

use anyhow::anyhow;

use super::rotate_signature::{self, RotateSignatureArgs};
use crate::{
    exit::{Exit, Failure},
    operator::OperatorHandle,
};

/// Rotate the broker's own keys before their week is over
///
/// Without --now nobody notices: the broker makes the next key within a minute, uses it two minutes later,
/// and honours the key before it until everything that was made under it is over. Secrets and registrations
/// do not depend on these keys.
///
/// With --now, for a key that was stolen, no earlier key counts any more. Guests under way are refused, and
/// must start again: with the ring `challenge` every guest between its first request and its last, with the
/// ring `session` every guest that has attested and lacks a secret, with the ring `result` every guest of
/// Trustee's protocol that has attested and lacks a secret. Third parties must fetch the broker's JWK Set
/// anew: no attestation result from before counts. A broker that runs learns it within a minute; one that
/// cannot reach its store, within five.
///
/// The ring `signature` rotates only if you name it. The key that `keybroker keys prepare` made becomes the
/// current one. The command refuses, and lists the workloads, while a registered init data document does not
/// name that key: its guests would go on with an earlier key, which you could then not retire. Earlier keys
/// go on signing for guests that do not know the newest, so no guest is refused because of a rotation.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker keys rotate
  For a challenge key that was stolen, first to see and then to act:
      keybroker keys rotate challenge --now --dry-run
      keybroker keys rotate challenge --now --yes
  keybroker keys rotate signature
  keybroker keys rotate --now --aws --prefix keybroker

{}", Exit::TABLE))]
pub(super) struct RotateArgs {
    /// Only this ring: challenge, session, result or signature. Without it all but signature
    #[arg(value_name = "RING", value_parser = ring)]
    ring: Option<Purpose>,
    /// The same, as earlier releases took it
    #[arg(long = "ring", hide = true, conflicts_with = "ring", value_name = "RING", value_parser = ring)]
    ring_option: Option<Purpose>,
    /// No earlier key counts any more: for a key that was stolen. Guests under way must start again
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    signing: RotateSignatureArgs,
}

fn ring(name: &str) -> Result<Purpose, &'static str> {
    let named = Purpose::ALL.into_iter().find(|purpose| purpose.name() == name);
    named.ok_or("must be challenge, session, result or signature")
}

impl RotateArgs {
    fn rings(&self) -> impl Iterator<Item = Purpose> {
        let named = self.ring.or(self.ring_option);
        Purpose::TURNING.into_iter().filter(move |purpose| named.is_none_or(|ring| ring == *purpose))
    }
}

/// Attempts at a ring that a broker writes at the same time.
const ATTEMPTS: usize = 4;

pub(super) async fn run(args: &RotateArgs) -> Result<Exit, Failure> {
    if args.ring.or(args.ring_option) == Some(Purpose::Signature) {
        if args.now {
            let retire = args.signing.store.place().command("keys retire", &["KEY-ID"]);
            let error = anyhow!("no signing key is dropped at once: guests know it by their documents");
            return Err(Failure::new(Exit::Usage, error)
                .hint(format!("rotate without --now, and then take the earlier key out: {retire}")));
        }
        return rotate_signature::run(&args.signing).await;
    }
    if args.now && !confirmed(args)? {
        say!("nothing was rotated");
        return Ok(Exit::Failure);
    }
    let operator = args.signing.store.open().await?;
    for purpose in args.rings() {
        let stored = turn(args, &operator, purpose).await?;
        say!("{purpose}: {}", told(args, purpose, stored.as_ref()));
    }
    Ok(Exit::Ok)
}

/// Whether to go on. The question comes before the store is opened: nobody else could open it while a person
/// thinks.
fn confirmed(args: &RotateArgs) -> Result<bool, Failure> {
    if args.signing.confirm.dry_run {
        return Ok(true);
    }
    let rings = args.rings().map(Purpose::name).collect::<Vec<_>>().join(" and ");
    for purpose in args.rings() {
        say!("{purpose}: {}", refused(purpose));
    }
    args.signing.confirm.agreed(&format!("Drop every key of {rings} now?"))
}

/// Turns the ring and returns it as it was; in a dry run it stays so. `None` if there is none.
async fn turn(
    args: &RotateArgs,
    operator: &OperatorHandle,
    purpose: Purpose,
) -> Result<Option<StoredKeyring>, Failure> {
    for _ in 0..ATTEMPTS {
        let stored = operator.store.keyring(purpose).await.map_err(|error| operator.failure(error))?;
        let Some(StoredKeyring { edition, ring }) = stored.as_ref().filter(|stored| has_keys(stored)) else {
            return Ok(None);
        };
        if args.signing.confirm.dry_run {
            return Ok(stored);
        }
        let next = if args.now { ring.emptied() } else { ring.turned() };
        let act = Act::Turned { ring: purpose, at_once: args.now };
        let audit = AuditRecord { act: Some(act), ..operator.act(Decision::KeysTurned) };
        match operator.store.turn_keyring(purpose, Some(*edition), &next, &audit).await {
            Ok(()) => return Ok(stored),
            // A broker made the next key meanwhile.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(operator.failure(error)),
        }
    }
    Err(operator.failure(StoreError::Conflict).context(format!("the ring {purpose} changes too often")))
}

fn has_keys(stored: &StoredKeyring) -> bool {
    !stored.ring.keys.is_empty()
}

/// The ring's fate, or the fate that it would have.
fn told(args: &RotateArgs, purpose: Purpose, stored: Option<&StoredKeyring>) -> String {
    let Some(StoredKeyring { ring, .. }) = stored else {
        return "there is no key yet, and so none to rotate".to_owned();
    };
    let (last, next) = (ring.last, ring.next_number());
    match (args.now, args.signing.confirm.dry_run) {
        (false, false) => format!(
            "the broker makes the key {next} within {} seconds, and uses it {} seconds later; what was made \
             under the key {last} counts until it is over",
            Keys::LOOKS_EVERY.as_secs(),
            Keyring::LEAD.as_secs()
        ),
        (false, true) => format!("the key {last} would be followed by the key {next}; guests go on"),
        (true, false) => format!(
            "no key up to {last} counts any more; a broker that runs learns it within {} seconds, and makes \
             the key {next}",
            Keys::LOOKS_EVERY.as_secs()
        ),
        (true, true) => format!("no key up to {last} would count any more: {}", refused(purpose)),
    }
}

/// The consequence for guests if the keys of a ring are dropped.
fn refused(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Challenge => {
            "every guest that has asked for a challenge and does not have all its secrets yet is refused, and \
             must start again"
        }
        Purpose::Session => {
            "every guest that has attested and does not have all its secrets yet is refused, and must start \
             again"
        }
        Purpose::Result => {
            "no attestation result from before counts any more: every guest that shows one in place of its \
             cookie must start again, and third parties must fetch the JWK Set anew"
        }
        Purpose::Signature => "no guest is refused: earlier keys go on signing",
    }
}
