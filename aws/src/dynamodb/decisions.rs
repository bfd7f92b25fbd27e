//! Decisions about guests as items, under the id of their record: the record's attributes, and where the
//! guest attested those of its session. The records of releases, and of refusals that are no decision about
//! an answer to a challenge, stand beside them.
//!
//! An attribute that record and session share stands there once. The session's MAC covers it, so a session
//! that was put together otherwise does not count.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::AuditRecord,
    decision::{AttestDecision, EvidenceDigest, SealedSession},
    encoding::Base64,
    ids::AuditId,
    secret::seal::GuestKey,
    store::{DecisionStore, StoreError},
    workload::Standing,
};
use uuid::Uuid;

use super::{
    DynamoStore,
    item::{Attributes, EXPIRES, Item, Map, bytes, instant, number, ttl},
    record,
    tables::DecisionsTable,
    write::{Place, Put},
};

/// An item with it is a decision.
const EVIDENCE: &str = "evidence";
const KEEP_UNTIL: &str = "keep_until";
/// A decision with it opened a session.
const MAC: &str = "mac";
const KEY: &str = "key";
const MODULUS: &str = "modulus";
const EXPONENT: &str = "exponent";
/// A guest's key that is not of the first kind, whose two numbers have attributes of their own.
const SEALED_TO: &str = "sealed_to";
const DIALECT: &str = "dialect";
const RESTORED_BY: &str = "restored_by";
const EXPIRES_AT: &str = "expires_at";

/// A guest's record, what else was decided with it, and for how long it is kept: for good unless that says
/// otherwise.
#[derive(Debug, Clone)]
pub(super) struct GuestItem {
    record: AuditRecord,
    decided: Option<Decided>,
    kept_for: Option<SignedDuration>,
}

/// The rest of a decision, beside its record.
#[derive(Debug, Clone)]
struct Decided {
    evidence: EvidenceDigest,
    session: Option<SealedSession>,
    keep_until: Timestamp,
}

impl GuestItem {
    /// The record.
    pub(super) fn into_record(self) -> AuditRecord {
        self.record
    }

    fn into_decision(self) -> Option<AttestDecision> {
        let Decided { evidence, session, keep_until } = self.decided?;
        Some(AttestDecision { record: self.record, evidence, session, keep_until })
    }
}

impl Item for GuestItem {
    const TABLE: &'static str = "decisions";
    const KEY: &'static str = "id";

    fn key(&self) -> String {
        self.record.id.to_string()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        let Self { record, decided, kept_for } = self;
        let session = decided.as_ref().and_then(|decided| decided.session.as_ref());
        record::encode::<Self>(record, session.map(|session| &session.guest_key), item)?;
        let mut expires = kept_for.and_then(|time| record.time.checked_add(time).ok());
        if let Some(Decided { evidence, keep_until, .. }) = decided {
            item.insert(EVIDENCE.to_owned(), bytes(&evidence.0.0));
            item.insert(KEEP_UNTIL.to_owned(), instant(*keep_until));
            expires = expires.map(|at| at.max(*keep_until));
        }
        if let Some(session) = session {
            encode_session(session, item)?;
        }
        item.extend(expires.map(|at| (EXPIRES.to_owned(), ttl(at))));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        let rsa = item.optional(MODULUS, |item, modulus| {
            GuestKey::rsa(&item.bytes(modulus)?, &item.bytes(EXPONENT)?).map_err(Self::corrupt)
        })?;
        let guest_key = match rsa {
            Some(key) => Some(key),
            None => item.optional(SEALED_TO, Attributes::json)?,
        };
        let record = record::decode(item, guest_key.as_ref())?;
        let decided = item.optional(EVIDENCE, |item, name| {
            let evidence = EvidenceDigest(Base64(item.array(name)?));
            let session = guest_key.map(|guest_key| decode_session(item, &record, guest_key, evidence));
            Ok(Decided { evidence, session: session.transpose()?, keep_until: item.instant(KEEP_UNTIL)? })
        })?;
        Ok(Self { record, decided, kept_for: None })
    }
}

/// Adds what a session has beside the decision and its record.
fn encode_session(session: &SealedSession, item: &mut Map) -> Result<(), StoreError> {
    let SealedSession {
        workload_id: _,
        standing: Standing { registration: _, restored_by },
        dialect,
        guest_key,
        evidence: _,
        attestation: _,
        expires_at,
        key,
        mac,
    } = session;
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    restored_by.map(|id| put(RESTORED_BY, bytes(id.0.as_bytes())));
    put(DIALECT, GuestItem::name(dialect)?);
    match guest_key {
        GuestKey::Rsa(key) => {
            put(MODULUS, bytes(key.modulus()));
            put(EXPONENT, bytes(key.exponent()));
        }
        GuestKey::RsaOaep256(_) | GuestKey::P256(_) => {
            put(SEALED_TO, GuestItem::json(guest_key)?);
        }
    }
    put(EXPIRES_AT, instant(*expires_at));
    put(KEY, number(key));
    put(MAC, bytes(&mac.0));
    Ok(())
}

/// The session of a decision with this record, by a guest with this key.
fn decode_session(
    item: &Attributes<'_, GuestItem>,
    record: &AuditRecord,
    guest_key: GuestKey,
    evidence: EvidenceDigest,
) -> Result<SealedSession, StoreError> {
    let (Some(workload_id), Some(registration)) = (record.workload_id.clone(), record.registration) else {
        return Err(GuestItem::corrupt("it is the session of no workload"));
    };
    let restored_by = item.optional(RESTORED_BY, Attributes::array)?;
    let restored_by = restored_by.map(|id| AuditId(Uuid::from_bytes(id)));
    Ok(SealedSession {
        workload_id,
        standing: Standing { registration, restored_by },
        dialect: item.named(DIALECT)?,
        guest_key,
        evidence,
        attestation: record.id,
        expires_at: item.instant(EXPIRES_AT)?,
        key: item.number(KEY)?,
        mac: Base64(item.array(MAC)?),
    })
}

#[async_trait]
impl<T: DecisionsTable> DecisionStore for DynamoStore<T> {
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError> {
        let AttestDecision { record, evidence, session, keep_until } = decision.clone();
        let decided = Some(Decided { evidence, session, keep_until });
        let item = GuestItem { record, decided, kept_for: self.audit_kept_for };
        match self.put(self.tables.decisions(), Place::Empty, &item).await? {
            Put::Written => Ok(None),
            Put::Met(Some(there)) => {
                let there = GuestItem::decode(&Attributes::<GuestItem>::read(&there)?)?;
                there.into_decision().map(Some).ok_or(StoreError::Conflict)
            }
            // If a condition failed, DynamoDB always sends the item that it met.
            Put::Met(None) => Err(StoreError::Unavailable("DynamoDB shows no decision".to_owned())),
        }
    }

    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError> {
        let item: Option<GuestItem> = self.get(self.tables.decisions(), &id.to_string()).await?;
        Ok(item.and_then(GuestItem::into_decision))
    }

    async fn record(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        let item = GuestItem { record: audit.clone(), decided: None, kept_for: self.audit_kept_for };
        self.put_new(self.tables.decisions(), &item).await
    }
}
