//! The names of decisions and operations, as listings have them.

use keybroker_common::audit::{Decision, Operation};
use serde::{Deserialize as _, de::value::StrDeserializer};

/// The decision of this name.
pub(super) fn parse_decision(text: &str) -> Result<Decision, String> {
    // Records have the same names, with underscores.
    let stored = text.replace('-', "_");
    match Decision::deserialize(StrDeserializer::<serde::de::value::Error>::new(&stored)) {
        Ok(parsed) if decision(parsed) == text => Ok(parsed),
        Ok(parsed) => Err(format!("no decision has this name: did you mean {}?", decision(parsed))),
        // serde lists the names.
        Err(error) => {
            Err(error.to_string().replace('_', "-").replace("unknown variant", "no decision has this name:"))
        }
    }
}

/// The name of a decision, as listings have it.
pub(in crate::command) fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Registered => "registered",
        Decision::Replaced => "replaced",
        Decision::Revoked => "revoked",
        Decision::Restored => "restored",
        Decision::Deleted => "deleted",
        Decision::ResourceSet => "resource-set",
        Decision::ResourceDeleted => "resource-deleted",
        Decision::TokenCreated => "token-created",
        Decision::TokenRevoked => "token-revoked",
        Decision::KeysTurned => "keys-turned",
        Decision::KeyPrepared => "key-prepared",
        Decision::KeyImported => "key-imported",
        Decision::KeyRetired => "key-retired",
        Decision::Rewrapped => "rewrapped",
        Decision::Pruned => "pruned",
        Decision::Attested => "attested",
        Decision::Released => "released",
        Decision::Withheld => "withheld",
        Decision::Refused => "refused",
        Decision::Unavailable => "unavailable",
    }
}

/// The name of an operation, likewise.
pub(in crate::command) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Register => "register",
        Operation::Attest => "attest",
        Operation::Key => "key",
        Operation::Resource => "resource",
        Operation::Release => "release",
        Operation::Operate => "operate",
    }
}
