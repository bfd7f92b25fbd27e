//! The kernel's command line, as far as it says from what the boot goes on.

use std::fs;

use crate::{document::Found, root::Root};

/// The command line lets the boot go on from something that this guest did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel command line has root={0}, and the document has no disk of that name")]
pub struct RootError(pub String);

/// Every `root=` is a disk of the document: `/dev/mapper/NAME`. Any other name could be one of the host's, a
/// volume of LVM for example, while this guest opens its own disk beside it.
///
/// A kernel without `root=` has been told elsewhere, or boots nothing from it.
pub fn check(root: &Root, found: &Found) -> Result<(), RootError> {
    let line = fs::read_to_string(root.path("/proc/cmdline")).unwrap_or_default().replace('"', "");
    let disks = &found.document.keybroker().disks;
    let is_ours = |value: &str| {
        let name = value.strip_prefix("/dev/mapper/");
        name.is_some_and(|name| disks.iter().any(|disk| disk.name == name))
    };
    let mut roots = line.split_whitespace().filter_map(|word| word.strip_prefix("root="));
    roots.find(|value| !is_ours(value)).map_or(Ok(()), |value| Err(RootError(value.to_owned())))
}
