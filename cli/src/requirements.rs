//! The requirements of a registration, in words.

use keybroker_common::{policy::PolicyText, workload::Registration};

/// Every requirement of `registration`: its name and what is required. The first is that on every guest.
pub(crate) fn of(registration: &Registration) -> Vec<(&'static str, String)> {
    let mut all =
        vec![("always", "no DEBUG, no migration agent, VMPL 0, and the operator's demands".to_owned())];
    match registration.reference_values.measurements.as_slice() {
        [] => all.push(("measurement", "the one that the ID block vouches for".to_owned())),
        measurements => all.extend(measurements.iter().enumerate().map(|(index, measurement)| {
            let name = if index == 0 { "measurement" } else { "or" };
            (name, data_encoding::HEXLOWER.encode(&measurement.0))
        })),
    }
    all.extend(registration.policy.demands());
    if let Some(text) = &registration.rego {
        rego(text, &mut all);
    }
    all
}

/// A module may be long: `--json` prints its text.
fn rego(text: &PolicyText, all: &mut Vec<(&'static str, String)>) {
    let PolicyText { module, queries, reference_values } = text;
    all.extend(queries.iter().map(|query| ("Rego is true", query.clone())));
    all.extend(module.as_ref().map(|module| ("Rego module", format!("{} bytes", module.len()))));
    all.push(("Rego data", format!("{} bytes", reference_values.len())));
}
