//! The mappings that the kernel has: `/dev/mapper/NAME`.
//!
//! The name alone says nothing about who made a mapping. A host's disk with a volume of LVM can bring one of
//! the same name, and what opens disks takes a name that is there for a disk that is open.

use std::fs;

use crate::root::Root;

/// The kind of thing behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing.
    Absent,
    /// A mapping that cryptsetup made.
    Encrypted,
    /// Something else.
    Foreign,
}

/// Looks up the mapping `name`: by the kernel's list, where cryptsetup's have an id that says so.
pub fn mapping(root: &Root, name: &str) -> Mapping {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    for device in fs::read_dir(root.path("/sys/block")).into_iter().flatten().flatten() {
        let dm = device.path().join("dm");
        if read(dm.join("name")).trim() == name {
            return if read(dm.join("uuid")).starts_with("CRYPT-") {
                Mapping::Encrypted
            } else {
                Mapping::Foreign
            };
        }
    }
    // A name that the kernel's list lacks is none of the device mapper's.
    let there = fs::symlink_metadata(root.path("/dev/mapper").join(name)).is_ok();
    if there { Mapping::Foreign } else { Mapping::Absent }
}
