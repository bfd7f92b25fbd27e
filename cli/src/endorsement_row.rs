//! A row of the endorsement cache: its kind by its key, and whether its content is valid.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::store::{Cursor, StoredEndorsement, Unreadable};
use keybroker_kds::{CHANGED_KEY, VcekId, chain_key, crl_key, revoking_key};
use keybroker_snp::{
    anchors::{TrustAnchors, pem_blocks, pem_certificates},
    chain::{Chain, Intermediate},
    crl::Crl,
    endorsement::EndorsementKind,
    product::Product,
    vek::Vek,
};
use serde::Serialize;

use crate::{exit::Failure, listing, operator::OperatorHandle};

/// The kind of a row, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// A chip's certificate at one TCB.
    Certificate(VcekId),
    /// An ASK or ASVK.
    Chain(Product, EndorsementKind),
    /// A revocation list.
    RevocationList(Product, EndorsementKind),
    /// Revocation lists of either kind that revoke something. They stay even if later lists do not revoke it.
    Revoking(Product),
    /// A note of the broker's, or a row that this release does not know.
    Note,
}

impl RowKind {
    fn of(key: &str) -> Self {
        if let Some(id) = VcekId::parse(key) {
            return Self::Certificate(id);
        }
        for product in Product::ALL {
            for kind in [EndorsementKind::Vcek, EndorsementKind::Vlek] {
                if key == chain_key(product, kind) {
                    return Self::Chain(product, kind);
                }
                if key == crl_key(product, kind) {
                    return Self::RevocationList(product, kind);
                }
            }
            if key == revoking_key(product) {
                return Self::Revoking(product);
            }
        }
        Self::Note
    }

    /// The kind in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Chain(..) => "chain",
            Self::RevocationList(..) => "revocation-list",
            Self::Revoking(_) => "revocations",
            Self::Note => "note",
        }
    }

    /// The product of the row.
    pub(crate) fn product(&self) -> Option<Product> {
        match self {
            Self::Certificate(id) => Some(id.product()),
            Self::Chain(product, _) | Self::RevocationList(product, _) | Self::Revoking(product) => {
                Some(*product)
            }
            Self::Note => None,
        }
    }
}

/// The result of verifying a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowState {
    /// The broker would use it.
    Ok,
    /// AMD knew no such certificate when the broker asked.
    UnknownToAmd,
    /// The broker would not use it, and would ask AMD again.
    Unusable,
    /// There is nothing to verify.
    Note,
}

/// The time since `then`, in days and hours.
pub(crate) fn days(now: Timestamp, then: Timestamp) -> String {
    let hours = now.duration_since(then).as_hours();
    format!("{}d {}h", hours / 24, hours % 24)
}

/// A row, verified.
#[derive(Debug)]
pub(crate) struct EndorsementRow {
    pub(crate) key: String,
    pub(crate) kind: RowKind,
    pub(crate) fetched_at: Timestamp,
    /// thisUpdate and nextUpdate of a revocation list that an anchor signed.
    pub(crate) updates: Option<(Timestamp, Timestamp)>,
    pub(crate) state: RowState,
    pub(crate) cause: Option<String>,
}

/// Every row in the order of the keys, verified as the broker would verify it at `now`; and the rows that
/// cannot be read.
pub(crate) async fn all(
    operator: &OperatorHandle,
    anchors: &TrustAnchors,
    now: Timestamp,
) -> Result<(Vec<EndorsementRow>, Vec<Unreadable>), Failure> {
    let page = async |after: Option<&Cursor>| operator.store.endorsements(after).await;
    let (mut rows, unreadable) = listing::all(operator, page).await?;
    // This row holds nothing of AMD's, only a mark that something changed.
    rows.retain(|(key, _)| key != CHANGED_KEY);
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let issuers = issuers(&rows, anchors);
    let verified =
        rows.iter().map(|(key, row)| EndorsementRow::of(key, row, anchors, &issuers, now)).collect();
    Ok((verified, unreadable))
}

/// The revocation lists alone, likewise.
pub(crate) async fn lists(
    operator: &OperatorHandle,
    anchors: &TrustAnchors,
    now: Timestamp,
) -> Result<(Vec<EndorsementRow>, Vec<Unreadable>), Failure> {
    let page = async |after: Option<&Cursor>| operator.store.endorsements(after).await;
    let mut lists = Vec::new();
    let unreadable = listing::pages(operator, page, |rows| {
        let list = |(key, _): &&(String, _)| matches!(RowKind::of(key), RowKind::RevocationList(..));
        let verified =
            rows.iter().filter(list).map(|(key, row)| EndorsementRow::of(key, row, anchors, &[], now));
        lists.extend(verified);
        Ok(())
    });
    let unreadable = unreadable.await?;
    lists.sort_by(|one, other| one.key.cmp(&other.key));
    Ok((lists, unreadable))
}

/// The ASKs and ASVKs that are pinned or in the rows.
fn issuers(rows: &[(String, StoredEndorsement)], anchors: &TrustAnchors) -> Vec<Arc<Intermediate>> {
    let mut issuers = Product::ALL.map(|product| anchors.asks(product)).concat();
    for (key, row) in rows {
        if let RowKind::Chain(product, kind) = RowKind::of(key) {
            issuers.extend(intermediates(&row.bytes, product, kind, anchors).unwrap_or_default());
        }
    }
    issuers
}

/// The ASKs or ASVKs in a chain's row; at least one.
fn intermediates(
    pem: &[u8],
    product: Product,
    kind: EndorsementKind,
    anchors: &TrustAnchors,
) -> Result<Vec<Arc<Intermediate>>, String> {
    let arks = anchors.arks(product);
    let (mut found, mut cause) = (Vec::new(), "no ASK or ASVK in it".to_owned());
    for der in pem_certificates(pem).map_err(|error| error.to_string())? {
        match Intermediate::verify(&der, &arks) {
            Ok(one) if one.product() == product && one.kind() == kind => found.push(Arc::new(one)),
            Ok(_) => {}
            Err(error) => cause = error.to_string(),
        }
    }
    if found.is_empty() { Err(cause) } else { Ok(found) }
}

/// Whether one of them is valid: a row keeps an earlier ASK or ASVK beside the later one.
fn valid(all: &[Arc<Intermediate>], now: Timestamp) -> Result<RowState, String> {
    let mut last = Ok(RowState::Ok);
    for one in all {
        last = one.check_validity(now).map(|()| RowState::Ok).map_err(|error| error.to_string());
        if last.is_ok() {
            break;
        }
    }
    last
}

impl EndorsementRow {
    fn of(
        key: &str,
        row: &StoredEndorsement,
        anchors: &TrustAnchors,
        issuers: &[Arc<Intermediate>],
        now: Timestamp,
    ) -> Self {
        let kind = RowKind::of(key);
        let mut updates = None;
        let verdict = match &kind {
            RowKind::Note => Ok(RowState::Note),
            RowKind::Certificate(_) if row.bytes.is_empty() => Ok(RowState::UnknownToAmd),
            RowKind::Certificate(id) => certificate(&row.bytes, id, issuers, now).map(|()| RowState::Ok),
            RowKind::Chain(product, kind) => {
                intermediates(&row.bytes, *product, *kind, anchors).and_then(|all| valid(&all, now))
            }
            RowKind::Revoking(product) => revoking(&row.bytes, *product, anchors).map(|()| RowState::Ok),
            RowKind::RevocationList(product, _) => Crl::verify(&row.bytes, &anchors.arks(*product))
                .and_then(|crl| {
                    updates = Some((crl.this_update(), crl.next_update()));
                    crl.check_validity(now, SignedDuration::ZERO).map(|()| RowState::Ok)
                })
                .map_err(|error| error.to_string()),
        };
        let (state, cause) = match verdict {
            Ok(state) => (state, None),
            Err(cause) => (RowState::Unusable, Some(cause)),
        };
        Self { key: key.to_owned(), kind, fetched_at: row.fetched_at, updates, state, cause }
    }
}

fn revoking(pem: &[u8], product: Product, anchors: &TrustAnchors) -> Result<(), String> {
    let lists = pem_blocks(pem).ok_or("it holds no revocation lists in PEM")?;
    let arks = anchors.arks(product);
    lists.iter().try_for_each(|der| Crl::verify(der, &arks).map(drop)).map_err(|error| error.to_string())
}

fn certificate(der: &[u8], id: &VcekId, issuers: &[Arc<Intermediate>], now: Timestamp) -> Result<(), String> {
    let vek = Vek::parse(der).map_err(|error| error.to_string())?;
    if !id.names(&vek) {
        return Err("it is the certificate of another chip or TCB".to_owned());
    }
    let chain = Chain::verify(vek, issuers).map_err(|error| error.to_string())?;
    chain.check_validity(now).map_err(|error| error.to_string())
}
