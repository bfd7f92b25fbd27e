//! `keybroker audit --tcb`: the levels of a fleet, by the guests that attested.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use keybroker_common::{
    advisories::{TcbVerdict, Verdict},
    audit::{AuditRecord, Decision},
    encoding::amd,
    store::Cursor,
};
use keybroker_snp::product::{Product, TcbVersion};
use serde::Serialize;

use super::AuditArgs;
use crate::{
    exit::{Exit, Failure},
    listing, operator,
    table::{self, NONE},
};

/// Platforms of one kind, at the same levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Levels {
    #[serde(with = "amd::optional_product")]
    product: Option<Product>,
    /// The silicon by its name, or by its signature.
    silicon: Option<String>,
    #[serde(with = "amd::optional_tcb")]
    reported: Option<TcbVersion>,
    #[serde(with = "amd::optional_tcb")]
    committed: Option<TcbVersion>,
    /// `None` in records of a release without verdicts.
    verdict: Option<Verdict>,
    /// The bulletins that the platforms are behind.
    bulletins: Vec<String>,
    /// The number of guests that attested there.
    guests: u64,
    /// The number of chips. Those that a host masks are none.
    chips: usize,
    /// Whether guests attested on chips that their host masks.
    masked: bool,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Document {
    /// Version of this form.
    schema: u8,
    levels: Vec<Levels>,
}

/// The kinds of platforms, each with its chips.
#[derive(Debug, Default)]
struct Fleet(BTreeMap<[String; 5], (Levels, BTreeSet<String>)>);

impl Fleet {
    /// Counts the guest of a record, if one attested.
    fn add(&mut self, record: &AuditRecord) {
        let Some(evidence) = &record.evidence else { return };
        if !matches!(record.decision, Decision::Attested | Decision::Released) || !evidence.verified {
            return;
        }
        let tcb = record.tcb.as_ref();
        let levels = Levels {
            product: evidence.product,
            silicon: tcb.and_then(|tcb| Some(tcb.silicon?.text())),
            reported: evidence.reported_tcb,
            committed: tcb.and_then(|tcb| tcb.committed.or(evidence.reported_tcb)),
            verdict: tcb.map(|tcb| tcb.verdict),
            bulletins: tcb.map(|TcbVerdict { bulletins, .. }| bulletins.clone()).unwrap_or_default(),
            guests: 0,
            chips: 0,
            masked: false,
        };
        let (levels, chips) = self.0.entry(key(&levels)).or_insert_with(|| (levels, BTreeSet::new()));
        levels.guests += 1;
        if evidence.chip_id.bytes().all(|digit| digit == b'0') {
            levels.masked = true;
        } else {
            chips.insert(evidence.chip_id.clone());
        }
    }

    /// The most guests first.
    fn into_levels(self) -> Vec<Levels> {
        let counted = |(levels, chips): (Levels, BTreeSet<String>)| Levels { chips: chips.len(), ..levels };
        let mut levels: Vec<_> = self.0.into_values().map(counted).collect();
        levels.sort_by_key(|levels| Reverse(levels.guests));
        levels
    }
}

/// Everything of the levels but the counts, as cells.
fn key(levels: &Levels) -> [String; 5] {
    let none = || NONE.to_owned();
    let Levels { product, silicon, reported, committed, verdict, bulletins, .. } = levels;
    let silicon = silicon.clone().or_else(|| product.map(|product| product.name().to_ascii_lowercase()));
    let verdict = match verdict {
        None => none(),
        Some(Verdict::Behind) => format!("behind {}", bulletins.join(" ")),
        Some(verdict) => verdict.name().to_owned(),
    };
    [
        silicon.unwrap_or_else(none),
        reported.map_or_else(none, |tcb| tcb.to_string()),
        committed.map_or_else(none, |tcb| tcb.to_string()),
        verdict,
        product.map_or_else(none, |product| product.to_string()),
    ]
}

pub(super) async fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    let query = args.query()?;
    args.form.check_is_no_listing()?;
    let operator = args.store.open().await?;
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let mut fleet = Fleet::default();
    let unreadable = listing::pages(&operator, page, |records| {
        records.iter().filter(|record| args.filter.wants(record)).for_each(|record| fleet.add(record));
        Ok(())
    });
    let unreadable = unreadable.await?;
    let levels = fleet.into_levels();
    if args.form.json {
        table::json(&Document { schema: 1, levels })?;
    } else if levels.is_empty() {
        say!("no guests attested");
    } else {
        let header = ["silicon", "reported", "committed", "verdict", "guests", "chips"];
        table::print(&header, levels.iter().map(cells))?;
    }
    Ok(operator::tell_unreadable("the audit record", &unreadable))
}

fn cells(levels: &Levels) -> Vec<String> {
    let [silicon, reported, committed, verdict, _] = key(levels);
    let chips = match (levels.chips, levels.masked) {
        (0, true) => "masked".to_owned(),
        (chips, true) => format!("{chips} and masked ones"),
        (chips, false) => chips.to_string(),
    };
    vec![silicon, reported, committed, verdict, levels.guests.to_string(), chips]
}
