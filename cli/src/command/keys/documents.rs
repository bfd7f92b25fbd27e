//! Sorts the registered init data documents by whether they name a signing key.

use anyhow::anyhow;
use keybroker_common::{
    dialect::Dialect,
    store::{Cursor, Unreadable},
    workload::Workload,
};
use keybroker_initdata::KeyId;

use crate::{
    exit::{Exit, Failure},
    listing,
    operator::OperatorHandle,
    table::printable,
};

/// Whether to go on without knowing.
#[derive(Debug, clap::Args)]
pub(super) struct UnknownArgs {
    /// Go on although the documents of some workloads are not known, so that nobody can tell which signing
    /// keys they name
    #[arg(long)]
    yes_unknown: bool,
}

/// The workloads by what their documents say about one key, each with its owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Documents {
    /// Those whose document names it, revoked ones among them: a revocation can be taken back.
    pub(super) naming: Vec<String>,
    /// Those whose document does not name it. Revoked ones wait for nothing: earlier keys go on signing.
    pub(super) silent: Vec<String>,
    /// Those whose document the broker does not know, or by its digest alone, and rows that cannot be read.
    unknown: Vec<String>,
}

impl Documents {
    /// Reads all registrations.
    pub(super) async fn read(operator: &OperatorHandle, key: &KeyId) -> Result<Self, Failure> {
        let mut documents = Self::default();
        let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
        let unreadable = listing::pages(operator, page, |rows| {
            rows.iter().for_each(|row| documents.sort(row, key));
            Ok(())
        });
        let unreadable = unreadable.await?;
        documents.unknown.extend(unreadable.into_iter().map(|Unreadable { key, .. }| key));
        Ok(documents)
    }

    fn sort(&mut self, row: &Workload, key: &KeyId) {
        let Ok(read) = row.read() else { return self.unknown.push(row.id.to_string()) };
        let registration = read.registration();
        let owner = registration.owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
        let id = format!("{}{owner}", row.id);
        // The guests of other dialects know no key of the broker.
        if !registration.dialects.contains(Dialect::Native) {
            return;
        }
        let init_data = registration.policy.init_data.as_ref();
        match init_data.and_then(|init_data| init_data.broker_keys.as_ref()) {
            None => self.unknown.push(id),
            Some(named) if named.contains(key) => self.naming.push(id),
            Some(_) if row.revoked_at.is_some() => {}
            Some(_) => self.silent.push(id),
        }
    }

    /// Refuses, and lists the workloads, if there are any: `what` their documents do.
    pub(super) fn require_none(workloads: &[String], what: &str) -> Result<(), Failure> {
        if workloads.is_empty() {
            return Ok(());
        }
        list(workloads);
        let error = anyhow!("{what} the init data documents of {}", counted(workloads.len()));
        Err(Failure::new(Exit::Failure, error)
            .hint(
            "register these workloads again, with documents that name the right keys, or delete them. A revoked \
             workload holds up no rotation",
        ))
    }

    /// Refuses, and lists the workloads whose documents are not known, unless `args` goes on without.
    pub(super) fn check_unknown(&self, args: &UnknownArgs) -> Result<(), Failure> {
        if self.unknown.is_empty() || args.yes_unknown {
            return Ok(());
        }
        list(&self.unknown);
        let error = anyhow!(
            "the broker cannot tell which signing keys {} name: it does not know their init data documents",
            counted(self.unknown.len())
        );
        Err(Failure::new(Exit::Failure, error)
            .hint("look at those documents yourself, and give --yes-unknown"))
    }
}

fn list(workloads: &[String]) {
    for workload in workloads {
        say!("{}", printable(workload));
    }
}

fn counted(workloads: usize) -> String {
    if workloads == 1 { "one workload".to_owned() } else { format!("{workloads} workloads") }
}
