//! Workload ids that the cookie of a guest cannot carry. The broker gives a guest that names such a workload
//! no challenge.

use keybroker_common::{
    dialect::Dialect,
    ids::{CarriedId, WorkloadId},
    workload::Workload,
};

/// The advice about such an id.
pub(crate) const HELPS: &str = "register the workload under an id of at most 64 printable ASCII characters, or \
                                of at most 48 bytes if it has commas, semicolons or characters that are not \
                                ASCII";

/// Whether no cookie can carry `id`.
pub(crate) fn is_too_long(id: &WorkloadId) -> bool {
    CarriedId::new(id.clone()).is_none()
}

/// Whether the guests of `workload` are refused because of its id. Libkrun's guests name one in their
/// requests, and Trustee's in their URL where nothing else selects their workload.
pub(crate) fn hinders(workload: &Workload) -> bool {
    let names = workload.read().is_ok_and(|read| {
        let dialects = &read.registration().dialects;
        let by_url = dialects.contains(Dialect::Trustee) && read.registration().selected_by().is_none();
        by_url || dialects.contains(Dialect::Libkrun)
    });
    names && is_too_long(&workload.id)
}
