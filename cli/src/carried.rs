//! Workload ids that libkrun's cookie cannot carry. The broker gives the guests of such a workload no
//! challenge.

use keybroker_common::{
    dialect::Dialect,
    ids::{CarriedId, WorkloadId},
    workload::Workload,
};

/// The advice about such an id.
pub(crate) const HELPS: &str = "register the workload under an id of at most 64 printable ASCII characters, or \
                                of at most 48 bytes if it has commas, semicolons or characters that are not \
                                ASCII";

/// Whether libkrun's cookie cannot carry `id`.
pub(crate) fn is_too_long(id: &WorkloadId) -> bool {
    CarriedId::new(id.clone()).is_none()
}

/// Whether the guests of `workload` are refused because of its id. Only libkrun's guests name one.
pub(crate) fn hinders(workload: &Workload) -> bool {
    let libkrun = workload.read().is_ok_and(|read| read.registration().dialects.contains(Dialect::Libkrun));
    libkrun && is_too_long(&workload.id)
}
