//! Takes from the workload what would let it attest in the guest's name, or take over this program.
//!
//! The workload is root. So neither a missing device nor a read-only mount is enough by itself: each of these
//! capabilities would bring them back. This does not stop a workload that breaks into the kernel.

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use crate::failure::Failure;

/// The capabilities that no program of the workload gets, with what each could do.
const TAKEN: [(CapabilitySet, &str); 8] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"), // mount devtmpfs and configfs
    (CapabilitySet::MKNOD, "CAP_MKNOD"),         // make /dev/sev-guest
    (CapabilitySet::SYS_MODULE, "CAP_SYS_MODULE"), // bring code into the kernel
    (CapabilitySet::SYS_BOOT, "CAP_SYS_BOOT"),   // bring another kernel
    (CapabilitySet::SYS_RAWIO, "CAP_SYS_RAWIO"), // write to the kernel's memory, and to MSRs
    (CapabilitySet::BPF, "CAP_BPF"),             // run code in the kernel
    (CapabilitySet::PERFMON, "CAP_PERFMON"),     // look into the kernel
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"), // take over process 1, which keeps its own
];

/// Takes them from everything that this process starts.
pub(super) fn confine() -> Result<(), Failure> {
    for (capability, name) in TAKEN {
        remove_capability_from_bounding_set(capability).map_err(|error| Failure::doing(name, error))?;
    }
    Ok(())
}
