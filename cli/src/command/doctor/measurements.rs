//! Launch measurements that several workloads are registered under.

use keybroker_common::store::Cursor;

use super::finding::Finding;
use crate::{
    operator::{self, OperatorHandle},
    sharing::Sharing,
};

/// How many are shared, and by how many ids.
pub(super) async fn shared(operator: &OperatorHandle) -> Finding {
    const CHECK: &str = "measurements";
    let page = async |after: Option<&Cursor>| operator.store.workloads(after).await;
    let (rows, _) = match operator::all(page).await {
        Ok(all) => all,
        Err(error) => return Finding::failed(CHECK, &operator.failure(error)),
    };
    let sharing = Sharing::of(&rows);
    let shared: Vec<_> = sharing.all().map(|(_, shared)| shared).collect();
    if shared.is_empty() {
        return Finding::ok(CHECK, "no launch measurement is registered under several ids");
    }
    let (measurements, ids) = (shared.len(), rows.iter().filter(|row| sharing.shared(row).is_some()).count());
    let noun = if measurements == 1 { "launch measurement" } else { "launch measurements" };
    let owners = shared.iter().filter(|shared| shared.owners > 1).count();
    let across = if owners == 0 { String::new() } else { format!("; {owners} by ids of several owners") };
    Finding::warn(
        CHECK,
        format!("{ids} workload ids share {measurements} {noun}{across}"),
        "a guest with such a measurement can claim any of its ids: if a workload must be told apart, give it \
         a measurement of its own. `keybroker workload list` marks the ids",
    )
}
