//! The move on AWS: row by row, under a deployment that runs.
//!
//! A row is written where registration and secrets are still those that were read, so no registration that
//! came meanwhile is lost. Whatever stops the command, each row is whole under the one key or the other.

use std::time::Duration;

use anyhow::anyhow;
use keybroker_aws::{
    dynamodb::{DynamoStore, OperatorTables},
    kms::{KeyArn, KmsMove, key_behind},
};
use keybroker_common::{
    audit::Decision,
    ids::AuditId,
    keyring::Purpose,
    rewrap::KeyMove,
    secret::KeyError,
    store::{RewrapStore, StoreError},
};
use tokio::time::sleep;

use super::{
    RewrapArgs,
    plan::{Plan, RingRow, Stuck, WorkloadRow, foreign},
    record,
};
use crate::{
    aws::{Account, Kind, Trouble},
    counted::counted,
    exit::{Exit, Failure},
    operator::{OperatorHandle, key_failure, kms},
    table::printable,
};

/// Attempts at a row that others write at the same time.
const ATTEMPTS: usize = 4;
/// The pauses before KMS is asked again, which may be throttling: each after the SDK's own attempts.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];
/// A pause of this length is told of.
const TOLD_FROM: Duration = Duration::from_secs(1);
/// The cause where a row is what it was, and still not the text that this program would write.
const SPELT_OTHERWISE: &str =
    "its secrets are not written as this release writes them: another program or release wrote the row";
/// How often the store is read at most: registrations may come that were wrapped before the alias led to the
/// new key.
const ROUNDS: usize = 3;
/// After so many rows the command says how far it is.
const TELLS_EVERY: usize = 100;

/// A row's fate.
enum Outcome {
    /// It was moved, with this record.
    Moved(AuditId),
    /// Nothing of it is left to move: it is gone, or somebody else moved it.
    Nothing,
    /// It cannot be moved, for this reason.
    Stuck(String),
}

/// All that moves rows.
struct Mover<'a> {
    operator: &'a OperatorHandle,
    store: &'a dyn RewrapStore,
    keys: &'a KeyMove,
    kms: &'a aws_sdk_kms::Client,
    wrap: &'a KmsMove,
}

pub(super) async fn run(args: &RewrapArgs, to: &KeyArn) -> Result<Exit, Failure> {
    let keys = named(args, to)?;
    let operator = args.store.open().await?;
    let mut plan = Plan::read(&operator, &keys).await?;
    if args.confirm.dry_run {
        plan.print(args, &keys)?;
    }
    let kms = kms(&args.store).await?;
    check_in_use(args, &operator, &kms, to).await?;
    if args.confirm.dry_run {
        plan.check_stuck(&operator, "they would stay as they are")?;
        return Ok(Exit::Ok);
    }
    if !plan.is_empty() && !args.confirm.agreed(&format!("Move {} to {to}?", plan.counted()))? {
        say!("nothing was moved");
        return Ok(Exit::Failure);
    }
    let client = aws_sdk_dynamodb::Client::new(&Account::open(&args.store.login()).await?.config);
    let store = DynamoStore::new(client, OperatorTables::with_prefix(&args.store.prefix));
    let wrap = KmsMove::new(kms.clone(), to.clone());
    let mover = Mover { operator: &operator, store: &store, keys: &keys, kms: &kms, wrap: &wrap };
    let mut done = Plan::default();
    for _ in 0..ROUNDS {
        let before = done.len();
        if plan.is_empty() {
            break;
        }
        done.stuck.clear();
        mover.all(plan, &mut done).await?;
        plan = Plan::read(&operator, &keys).await?;
        if done.len() == before {
            break;
        }
    }
    let left = plan.len().saturating_sub(done.stuck.len());
    done.stuck.append(&mut plan.stuck);
    done.print(args, &keys)?;
    done.check_stuck(&operator, "do not disable the old key")?;
    if left > 0 {
        let error = anyhow!("an old key wrapped {} meanwhile", counted(left, "row"));
        return Err(Failure::new(Exit::Failure, error)
            .hint("run the command again: KMS may take five minutes until an alias leads to its new key"));
    }
    say!(
        "no row names an old key. Run the command once more, five minutes after the alias was moved; then the \
         old key can be disabled. A table that is restored from before needs it"
    );
    Ok(Exit::Ok)
}

/// The keys as they are named, all of one region and account.
fn named(args: &RewrapArgs, to: &KeyArn) -> Result<KeyMove, Failure> {
    let usage = |error| Err(Failure::new(Exit::Usage, error));
    if args.from.is_empty() {
        return usage(anyhow!("the key that is given up is not named: give --from"));
    }
    if args.from.contains(to) {
        return usage(anyhow!("{to} cannot be given up and take over"));
    }
    if let Some(other) = args.from.iter().find(|from| !from.is_beside(to)) {
        return usage(anyhow!("{other} and {to} are not of one region and account"));
    }
    Ok(KeyMove { from: args.from.iter().map(KeyArn::to_string).collect(), to: to.to_string() })
}

/// Refuses to move anything to a key that the deployment does not use yet: what `attest` cannot open is lost
/// to guests until it can.
async fn check_in_use(
    args: &RewrapArgs,
    operator: &OperatorHandle,
    kms: &aws_sdk_kms::Client,
    to: &KeyArn,
) -> Result<(), Failure> {
    let alias = args.wrapping.kms_key(&args.store);
    let behind = key_behind(kms, &alias).await.map_err(|error| {
        key_failure(error).context(format!("looking at the key behind {alias}")).hint_if_denied(
            "the role PREFIX-rewrap needs kms:DescribeKey: infra/operators/rewrap.json is its policy",
        )
    })?;
    if behind != *to {
        let error = anyhow!("{alias} leads to {behind}, so new secrets would be wrapped by that key");
        return Err(Failure::new(Exit::Configuration, error)
            .hint("deploy the storage with KeyArn first, as docs/keys.md says"));
    }
    // Only `attest` makes keys of this ring: it shows that the function's role may use the new key.
    let sessions = operator.store.keyring(Purpose::Session).await.map_err(|error| operator.failure(error))?;
    let keys = sessions.map(|stored| stored.ring.keys).unwrap_or_default();
    if keys.iter().any(|key| key.wrapped.key_id == to.as_str()) {
        return Ok(());
    }
    let rotate = operator.place.command("keys rotate", &[]);
    let error =
        anyhow!("attest has not wrapped a key of its own with {to} yet, so nobody knows whether it can");
    Err(Failure::new(Exit::Configuration, error).hint(format!(
        "deploy the functions with both keys in KeyArns; then {rotate}, have a guest attest, and repeat this \
         command"
    )))
}

impl Mover<'_> {
    /// Moves what is `planned`, and adds what was moved to `done`.
    async fn all(&self, planned: Plan, done: &mut Plan) -> Result<(), Failure> {
        let total = planned.workloads.len();
        for (index, row) in planned.workloads.into_iter().enumerate() {
            if index > 0 && index % TELLS_EVERY == 0 {
                say!("{index} of {total} workloads");
            }
            match self.workload(&row).await.map_err(|failure| stopped(failure, done))? {
                Outcome::Moved(id) => done.workloads.push(WorkloadRow { audit: Some(id), ..row }),
                Outcome::Nothing => {}
                Outcome::Stuck(cause) => done.stuck.push(Stuck::workload(&row.workload_id, cause)),
            }
        }
        // Last, so that a ring of `attest`'s own making shows in every run before that the key is in use.
        for row in planned.rings {
            match self.ring(&row).await.map_err(|failure| stopped(failure, done))? {
                Outcome::Moved(id) => done.rings.push(RingRow { audit: Some(id), ..row }),
                Outcome::Nothing => {}
                Outcome::Stuck(cause) => done.stuck.push(Stuck::ring(row.ring, cause)),
            }
        }
        Ok(())
    }

    async fn workload(&self, row: &WorkloadRow) -> Result<Outcome, Failure> {
        let failed = |error| self.operator.failure(error).context(format!("workload {}", row.workload_id));
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let seen = self.store.workload(&row.workload_id).await.map_err(failed)?;
            let Some(seen) = seen else { return Ok(Outcome::Nothing) };
            if before.as_ref() == Some(&seen) {
                return Ok(Outcome::Stuck(SPELT_OTHERWISE.to_owned()));
            }
            let from = match self.keys.of_workload(&seen) {
                Ok(from) if from.is_empty() => return Ok(Outcome::Nothing),
                Ok(from) => from,
                Err(error) => return Ok(Outcome::Stuck(foreign(&error))),
            };
            let secrets = match patiently(async || self.keys.moved_secrets(&seen, self.wrap).await).await {
                Ok(secrets) => secrets,
                Err(error) => return self.not_moved(error).await,
            };
            let audit = record(self.operator.record(Decision::Rewrapped, &seen), None, &from, self.keys);
            match self.store.rewrap(&seen, &secrets, &audit).await {
                Ok(()) => return Ok(Outcome::Moved(audit.id)),
                // It was registered again meanwhile, or changed.
                Err(StoreError::Conflict) => before = Some(seen),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(contended())
    }

    async fn ring(&self, row: &RingRow) -> Result<Outcome, Failure> {
        let failed = |error| self.operator.failure(error).context(format!("ring {}", row.ring));
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.store.keyring(row.ring).await.map_err(failed)? else {
                return Ok(Outcome::Nothing);
            };
            let from = match self.keys.of_ring(&stored.ring) {
                Ok(from) if from.is_empty() => return Ok(Outcome::Nothing),
                Ok(from) => from,
                Err(error) => return Ok(Outcome::Stuck(foreign(&error))),
            };
            let moving = async || self.keys.moved_ring(row.ring, &stored.ring, self.wrap).await;
            let ring = match patiently(moving).await {
                Ok(ring) => ring,
                Err(error) => return self.not_moved(error).await,
            };
            let audit = record(self.operator.act(Decision::Rewrapped), Some(row.ring), &from, self.keys);
            match self.store.turn_keyring(row.ring, Some(stored.edition), &ring, &audit).await {
                Ok(()) => return Ok(Outcome::Moved(audit.id)),
                // A function made the ring's next key.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(contended())
    }

    /// The fate of a row that KMS does not move: it stays if an old key is what KMS will not use. If KMS
    /// refuses all, the command ends.
    async fn not_moved(&self, error: KeyError) -> Result<Outcome, Failure> {
        let KeyError::Unavailable(cause) = &error else { return Ok(Outcome::Stuck(error.to_string())) };
        let trouble = Trouble::unavailable(cause);
        if !matches!(trouble.kind(), Kind::KeyUnusable | Kind::Missing) {
            return Err(refused(error));
        }
        key_behind(self.kms, &self.keys.to).await.map_err(refused)?;
        Ok(Outcome::Stuck(format!("KMS does not use the key that wrapped it: {}", trouble.words())))
    }
}

fn contended() -> Outcome {
    Outcome::Stuck("it changed whenever it was to be written".to_owned())
}

/// Tries until KMS answers, or all pauses are over. It does not try again where that changes nothing.
async fn patiently<T>(work: impl AsyncFn() -> Result<T, KeyError>) -> Result<T, KeyError> {
    for pause in PAUSES {
        let outcome = work().await;
        let Err(KeyError::Unavailable(cause)) = &outcome else { return outcome };
        let trouble = Trouble::unavailable(cause);
        if !trouble.kind().passes() {
            return outcome;
        }
        if pause >= TOLD_FROM {
            say!("{}: asking again in {} s", printable(trouble.words()), pause.as_secs());
        }
        sleep(pause).await;
    }
    work().await
}

fn refused(error: KeyError) -> Failure {
    key_failure(error).hint_if_denied(
        "the operator needs the role PREFIX-rewrap, and the keys' policies let it move secrets only until \
         RewrapUntil: docs/keys.md has the steps. Everything can be read; the next run moves what is left",
    )
}

/// The failure that ends the command, with what was done until then.
fn stopped(failure: Failure, done: &Plan) -> Failure {
    failure.context(format!("the command stopped after it had moved {}", done.counted()))
}
