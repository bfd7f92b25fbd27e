//! The contracts, each method one write or one read.

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    decision::AttestDecision,
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    keyring::{Keyring, Purpose},
    revocation::Revocation,
    store::{
        AuditStore, Build, Cursor, DecisionStore, EndorsementStore, KeyringStore, Lease, Page,
        RegistrationStore, ReleaseStore, RevocationStore, StoreError, StoredEndorsement, StoredKeyring,
        TokenStore, WorkloadStore,
    },
    token::{Bound, Token},
    workload::{Standing, Workload},
};
use uuid::Uuid;

use super::{
    EmbeddedStore,
    disk::{Edit, Use, View, Write},
    rows::{GuestRow, KeyringRow, SelectionRow},
};

#[async_trait]
impl WorkloadStore for EmbeddedStore {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.read(id.as_str().as_bytes())
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        let row: Option<SelectionRow> = self.read(host_data)?;
        Ok(row.map(|row| row.workload_id))
    }
}

#[async_trait]
impl RegistrationStore for EmbeddedStore {
    async fn token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.read(id.as_bytes())
    }

    async fn create(
        &self,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        let (workload, audit, token) = (workload.clone(), audit.clone(), token.copied());
        let rows = [Edit::create(workload.id.as_str().as_bytes(), &workload)?, recorded(&audit)?];
        self.write_if_room(move |view| {
            view.admit(&rows)?;
            let bound = use_token(view, token, Build::New, &workload.id, &audit)?;
            let selected = select(view, &workload)?;
            Ok(rows.iter().cloned().chain(bound).chain(selected).collect())
        })
        .await
    }

    async fn replace(
        &self,
        replaced: &Workload,
        build: Build,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        let (workload, audit, token) = (workload.clone(), audit.clone(), token.copied());
        let replaced = replaced.digest();
        let rows = [Edit::put(workload.id.as_str().as_bytes(), &workload)?, recorded(&audit)?];
        self.write_if_room(move |view| {
            let row = existing(view, &workload.id)?;
            let ended = build == Build::Same && row.released_at.is_some();
            if row.digest() != replaced || row.revoked_at.is_some() || ended {
                return Err(StoreError::Conflict);
            }
            view.admit(&rows)?;
            let bound = use_token(view, token, build, &workload.id, &audit)?;
            // First, for both may be the same row.
            let freed = free(view, &row)?;
            let selected = select(view, &workload)?;
            Ok(rows.iter().cloned().chain(bound).chain(freed).chain(selected).collect())
        })
        .await
    }
}

/// Has the HOST_DATA that `workload` is registered with, if there is any, select it.
fn select(view: &mut View<'_>, workload: &Workload) -> Result<Option<Edit>, StoreError> {
    let Some(host_data) = workload.selected_by() else { return Ok(None) };
    let selection = SelectionRow { workload_id: workload.id.clone() };
    match view.get::<SelectionRow>(&host_data)? {
        Some(held) if held != selection => Err(StoreError::Selects),
        _ => Edit::put(&host_data, &selection).map(Some),
    }
}

/// Has the HOST_DATA of the row `workload` select nothing, if it is known to select this workload.
pub(super) fn free(view: &mut View<'_>, workload: &Workload) -> Result<Option<Edit>, StoreError> {
    let Some(host_data) = workload.selected_by() else { return Ok(None) };
    let held: Option<SelectionRow> = match view.get(&host_data) {
        Err(StoreError::Corrupt { .. }) => None,
        held => held?,
    };
    let own = held.is_some_and(|held| held.workload_id == workload.id);
    Ok(own.then(|| Edit::delete::<SelectionRow>(&host_data)))
}

/// Binds the token, if there is one, to `workload`, or finds it bound to it already, as `build` demands.
fn use_token(
    view: &mut View<'_>,
    token: Option<TokenId>,
    build: Build,
    workload: &WorkloadId,
    audit: &AuditRecord,
) -> Result<Option<Edit>, StoreError> {
    let Some(id) = token else { return Ok(None) };
    let mut token: Token = view.get(id.as_bytes())?.ok_or(StoreError::Conflict)?;
    let others = |id: &WorkloadId| id != workload;
    let dead = token.revoked_at.is_some() || token.expires_at <= audit.time;
    if dead || token.made_for.as_ref().is_some_and(others) {
        return Err(StoreError::Conflict);
    }
    match (build, &token.bound) {
        (Build::New, None) => {
            token.bound = Some(Bound { workload_id: workload.clone(), at: audit.time });
            Edit::put(id.as_bytes(), &token).map(Some)
        }
        (Build::Same, Some(bound)) if bound.workload_id == *workload => Ok(None),
        _ => Err(StoreError::Conflict),
    }
}

#[async_trait]
impl TokenStore for EmbeddedStore {
    /// Removes what is listed no longer on the way: there are never many, and nothing else makes more.
    async fn put_token(&self, token: &Token, audit: &AuditRecord) -> Result<(), StoreError> {
        let (rows, now) = ([Edit::create(token.id.as_bytes(), token)?, recorded(audit)?], audit.time);
        self.write_if_room(move |view| {
            let past = |token: &Token| token.unlisted_at().is_some_and(|at| at <= now);
            let past = view.keys_where(past)?.into_iter().map(|key| Edit::delete::<Token>(&key));
            Ok(past.chain(rows.clone()).collect())
        })
        .await
    }

    async fn stored_token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.read(id.as_bytes())
    }

    async fn revoke_token(&self, id: &TokenId, audit: &AuditRecord) -> Result<(), StoreError> {
        let (id, now, revocation, recorded) = (*id, audit.time, Revocation::of(audit), recorded(audit)?);
        self.write(move |view| {
            let mut row: Token = view.get(id.as_bytes())?.ok_or(StoreError::Conflict)?;
            if row.revoked_at.is_none() {
                (row.revoked_at, row.revocation) = (Some(now), Some(revocation.clone()));
            }
            Ok(vec![Edit::put(id.as_bytes(), &row)?, recorded.clone()])
        })
        .await
    }

    async fn tokens(&self, after: Option<&Cursor>) -> Result<Page<Token>, StoreError> {
        self.page(after, |_, token| Some(token))
    }
}

#[async_trait]
impl ReleaseStore for EmbeddedStore {
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |view| {
            let mut row = existing(view, &id)?;
            if row.digest() != registration {
                return Err(StoreError::Conflict);
            }
            if row.released_at.is_some() {
                return Ok(Vec::new());
            }
            row.released_at = Some(at);
            Ok(vec![Edit::put(id.as_str().as_bytes(), &row)?])
        })
        .await
    }

    /// The condition stands in the commit that writes the record: what was revoked before is not on record as
    /// released.
    async fn record_release(
        &self,
        id: &WorkloadId,
        standing: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (id, standing, recorded) = (id.clone(), *standing, recorded_of_guest(audit)?);
        self.write(move |view| {
            if !existing(view, &id)?.stands_as(&standing) {
                return Err(StoreError::Conflict);
            }
            Ok(vec![recorded.clone()])
        })
        .await
    }
}

#[async_trait]
impl RevocationStore for EmbeddedStore {
    async fn revoke(&self, id: &WorkloadId, audit: &AuditRecord) -> Result<(), StoreError> {
        let (id, now, revocation, recorded) =
            (id.clone(), audit.time, Revocation::of(audit), recorded(audit)?);
        self.write(move |view| {
            let mut row = existing(view, &id)?;
            if row.revoked_at.is_none() {
                (row.revoked_at, row.revocation) = (Some(now), Some(revocation.clone()));
            }
            Ok(vec![Edit::put(id.as_str().as_bytes(), &row)?, recorded.clone()])
        })
        .await
    }
}

#[async_trait]
impl DecisionStore for EmbeddedStore {
    /// Anybody can cause one, a refusal at least: none may use up the reserve, which is for what was begun.
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError> {
        let row = GuestRow::Attest(Box::new(decision.clone()));
        let row = Edit::create(decision.record.id.0.as_bytes(), &row)?;
        let decided = self.writer.write(Write::new(Use::Begins, move |_| Ok(vec![row.clone()])));
        match decided.await {
            Err(StoreError::Conflict) => {
                self.decision(decision.record.id).await?.map(Some).ok_or(StoreError::Conflict)
            }
            decided => decided.map(|()| None),
        }
    }

    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError> {
        Ok(match self.read(id.0.as_bytes())? {
            Some(GuestRow::Attest(decision)) => Some(*decision),
            Some(GuestRow::Record(_)) | None => None,
        })
    }

    async fn record(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        let recorded = recorded_of_guest(audit)?;
        self.write(move |_| Ok(vec![recorded.clone()])).await
    }
}

#[async_trait]
impl KeyringStore for EmbeddedStore {
    async fn keyring(&self, purpose: Purpose) -> Result<Option<StoredKeyring>, StoreError> {
        let row: Option<KeyringRow> = self.read(purpose.name().as_bytes())?;
        Ok(row.map(|KeyringRow { edition, ring }| StoredKeyring { edition, ring }))
    }

    async fn put_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
    ) -> Result<(), StoreError> {
        let ring = ring.clone();
        self.write(move |view| Ok(vec![put_ring(view, purpose, replaced, &ring)?])).await
    }
}

/// Puts `ring` in the place of the one with the edition `replaced`.
pub(super) fn put_ring(
    view: &mut View<'_>,
    purpose: Purpose,
    replaced: Option<u64>,
    ring: &Keyring,
) -> Result<Edit, StoreError> {
    let key = purpose.name().as_bytes();
    if view.get(key)?.map(|row: KeyringRow| row.edition) != replaced {
        return Err(StoreError::Conflict);
    }
    Edit::put(key, &KeyringRow { edition: replaced.map_or(0, |edition| edition + 1), ring: ring.clone() })
}

#[async_trait]
impl EndorsementStore for EmbeddedStore {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        self.read(key.as_bytes())
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        let (key, edition) = (key.to_owned(), endorsement.edition);
        let row = Edit::put(key.as_bytes(), endorsement)?;
        self.write_if_room(move |view| {
            let held = match view.get::<StoredEndorsement>(key.as_bytes()) {
                // Gives way, or it would stand in the cache for good.
                Err(StoreError::Corrupt { .. }) => None,
                held => held?,
            };
            let newer = held.is_some_and(|held| held.edition > edition);
            Ok(if newer { Vec::new() } else { vec![row.clone()] })
        })
        .await
    }

    async fn lease(&self, key: &str, lease: &Lease) -> Result<Option<Lease>, StoreError> {
        Ok(self.leases.take(key, *lease))
    }

    async fn end_lease(&self, key: &str, holder: Uuid) -> Result<(), StoreError> {
        self.leases.end(key, holder);
        Ok(())
    }
}

#[async_trait]
impl AuditStore for EmbeddedStore {
    async fn append(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        let recorded = recorded(audit)?;
        self.write(move |_| Ok(vec![recorded.clone()])).await
    }
}

/// The row of a workload that must have one.
pub(super) fn existing(view: &mut View<'_>, id: &WorkloadId) -> Result<Workload, StoreError> {
    view.get(id.as_str().as_bytes())?.ok_or(StoreError::Conflict)
}

/// The row of an audit record: part of each write that has one.
pub(super) fn recorded(audit: &AuditRecord) -> Result<Edit, StoreError> {
    Edit::create(audit.id.0.as_bytes(), audit)
}

/// The row of a record about a guest that is no decision about its answer: beside the decisions.
fn recorded_of_guest(audit: &AuditRecord) -> Result<Edit, StoreError> {
    Edit::create(audit.id.0.as_bytes(), &GuestRow::Record(Box::new(audit.clone())))
}
