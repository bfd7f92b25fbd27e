//! `keybroker audit --follow`: new records as they come.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use keybroker_common::{audit::AuditRecord, store::Cursor};
use keybroker_embedded::store::EmbeddedStore;
use tokio::{signal::ctrl_c, time::sleep};

use super::{AuditArgs, columns, looks::Looks};
use crate::{
    exit::{Exit, Failure},
    listing::{Output, Reading, Window},
    operator::{Backend, OperatorHandle, tell_unreadable},
};

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// The same on AWS, where each costs.
const PAUSE_ON_AWS: Duration = Duration::from_secs(5);
/// A look that takes long waits for this many times as long: the broker has other work.
const REST: u32 = 4;

pub(super) async fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    if args.form.json {
        return Err(Failure::new(Exit::Usage, anyhow!("--follow never ends the one document of --json"))
            .hint("give --json-lines"));
    }
    if args.store.aws && args.workload.is_none() {
        let read = "with --aws, --follow needs --workload: without it each look would read the whole tables";
        return Err(Failure::new(Exit::Usage, anyhow!(read)).hint(
            "the logs have every record: aws logs tail /aws/lambda/PREFIX/attest --follow, and PREFIX/register",
        ));
    }
    let mut following = Following::new(args)?;
    tokio::select! {
        ended = ctrl_c() => ended.map(|()| Exit::Ok).context("waiting for the end").map_err(Failure::from),
        failed = following.go_on() => failed,
    }
}

struct Following<'a> {
    args: &'a AuditArgs,
    operator: Option<OperatorHandle>,
    output: Output<AuditRecord>,
    looks: Looks,
    /// When the file that no broker has open last changed, as this command left it. A broker that starts
    /// waits while it is open. So the command opens it if somebody else has changed it, and for a sweep.
    left: Option<SystemTime>,
    /// The rows that cannot be read and were told of.
    told: BTreeSet<String>,
}

impl<'a> Following<'a> {
    fn new(args: &'a AuditArgs) -> Result<Self, Failure> {
        let begin = args.query()?.since;
        Ok(Self {
            args,
            operator: None,
            output: args.form.output(columns::TABLE, columns::CSV, "records")?,
            looks: Looks::new(begin.unwrap_or_else(Timestamp::now)),
            left: None,
            told: BTreeSet::new(),
        })
    }

    /// Looks again and again, until something fails for good.
    async fn go_on(&mut self) -> Result<Exit, Failure> {
        let mut ails = false;
        loop {
            let began = Instant::now();
            match self.look().await {
                Ok(()) => ails = false,
                // The broker may be starting again, or the network be out for a while.
                Err(failure) if self.looks.have_begun() && failure.exit().passes() => {
                    self.operator = None;
                    if !ails {
                        let (cause, _) = failure.told();
                        say!("warning: {cause}; trying again");
                    }
                    ails = true;
                }
                Err(failure) => return Err(failure),
            }
            let pause = if self.args.store.aws { PAUSE_ON_AWS } else { PAUSE };
            sleep(pause.max(began.elapsed().saturating_mul(REST))).await;
        }
    }

    /// Shows what is new.
    async fn look(&mut self) -> Result<(), Failure> {
        let now = Timestamp::now();
        if self.left.is_some() && self.left == self.changed_at() && !self.looks.sweeps(now) {
            return Ok(());
        }
        let (look, query) = self.looks.next(now, self.args.query()?);
        let operator = match self.operator.take() {
            Some(operator) => operator,
            None => self.args.store.open().await?,
        };
        let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
        let (mut reading, mut window) = (Reading::default(), Window::new(Window::<(), ()>::ROWS));
        let read = loop {
            let rows = match reading.rows(&operator, &page).await {
                Ok(Some(rows)) => rows,
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            };
            let new = rows
                .into_iter()
                .filter(|record| self.looks.is_new(&look, record) && self.args.filter.wants(record));
            let new = new.filter_map(|record| window.push((record.time, record.id), record));
            self.output.print(new)?;
        };
        // Records that were met are shown, even if the look failed afterwards.
        self.output.print(window.rest())?;
        read?;
        reading.unreadable.retain(|row| self.told.insert(row.key.clone()));
        tell_unreadable("the audit record", &reading.unreadable);

        self.looks.ended(&look);
        self.left = None;
        if operator.backend == Backend::File {
            drop(operator);
            self.left = self.changed_at();
        } else {
            self.operator = Some(operator);
        }
        Ok(())
    }

    /// When the store's file last changed.
    fn changed_at(&self) -> Option<SystemTime> {
        EmbeddedStore::changed_at(&self.args.store.data_dir().ok()?).ok()
    }
}
