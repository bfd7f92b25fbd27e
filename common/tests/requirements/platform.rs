//! The rows of demands on the platform.

use super::{
    Missed::{self, Guest, Value as Other},
    *,
};

/// The chip that the guests run on, by its id.
fn chip() -> Value {
    let id = Attempt::vcek(Turin).fields.chip_id;
    data_encoding::HEXLOWER.encode(&id[..8]).into()
}

/// The TCB of a simulated Turin, with one component raised.
fn turin(snp: u8) -> Value {
    json!({"turin-c1": {"fmc": 1, "boot_loader": 1, "tee": 1, "snp": snp, "microcode": 81}})
}

fn floor(at: &'static str, missed: Missed) -> Row {
    let malformed = vec![
        (json!({}), "names no silicon"),
        (json!({"milan-x": {"fmc": 1}}), "may name fmc (Turin)"),
        (json!({"turin-c1": {}}), "one or more"),
        (json!({"turin-c1": {"fmc": 256}}), "wrong type"),
        (json!({"turin-c1": [4]}), "wrong type"),
        (json!({"turin-c1": {"fmc": null}}), "wrong type"),
        (json!({"turin-c1": {"cpu": 1}}), "unknown field cpu"),
        (json!({"rome": {"snp": 1}}), "names neither a product (milan) nor silicon"),
        (json!({"turin-c1": {"snp": 1}, "0x00B00F21": {"snp": 2}}), "names the same silicon twice"),
        (json!(4), "wrong type"),
    ];
    Row { at, satisfied: turin(4), launched: unaltered, missed, malformed }
}

/// Bits of a mitigation vector, of which a simulated Turin has 0 to 5.
fn mitigations(at: &'static str, missed: Missed) -> Row {
    let malformed = vec![
        (json!({}), "names no silicon"),
        (json!({"turin-c1": [64]}), "bits from 0 to 63"),
        (json!({"rome": [1]}), "names neither a product (milan) nor silicon"),
        (json!({"turin-c1": "1"}), "wrong type"),
        (json!([1]), "wrong type"),
    ];
    Row { at, satisfied: json!({"turin-c1": [1, 4]}), launched: unaltered, missed, malformed }
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        floor("/minimum_tcb", Other("minimum-tcb", turin(5))),
        floor("/minimum_committed_tcb", Guest("minimum-committed-tcb", |guest| guest.committed_tcb.snp -= 1)),
        floor("/minimum_current_tcb", Guest("minimum-current-tcb", |guest| guest.current_tcb.snp -= 1)),
        mitigations(
            "/require/current_mitigations",
            Guest("current-mitigations", |guest| guest.current_mit_vector = 0x2F),
        ),
        mitigations(
            "/require/launch_mitigations",
            Guest("launch-mitigations", |guest| guest.launch_mit_vector = 0x2F),
        ),
        Row {
            at: "/require/products",
            satisfied: json!(["milan", "turin"]),
            launched: unaltered,
            missed: Other("admitted-product", json!(["milan"])),
            malformed: vec![
                (json!([]), "is empty"),
                (json!(["rome"]), "must be milan, genoa or turin"),
                (json!("turin"), "wrong type"),
            ],
        },
        Row {
            at: "/require/chips",
            satisfied: json!([hex(0x07, 8), hex(0x08, 64), chip()]),
            launched: unaltered,
            missed: Other("admitted-chip", json!([hex(0x07, 8), hex(0x08, 64)])),
            malformed: vec![
                (json!([]), "is empty"),
                (json!([hex(0, 64)]), "not all zeros"),
                (json!([hex(7, 32)]), "128 hex digits"),
                (json!({}), "wrong type"),
            ],
        },
        Row {
            at: "/require/platform",
            satisfied: json!(["alias-check", "no-smt", "committed"]),
            launched: |guest| guest.platform_info = 0x20,
            missed: Guest("platform-info", |guest| guest.committed_firmware[0] -= 1),
            malformed: vec![
                (json!([]), "is empty"),
                (json!(["smt"]), "none of the platform's conditions"),
                (json!(true), "wrong type"),
            ],
        },
        Row {
            at: "/require/minimum_firmware",
            satisfied: json!("1.55.29"),
            launched: unaltered,
            missed: Other("minimum-firmware", json!("1.55.30")),
            malformed: vec![
                (json!("1.55"), "MAJOR.MINOR.BUILD"),
                (json!("1.55.256"), "MAJOR.MINOR.BUILD"),
                (json!(1), "wrong type"),
            ],
        },
        floor("/minimum_launch_tcb", Guest("minimum-launch-tcb", |guest| guest.launch_tcb.snp -= 1)),
    ]
}
