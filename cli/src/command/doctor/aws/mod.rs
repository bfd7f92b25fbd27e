//! The resources of a deployment on AWS, as infra/storage.yaml and infra/template.yaml make them. All of them
//! are looked at at once.

mod alarms;
mod decisions;
mod key;
mod logs;
mod rewrap;
mod tables;
mod unseen;

use super::{finding::Finding, report::Report};
use crate::aws::{Account, Asker};

/// Examines tables, key, alarms and logs.
pub(super) async fn examine(account: &Account, prefix: &str, report: &Report) {
    let watched = async {
        match Asker::new(account) {
            Ok(asker) => {
                tokio::join!(async { report.tell(alarms::examine(&asker, prefix).await) }, async {
                    report.tell(logs::examine(&asker, prefix).await)
                },);
            }
            Err(error) => report.tell([Finding::failed("alarms", &error.into())]),
        }
    };
    tokio::join!(
        async { report.tell(tables::examine(account, prefix).await) },
        async { report.tell(key::examine(account, prefix).await) },
        watched,
    );
}
