//! The certificates between a VEK and its anchor: ASKs and ASVKs. AMD replaces one now and then; VEKs of the
//! earlier one stay in use beside those of the later.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex},
};

use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::clock::{is_recent, seconds_until};
use keybroker_snp::{
    anchors::pem_certificates, certificate::Defect, chain::Intermediate, endorsement::EndorsementKind,
    product::Product, vek::Vek,
};

use super::{EndorsementSource, parsed};
use crate::{error::EndorsementError, lock::lock};

/// For how long AMD is not asked again for a chain that brought no issuer of a VEK; also for how long an
/// issuer counts that AMD sent and that no report was verified under yet.
pub(super) const ASKED_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Issuers that are kept of one product and kind, the latest.
const KEPT: usize = 4;

/// The issuers that AMD's chains and the table brought, by product and kind.
#[derive(Debug, Default)]
pub(super) struct Issuers(Mutex<HashMap<(Product, EndorsementKind), Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The latest first.
    issuers: Vec<Issuer>,
    /// When AMD's answer last held no issuer of the VEK that it was asked for.
    asked_in_vain_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Issuer {
    certificate: Arc<Intermediate>,
    /// Since when AMD's word is all there is for it: no report was verified under it yet. Then it is soon
    /// forgotten, and not in the table.
    unproven_since: Option<Timestamp>,
}

impl Issuer {
    fn counts(&self, now: Timestamp) -> bool {
        self.unproven_since.is_none_or(|since| is_recent(since, now, ASKED_AGAIN_AFTER))
    }
}

impl Known {
    /// Adds `certificate`, unless it is there. One that is there unproven is proven from now on, if this one
    /// is.
    fn add(&mut self, certificate: Arc<Intermediate>, unproven_since: Option<Timestamp>) {
        let held = self.issuers.iter().position(|held| held.certificate.der() == certificate.der());
        let proven = held.map(|at| self.issuers.remove(at)).is_some_and(|held| held.unproven_since.is_none());
        let unproven_since = unproven_since.filter(|_| !proven);
        self.issuers.push(Issuer { certificate, unproven_since });
        self.issuers.sort_by_key(|issuer| Reverse(issuer.certificate.valid_until()));
        self.issuers.truncate(KEPT);
    }
}

impl Issuers {
    fn known(&self, product: Product, kind: EndorsementKind, now: Timestamp) -> Vec<Arc<Intermediate>> {
        let known = lock(&self.0);
        let issuers = known.get(&(product, kind)).map(|known| known.issuers.as_slice()).unwrap_or_default();
        issuers.iter().filter(|one| one.counts(now)).map(|one| Arc::clone(&one.certificate)).collect()
    }

    fn add(&self, certificate: Arc<Intermediate>, unproven_since: Option<Timestamp>) {
        let key = (certificate.product(), certificate.kind());
        lock(&self.0).entry(key).or_default().add(certificate, unproven_since);
    }

    /// Those that a report was verified under, in PEM, if `wanted` is not among them.
    fn with_proven(&self, wanted: &Arc<Intermediate>) -> Option<String> {
        let key = (wanted.product(), wanted.kind());
        let mut all = lock(&self.0);
        let known = all.entry(key).or_default();
        let is_wanted = |one: &&Issuer| one.certificate.der() == wanted.der();
        if known.issuers.iter().find(is_wanted).is_some_and(|one| one.unproven_since.is_none()) {
            return None;
        }
        known.add(Arc::clone(wanted), None);
        let proven = known.issuers.iter().filter(|one| one.unproven_since.is_none());
        Some(proven.map(|one| pem("CERTIFICATE", one.certificate.der())).collect())
    }

    /// Whether AMD was asked for the chain in vain a short while ago. Its answer is still in memory.
    pub(super) fn asked_in_vain(&self, product: Product, kind: EndorsementKind, now: Timestamp) -> bool {
        let asked_at = lock(&self.0).get(&(product, kind)).and_then(|known| known.asked_in_vain_at);
        asked_at.is_some_and(|at| is_recent(at, now, ASKED_AGAIN_AFTER))
    }

    pub(super) fn note_asked_in_vain(&self, product: Product, kind: EndorsementKind, at: Timestamp) {
        lock(&self.0).entry((product, kind)).or_default().asked_in_vain_at = Some(at);
    }

    /// Forgets all of it.
    pub(super) fn forget(&self) {
        lock(&self.0).clear();
    }
}

impl EndorsementSource {
    /// The ASKs or ASVKs that may have issued `vek` and can be had without asking AMD; the likeliest first.
    /// One that is expired or revoked comes last: verification refuses what it issued, and says why.
    pub(super) async fn issuers(
        &self,
        vek: &Vek,
        sent: &[Vec<u8>],
    ) -> Result<Vec<Arc<Intermediate>>, EndorsementError> {
        let (product, kind) = (vek.product, vek.kind());
        let mut issuers = self.known_issuers(product, kind);
        let arks = self.anchors.arks(product);
        issuers.extend(sent.iter().filter_map(|der| parsed::intermediate(der, &arks).ok()).map(Arc::new));
        if !issuers.iter().any(|issuer| self.is_sound(issuer) && issuer.has_issued(vek)) {
            self.load_issuers(product, kind).await?;
            issuers.extend(self.known_issuers(product, kind));
        }
        issuers.sort_by_cached_key(|issuer| (!self.is_sound(issuer), Reverse(issuer.valid_until())));
        Ok(issuers)
    }

    /// One that issued `vek`, is neither expired nor revoked, and is in the process's memory.
    pub(super) fn known_issuer(&self, vek: &Vek) -> Option<Arc<Intermediate>> {
        let mut known = self.known_issuers(vek.product, vek.kind());
        known.sort_by_key(|issuer| Reverse(issuer.valid_until()));
        known.into_iter().find(|issuer| self.is_sound(issuer) && issuer.has_issued(vek))
    }

    fn known_issuers(&self, product: Product, kind: EndorsementKind) -> Vec<Arc<Intermediate>> {
        let mut issuers = match kind {
            EndorsementKind::Vcek => self.anchors.asks(product),
            EndorsementKind::Vlek => Vec::new(),
        };
        issuers.extend(self.issuers.known(product, kind, self.now()));
        issuers
    }

    /// Whether it is valid, or will be in a moment, and no list in hand revokes it.
    pub(super) fn is_sound(&self, issuer: &Intermediate) -> bool {
        let now = self.now();
        let valid = issuer.check_validity(now).or_else(|error| match error.defect {
            Defect::NotYetValid(from) if seconds_until(from, now).is_some() => Ok(()),
            _ => Err(error),
        });
        valid.is_ok() && !self.revocation.lists(issuer)
    }

    /// Takes the ASKs or ASVKs in the table into memory.
    pub(super) async fn load_issuers(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<(), EndorsementError> {
        let Some(row) = self.row(&chain_key(product, kind)).await? else { return Ok(()) };
        for issuer in self.issuers_in(product, kind, &row.bytes) {
            self.issuers.add(issuer, None);
        }
        Ok(())
    }

    /// Takes the ASKs or ASVKs in a chain that AMD sent into memory, for a while. Whether there was one.
    pub(super) fn adopt_chain(&self, product: Product, kind: EndorsementKind, pem: &[u8]) -> bool {
        let found = self.issuers_in(product, kind, pem);
        for issuer in &found {
            self.issuers.add(Arc::clone(issuer), Some(self.now()));
        }
        !found.is_empty()
    }

    /// The ASKs or ASVKs in a chain in PEM that an anchor issued.
    fn issuers_in(&self, product: Product, kind: EndorsementKind, pem: &[u8]) -> Vec<Arc<Intermediate>> {
        let arks = self.anchors.arks(product);
        let certificates = pem_certificates(pem).unwrap_or_default();
        let verified = certificates.iter().filter_map(|der| parsed::intermediate(der, &arks).ok());
        verified.filter(|one| one.product() == product && one.kind() == kind).map(Arc::new).collect()
    }

    /// Keeps the issuer of a chain that a report was verified under, beside those kept before.
    pub(super) async fn keep_issuer(&self, issuer: &Arc<Intermediate>) {
        let (product, kind) = (issuer.product(), issuer.kind());
        let pinned = kind == EndorsementKind::Vcek
            && self.anchors.asks(product).iter().any(|ask| ask.der() == issuer.der());
        if pinned {
            return;
        }
        if let Some(pem) = self.issuers.with_proven(issuer) {
            self.put(&chain_key(product, kind), pem.as_bytes(), 0).await;
        }
    }
}

/// The chains' row in the store: PEM, the ASKs or ASVKs among its certificates.
pub fn chain_key(product: Product, kind: EndorsementKind) -> String {
    format!("{product}/{}/chain", kind.name())
}

/// DER in PEM (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
