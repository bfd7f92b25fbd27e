//! The operator's view, each method one write or one read.

use async_trait::async_trait;
use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    keyring::{Keyring, Purpose},
    store::{AuditQuery, Cursor, OperatorStore, Page, StoreError, StoredEndorsement},
    workload::Workload,
};

use super::{
    EmbeddedStore,
    disk::Edit,
    rows::{self, Row as _, Span, Way},
    stores::{existing, free, put_ring, recorded},
};

#[async_trait]
impl OperatorStore for EmbeddedStore {
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError> {
        self.page(after, |_, workload| Some(workload))
    }

    async fn restore(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (id, record, recorded) = (id.clone(), audit.id, recorded(audit)?);
        self.write_if_room(move |view| {
            let row = existing(view, &id)?;
            if row.digest() != registration {
                return Err(StoreError::Conflict);
            }
            let restored_by = if row.revoked_at.is_some() { Some(record) } else { row.restored_by };
            let row = Workload { revoked_at: None, revocation: None, restored_by, ..row };
            Ok(vec![Edit::put(id.as_str().as_bytes(), &row)?, recorded.clone()])
        })
        .await
    }

    async fn amend(
        &self,
        seen: &Workload,
        amended: &Workload,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        if seen.selected_by() != amended.selected_by() {
            return Err(StoreError::Conflict);
        }
        let (seen, amended, recorded) = (seen.clone(), amended.clone(), recorded(audit)?);
        self.write_if_room(move |view| {
            let row = existing(view, &amended.id)?;
            if row.digest() != seen.digest() || row.secrets != seen.secrets {
                return Err(StoreError::Conflict);
            }
            let (registration, secrets) = (amended.registration.clone(), amended.secrets.clone());
            let row = Workload { registration, secrets, ..row };
            Ok(vec![Edit::put(amended.id.as_str().as_bytes(), &row)?, recorded.clone()])
        })
        .await
    }

    async fn delete(&self, seen: &Workload, audit: &AuditRecord) -> Result<(), StoreError> {
        let (seen, recorded) = (seen.clone(), recorded(audit)?);
        self.write(move |view| {
            let row = existing(view, &seen.id)?;
            let state = |row: &Workload| (row.digest(), row.revoked_at, row.released_at);
            if state(&row) != state(&seen) {
                return Err(StoreError::Conflict);
            }
            let deleted = Edit::delete::<Workload>(seen.id.as_str().as_bytes());
            Ok([deleted, recorded.clone()].into_iter().chain(free(view, &row)?).collect())
        })
        .await
    }

    async fn endorsements(
        &self,
        after: Option<&Cursor>,
    ) -> Result<Page<(String, StoredEndorsement)>, StoreError> {
        self.page(after, |key, row| Some((StoredEndorsement::name(key), row)))
    }

    async fn delete_endorsement(&self, key: &str) -> Result<(), StoreError> {
        let deleted = Edit::delete::<StoredEndorsement>(key.as_bytes());
        self.write(move |_| Ok(vec![deleted.clone()])).await
    }

    async fn turn_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (ring, recorded) = (ring.clone(), recorded(audit)?);
        self.write(move |view| Ok(vec![put_ring(view, purpose, replaced, &ring)?, recorded.clone()])).await
    }

    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        Self::audit_record(self, id)
    }

    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        self.audit_page(query, after)
    }
}

impl EmbeddedStore {
    /// A page of what `keep` makes of the rows of a table.
    pub(super) fn page<R: rows::Row, T>(
        &self,
        after: Option<&Cursor>,
        keep: impl Fn(&[u8], R) -> Option<T>,
    ) -> Result<Page<T>, StoreError> {
        self.reading(|transaction| rows::page(rows::listed(transaction, &Span::ALL, Way::Up, after)?, keep))
    }
}
