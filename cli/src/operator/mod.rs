//! The operator's commands stand on this module: the broker's store, wherever it is, and the name under which
//! they act.
//!
//! A command does not know which store it has: the file of a broker on this machine, the same file through
//! the process that has it open ([`socket`]), or the tables of a deployment on AWS.

mod local;
pub(crate) mod signing_ring;
pub(crate) mod socket;
mod store_args;
mod wrapping;

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    ids::{TokenId, WorkloadId, WorkloadIdError},
    store::{OperatorStore, StoreError, StoredEndorsement, Unreadable},
    workload::Workload,
};
use keybroker_kds::CHANGED_KEY;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    aws::Trouble,
    exit::{Exit, Failure},
    suggest::StorePlace,
};

pub(crate) use self::local::{LocalStore, nothing_on_aws};
pub(crate) use self::store_args::{Embedded, ON_AWS, StoreArgs, embedded, principal, unusable};
pub(crate) use self::wrapping::{WrappingArgs, key_failure, kms, local_key, wrapping_failure};

/// The three places of an operator's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The file, opened by this process.
    File,
    /// The file, through the process that has it open.
    Socket,
    /// Tables on AWS.
    Aws,
}

/// A store, and the operator who acts on it.
#[derive(Debug, Clone)]
pub(crate) struct OperatorHandle {
    /// The store.
    pub(crate) store: Arc<dyn OperatorStore>,
    /// The same if it is on this machine.
    pub(crate) local: Option<Arc<dyn LocalStore>>,
    /// The operator, as audit records name one: `uid/1000`, `aws-access-key/ASIA…`.
    pub(crate) principal: String,
    /// The place of the store.
    pub(crate) backend: Backend,
    /// The same place, for commands that are suggested.
    pub(crate) place: StorePlace,
}

impl OperatorHandle {
    /// The row of `id`, which must be there.
    pub(crate) async fn workload(&self, id: &WorkloadId) -> Result<Workload, Failure> {
        let row = self.store.workload(id).await.map_err(|error| self.failure(error))?;
        row.ok_or_else(|| self.no_workload(id))
    }

    /// The failure that there is no workload `id`.
    pub(crate) fn no_workload(&self, id: &WorkloadId) -> Failure {
        let list = self.place.command("workload list", &[]);
        no_such("workload", id).hint(format!("to see all of them: {list}"))
    }

    /// The failure that the row of `id` is not the one that the command looked at.
    pub(crate) fn changed_since(&self, id: &WorkloadId) -> Failure {
        changed_since(&self.place, id)
    }

    /// The record of an operator's act on `workload`, now.
    pub(crate) fn record(&self, decision: Decision, workload: &Workload) -> AuditRecord {
        AuditRecord {
            workload_id: Some(workload.id.clone()),
            registration: Some(workload.digest()),
            ..self.act(decision)
        }
    }

    /// The record of an operator's act on a token, now.
    pub(crate) fn record_of_token(&self, decision: Decision, id: TokenId) -> AuditRecord {
        AuditRecord { token: Some(id), ..self.act(decision) }
    }

    /// Tells every process that certificates in the store were imported or deleted. Each looks within a
    /// minute, and the broker that has the store open learns it at once.
    pub(crate) async fn certificates_changed(&self) -> Result<(), Failure> {
        let (bytes, fetched_at) = (Uuid::new_v4().as_bytes().to_vec(), Timestamp::now());
        let mark = StoredEndorsement { bytes, fetched_at, edition: 0 };
        let written = self.store.put_endorsement(CHANGED_KEY, &mark).await;
        written.map_err(|error| {
            self.failure(error).context(
                "the change is made, but running brokers may go on with the certificates that they remember",
            )
        })
    }

    /// The record of an operator's act, now.
    pub(crate) fn act(&self, decision: Decision) -> AuditRecord {
        let principal = Some(self.principal.clone());
        AuditRecord { principal, ..AuditRecord::new(Timestamp::now(), Operation::Operate, decision) }
    }

    /// The failure that an error of the store is to the command's user.
    pub(crate) fn failure(&self, error: StoreError) -> Failure {
        match (&error, self.backend) {
            (StoreError::Full(_), _) => Failure::new(Exit::Failure, error)
                .hint("make room on the disk of the data directory, and repeat the command"),
            (StoreError::Unavailable(_), Backend::Socket) => {
                Failure::new(Exit::Unreachable, error).hint("the broker may be ending: repeat the command")
            }
            (StoreError::Unavailable(cause), Backend::Aws) => Trouble::unavailable(cause).into(),
            (StoreError::Refused(cause), Backend::Aws) => Trouble::told(cause).into(),
            _ => Failure::new(Exit::Failure, error),
        }
    }
}

/// Runs a command that waits for a store.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    runtime.block_on(command)
}

/// Does `work`. If it takes long, a person is told of `what` meanwhile.
pub(crate) async fn telling<T>(what: &str, work: impl Future<Output = T>) -> T {
    const LONG: Duration = Duration::from_secs(2);
    let mut work = pin!(work);
    if let Ok(done) = timeout(LONG, work.as_mut()).await {
        return done;
    }
    say!("{what}");
    work.await
}

/// Tells on stderr of rows that cannot be read, and returns the exit code that follows.
pub(crate) fn tell_unreadable(what: &str, unreadable: &[Unreadable]) -> Exit {
    for Unreadable { key, cause } in unreadable {
        say!("warning: {what} {key:?} cannot be read: {cause}");
    }
    if unreadable.is_empty() { Exit::Ok } else { Exit::Failure }
}

/// The failure that the row of `id` in the store at `place` is not the one that the command looked at.
pub(crate) fn changed_since(place: &StorePlace, id: &WorkloadId) -> Failure {
    let show = place.command("workload show", &[id.as_str()]);
    Failure::new(Exit::Failure, anyhow!("{id} changed a moment ago, so this command changed nothing"))
        .hint(format!("look at it, and run the command again: {show}"))
}

/// The failure that there is no row with this id.
pub(crate) fn no_such(what: &str, id: impl fmt::Display) -> Failure {
    Failure::new(Exit::Failure, anyhow!("there is no {what} {id}"))
}

/// A workload's id, as an argument.
pub(crate) fn workload_id(text: &str) -> Result<WorkloadId, WorkloadIdError> {
    WorkloadId::new(text)
}
