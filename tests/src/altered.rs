//! The reports that a hostile host can have made, for guests of every dialect.

use keybroker_simulator::{
    guest::Machine,
    report::{SIGNED_BY_NONE, SIGNED_BY_VLEK},
};

/// A change to the machine of a guest.
pub type Alter = fn(&mut Machine);

/// Changes that a hostile host, or the hardware under it, may make to a report: name, failing check, change.
pub const REPORTS: [(&str, &str, Alter); 17] = [
    ("another image", "measurement", |m| m.fields.measurement = [0x66; 48]),
    ("one bit of the image", "measurement", |m| m.fields.measurement[47] ^= 1),
    ("DEBUG", "guest-policy-debug", |m| m.fields.policy |= 1 << 19),
    ("MIGRATE_MA", "guest-policy-migrate-ma", |m| m.fields.policy |= 1 << 18),
    ("a policy bit of unknown meaning", "guest-policy-form", |m| m.fields.policy |= 1 << 40),
    ("a policy without the bit that is always one", "guest-policy-form", |m| m.fields.policy &= !(1 << 17)),
    ("VMPL 1", "vmpl", |m| m.fields.vmpl = 1),
    ("VMPL 2", "vmpl", |m| m.fields.vmpl = 2),
    ("VMPL 3", "vmpl", |m| m.fields.vmpl = 3),
    ("a masked chip key", "signed", |m| m.fields.mask_chip_key = true),
    ("signed by nobody", "signed", |m| m.fields.signing_key = SIGNED_BY_NONE),
    ("signed by a VLEK that it was not", "endorsements", |m| m.fields.signing_key = SIGNED_BY_VLEK),
    ("a masked chip id", "endorsements", |m| m.fields.chip_id = [0; 64]),
    ("an unknown signature algorithm", "report", |m| m.fields.signature_algo = 2),
    ("version 1", "report", |m| m.fields.version = 1),
    ("version 6", "report", |m| {
        // Not every form of evidence could write mitigation vectors.
        (m.fields.version, m.fields.launch_mit_vector, m.fields.current_mit_vector) = (6, 0, 0);
    }),
    ("firmware that it does not run", "signature", |m| m.fields.reported_tcb.snp += 1),
];
