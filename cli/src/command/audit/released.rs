//! `keybroker audit --released`: which secret was released to which chip, under which registration.
//!
//! The record of a release names the record of the attestation that it rests on, and that has the evidence. A
//! guest of the broker's own protocol attests and fetches at once: there one record has all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    ids::{AuditId, RegistrationDigest, WorkloadId},
    store::{AuditQuery, Cursor},
};
use serde::Serialize;

use super::{AuditArgs, columns::secrets, name::decision, newest::Newest};
use crate::{
    exit::{Exit, Failure},
    listing::{Form, Reading, Window},
    operator::OperatorHandle,
    table::{NONE, time},
};

/// A release, with what it rests on.
#[derive(Debug, Serialize)]
struct Release {
    time: Timestamp,
    /// `withheld` is the second record of a release that did not leave.
    decision: Decision,
    workload_id: Option<WorkloadId>,
    secrets: Vec<String>,
    /// `None` where the record of the attestation is gone.
    chip_id: Option<String>,
    measurement: Option<String>,
    registration: Option<RegistrationDigest>,
    attestation: AuditId,
    id: AuditId,
}

impl Release {
    fn of(record: AuditRecord) -> Self {
        let secrets = secrets(&record);
        let AuditRecord { id, time, decision, workload_id, registration, evidence, attestation, .. } = record;
        let (chip_id, measurement) =
            evidence.map(|evidence| (evidence.chip_id, evidence.measurement)).unzip();
        let attestation = attestation.unwrap_or(id);
        Self { time, decision, workload_id, secrets, chip_id, measurement, registration, attestation, id }
    }

    fn cells(&self) -> [String; 9] {
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        [
            self.time.to_string(),
            decision(self.decision).to_owned(),
            self.workload_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            self.secrets.join(" "),
            text(self.chip_id.as_ref()),
            text(self.measurement.as_ref()),
            self.registration.map(|digest| digest.to_string()).unwrap_or_default(),
            self.attestation.to_string(),
            self.id.to_string(),
        ]
    }
}

const TABLE: Form<Release> = Form {
    header: &["time", "decision", "workload", "secrets", "chip", "registration", "measurement", "id"],
    cells: |release| {
        let [_, decision, workload, secrets, chip, measurement, registration, _, id] = release.cells();
        let cells = [workload, secrets, short(chip), short(registration), short(measurement), id];
        let cells = cells.into_iter().map(|cell| if cell.is_empty() { NONE.to_owned() } else { cell });
        [time(release.time), decision].into_iter().chain(cells).collect()
    },
};

const CSV: Form<Release> = Form {
    header: &[
        "time",
        "decision",
        "workload",
        "secrets",
        "chip_id",
        "measurement",
        "registration",
        "attestation",
        "id",
    ],
    cells: |release| release.cells().to_vec(),
};

/// Digits that tell a chip or a digest from others: 16, which the filters take.
fn short(digits: String) -> String {
    const SHOWN: usize = 16;
    digits.chars().take(SHOWN).collect()
}

pub(super) async fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    let query = AuditQuery { newest_first: args.limit.is_some(), ..args.query()? };
    let operator = args.store.open().await?;
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let mut output = args.form.output(TABLE, CSV, "releases")?;
    let (mut reading, mut attestations) = (Reading::default(), Attestations::default());
    let mut watch = args.filter.watch();
    // The evidence of a release is looked for only when it is asked for, or shown.
    let on_evidence = args.filter.is_on_evidence();
    if let Some(limit) = args.limit {
        let mut newest = Newest::new(limit, &query, operator.backend);
        while !newest.is_whole()
            && let Some(rows) = reading.rows(&operator, &page).await?
        {
            let mut whole = Vec::new();
            for record in rows {
                attestations.note(&record);
                let joins = on_evidence && is_release(&record);
                whole.push(if joins { attestations.join(&operator, record).await? } else { record });
            }
            newest.read(whole, |record| is_release(record) && args.filter.wants(record));
        }
        for record in newest.rest() {
            let record = attestations.join(&operator, record).await?;
            watch.look(&record);
            output.print([Release::of(record)])?;
        }
    } else {
        let mut window = Window::new(Window::<(), ()>::ROWS);
        while let Some(rows) = reading.rows(&operator, &page).await? {
            for record in rows {
                attestations.note(&record);
                if !is_release(&record) {
                    continue;
                }
                let record = attestations.join(&operator, record).await?;
                if args.filter.wants(&record) {
                    watch.look(&record);
                    output.print(window.push((record.time, record.id), record).map(Release::of))?;
                }
            }
        }
        output.print(window.rest().map(Release::of))?;
        args.warn_of_order(output.printed());
    }
    watch.warn();
    Ok(output.end("no releases", "the audit record", &reading.unreadable)?)
}

/// Whether a record is about secrets that were released, or did not leave after all.
fn is_release(record: &AuditRecord) -> bool {
    matches!(record.decision, Decision::Released | Decision::Withheld)
}

/// Attestations that were met or read, the newest of them: releases mostly follow theirs at once.
#[derive(Debug, Default)]
struct Attestations(BTreeMap<AuditId, AuditRecord>);

impl Attestations {
    /// The most that are kept.
    const KEPT: usize = 4096;

    /// Keeps a record if a release may rest on it.
    fn note(&mut self, record: &AuditRecord) {
        if record.decision == Decision::Attested {
            self.keep(record.clone());
        }
    }

    fn keep(&mut self, record: AuditRecord) {
        self.0.insert(record.id, record);
        if self.0.len() > Self::KEPT {
            self.0.pop_first();
        }
    }

    /// The record of a release with the evidence that it rests on.
    async fn join(&mut self, operator: &OperatorHandle, record: AuditRecord) -> Result<AuditRecord, Failure> {
        let Some(id) = record.attestation.filter(|_| record.evidence.is_none()) else { return Ok(record) };
        if !self.0.contains_key(&id) {
            let read = operator.store.audit_record(id).await.map_err(|error| operator.failure(error))?;
            match read {
                Some(read) => self.keep(read),
                None => return Ok(record),
            }
        }
        let attested = self.0.get(&id);
        let evidence = attested.and_then(|attested| attested.evidence.clone());
        let registration = record.registration.or(attested.and_then(|attested| attested.registration));
        Ok(AuditRecord { evidence, registration, ..record })
    }
}
