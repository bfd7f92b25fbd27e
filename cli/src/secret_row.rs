//! A secret as an operator sees it: never the secret itself.

use keybroker_common::workload::Workload;
use serde::Serialize;

/// A secret of a workload, as it is wrapped.
#[derive(Debug, Serialize)]
pub(crate) struct SecretRow<'a> {
    pub(crate) name: &'a str,
    pub(crate) wrapped_bytes: usize,
    pub(crate) key_id: &'a str,
}

/// The secrets of `workload`, by name.
pub(crate) fn rows(workload: &Workload) -> impl Iterator<Item = SecretRow<'_>> {
    workload.secrets.iter().map(|(name, secret)| SecretRow {
        name,
        wrapped_bytes: secret.ciphertext.len(),
        key_id: &secret.key_id,
    })
}
