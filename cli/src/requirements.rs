//! The requirements of a registration, in words.

use keybroker_common::{
    policy::PolicyText,
    requirements::{Abi, AppraisalPolicy, TcbFloors},
    workload::Registration,
};
use keybroker_snp::product::Product;

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
    policy(&registration.policy, &mut all);
    if let Some(text) = &registration.rego {
        rego(text, &mut all);
    }
    all
}

fn policy(policy: &AppraisalPolicy, all: &mut Vec<(&'static str, String)>) {
    // Named one by one, so that none is forgotten.
    let AppraisalPolicy {
        forbid_smt,
        require_single_socket,
        require_ciphertext_hiding,
        minimum_abi,
        minimum_tcb,
        minimum_committed_tcb,
        minimum_launch_tcb,
        host_data,
        id_key_digest,
        author_key_digest,
        family_id,
        image_id,
        minimum_guest_svn,
    } = policy;
    for (name, required, what) in [
        ("SMT", forbid_smt, "forbidden by the guest policy"),
        ("socket", require_single_socket, "a single one, by the guest policy"),
        ("ciphertext", require_ciphertext_hiding, "hidden, by the guest policy"),
    ] {
        all.extend(required.then(|| (name, what.to_owned())));
    }
    all.extend(
        minimum_abi
            .map(|Abi { major, minor }| ("ABI", format!("at least {major}.{minor}, by the guest policy"))),
    );
    for (name, floors) in [
        ("reported TCB", minimum_tcb),
        ("committed TCB", minimum_committed_tcb),
        ("launch TCB", minimum_launch_tcb),
    ] {
        all.extend(floors.as_ref().map(|floors| (name, floors_in_words(floors))));
    }
    let text = |name, value: Option<String>| value.map(|value| (name, value));
    all.extend(text("HOST_DATA", host_data.map(|value| value.to_string())));
    all.extend(text("ID key", id_key_digest.map(|value| value.to_string())));
    all.extend(text("author key", author_key_digest.map(|value| value.to_string())));
    all.extend(text("FAMILY_ID", family_id.map(|value| value.to_string())));
    all.extend(text("IMAGE_ID", image_id.map(|value| value.to_string())));
    all.extend(minimum_guest_svn.map(|svn| ("GUEST_SVN", format!("at least {svn}"))));
}

fn floors_in_words(floors: &TcbFloors) -> String {
    let floor = |product| floors.of(product).map(|floor| format!("{product}: at least {floor}"));
    let floors: Vec<_> = Product::ALL.into_iter().filter_map(floor).collect();
    if floors.is_empty() {
        "of no product".to_owned()
    } else {
        format!("{}; no other product", floors.join(", "))
    }
}

/// A module may be long: `--json` prints its text.
fn rego(text: &PolicyText, all: &mut Vec<(&'static str, String)>) {
    let PolicyText { module, queries, reference_values } = text;
    all.extend(queries.iter().map(|query| ("Rego is true", query.clone())));
    all.extend(module.as_ref().map(|module| ("Rego module", format!("{} bytes", module.len()))));
    all.push(("Rego data", format!("{} bytes", reference_values.len())));
}
