//! `keybroker report`: what was decided in a span of time, as a page for people.
//!
//! [`figures`] and [`registrations`] count while the store is read, and keep a bounded number of rows behind
//! each figure. [`page`] makes the HTML of them, and [`mod@file`] writes it.

mod entry;
mod figures;
mod file;
mod kept;
mod level;
mod page;
mod registrations;
mod span;

use std::path::PathBuf;

use jiff::Timestamp;
use keybroker_common::store::{AuditQuery, Cursor};

use self::{figures::Figures, page::Page, registrations::Registrations, span::Span};
use crate::{
    counted::counted,
    endorsement_row,
    endorser::AnchorArgs,
    exit::{Exit, Failure},
    listing,
    operator::{self, StoreArgs},
    when::When,
};

/// Write a page about what the broker decided, for people who look after it or audit it
///
/// The page is one HTML file that loads nothing and runs no script. It shows the decisions over time, the
/// refusals by check with what helps, which workloads are bound by what, the guests' TCB levels,
/// registrations as which no guest attested, the age of AMD's revocation lists, and the owners. Below each
/// figure it names the newest records behind it, and the command that lists all. It holds no secret. It does
/// name workloads and principals: the file is for its owner alone, unless you give it another mode.
///
/// An earlier report under the name of the file is replaced; any other file there stays, and the command ends
/// with 5. The command reads all registrations and all records of the span, with a bounded number in hand.
/// On AWS it reads whole tables, and AWS charges for that.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker report --since 30d --html report.html
  keybroker report --since 2026-10-01T00:00:00Z --until 2026-11-01T00:00:00Z --html october.html
  keybroker report --since 7d --html - --aws | aws s3 cp - s3://reports/keybroker.html

{}", Exit::TABLE))]
pub(crate) struct ReportArgs {
    /// The span begins at this time: 30d or 24h ago, or a time in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = When::parse, default_value = "30d")]
    since: When,
    /// The span ends before this time, in the same form. The default is now
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,
    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    operator::block_on(report(args))
}

async fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let span = Span::new(args.since, args.until, now)?;
    file::check(&args.html)?;
    let anchors = args.anchors.read()?;
    let operator = args.store.open().await?;

    let mut registrations = Registrations::default();
    let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
    let unreadable = listing::pages(&operator, page, |rows| {
        rows.iter().for_each(|row| registrations.add(row));
        Ok(())
    });
    let workloads = unreadable.await?;

    let mut figures = Figures::of(registrations.shown());
    let query = AuditQuery { since: Some(span.since), until: Some(span.until), ..AuditQuery::default() };
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let unreadable = listing::pages(&operator, page, |rows| {
        rows.iter().for_each(|record| figures.add(record));
        Ok(())
    });
    let records = unreadable.await?;

    let (lists, endorsements) = endorsement_row::lists(&operator, &anchors, now).await?;

    let read = [
        operator::tell_unreadable("the workload", &workloads),
        operator::tell_unreadable("the audit record", &records),
        operator::tell_unreadable("the endorsement", &endorsements),
    ];
    let unreadable = [workloads, records, endorsements].concat();
    let page = Page {
        span: &span,
        made: now,
        place: &operator.place,
        figures: &figures,
        registrations: &registrations,
        lists: &lists,
        unreadable: &unreadable,
    };
    let html = page.html();
    let records = counted(figures.records, "record");
    let registrations = counted(registrations.count, "registration");
    file::write(&args.html, &html)?;
    say!("{records}, {registrations}: {} KiB in {}", html.len().div_ceil(1024), args.html.display());
    Ok(if read.iter().all(|exit| *exit == Exit::Ok) { Exit::Ok } else { Exit::Failure })
}
