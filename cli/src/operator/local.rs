//! A store on this machine, with what only such a store can do.

use anyhow::anyhow;
use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::{Act, AuditRecord},
    store::{OperatorStore, StoreError},
};
use keybroker_embedded::store::EmbeddedStore;

use crate::exit::{Exit, Failure};

/// A store on this machine. On AWS DynamoDB itself deletes what has expired.
#[async_trait]
pub(crate) trait LocalStore: OperatorStore {
    /// Deletes the audit records from before `before`, and returns their number. `audit` becomes the record
    /// of that. Decisions that the broker still needs stay.
    async fn prune(&self, before: Timestamp, audit: &AuditRecord) -> Result<u64, StoreError>;

    /// The fingerprint of the wrapping key that the store belongs to, once it belongs to one.
    async fn bound_key(&self) -> Result<Option<String>, StoreError>;
}

#[async_trait]
impl LocalStore for EmbeddedStore {
    async fn prune(&self, before: Timestamp, audit: &AuditRecord) -> Result<u64, StoreError> {
        let audit = audit.clone();
        Self::prune(self, before, move |records| pruned(&audit, before, records)).await
    }

    async fn bound_key(&self) -> Result<Option<String>, StoreError> {
        Self::bound_key(self).map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

/// The record of a prune: `audit` with what was deleted.
pub(super) fn pruned(audit: &AuditRecord, before: Timestamp, records: u64) -> AuditRecord {
    AuditRecord { act: Some(Act::Pruned { before, records }), ..audit.clone() }
}

/// The failure to do `act` on AWS.
pub(crate) fn nothing_on_aws(act: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow!("there is nothing to {act} on AWS")).hint(
        "DynamoDB deletes each record by itself once it is as old as the deployment's AuditRetentionDays, and \
         takes no more room than the records that are left. No role of the broker may delete one",
    )
}
