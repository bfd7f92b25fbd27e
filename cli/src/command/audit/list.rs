//! `keybroker audit --workload`, `--since` and the like: a line for each decision.

use keybroker_common::{
    audit::AuditRecord,
    store::{AuditQuery, Cursor},
};

use super::{AuditArgs, columns, newest::Newest};
use crate::{
    exit::{Exit, Failure},
    listing::{Reading, Window},
};

pub(super) async fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    let newest_first = args.limit.is_some();
    let query = AuditQuery { newest_first, ..args.query()? };
    let operator = args.store.open().await?;
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let mut output = args.form.output(columns::TABLE, columns::CSV, "records")?;
    let (mut reading, mut watch, mut last) = (Reading::default(), args.filter.watch(), None);
    let mut shown = |record: &AuditRecord| {
        watch.look(record);
        last = last.max(Some((record.time, record.id)));
    };
    if let Some(limit) = args.limit {
        let mut newest = Newest::new(limit, &query, operator.backend);
        while !newest.is_whole()
            && let Some(rows) = reading.rows(&operator, &page).await?
        {
            newest.read(rows, |record| args.filter.wants(record));
        }
        output.print(newest.rest().inspect(&mut shown))?;
    } else {
        let mut window = Window::new(Window::<(), ()>::ROWS);
        while let Some(rows) = reading.rows(&operator, &page).await? {
            let rows = rows.into_iter().filter(|record| args.filter.wants(record)).inspect(&mut shown);
            output.print(rows.filter_map(|record| window.push((record.time, record.id), record)))?;
        }
        output.print(window.rest())?;
        args.warn_of_order(output.printed());
    }
    let exit = output.end("no audit records", "the audit record", &reading.unreadable)?;
    watch.warn();
    if let Some((_, last)) = last
        && args.form.is_table()
    {
        let one = operator.place.command("audit", &[&last.to_string()]);
        say!("to see one decision in words: {one}");
    }
    Ok(exit)
}
