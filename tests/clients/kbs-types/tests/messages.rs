//! Every message, as the releases of kbs-types read and write it.

use clients_shared::{messages::check, release};

release!(V0_7_0, kbs_types_0_7_0, "0.7.0", false, Texts);
release!(V0_8_0, kbs_types_0_8_0, "0.8.0", false, Texts);
release!(V0_9_3, kbs_types_0_9_3, "0.9.3", false, JweWithoutEpk, aad);
release!(V0_10_0, kbs_types_0_10_0, "0.10.0", false, Jwe, aad);
release!(V0_11_0, kbs_types_0_11_0, "0.11.0", false, Jwe, aad);
release!(V0_12_0, kbs_types_0_12_0, "0.12.0", false, Jwe, aad);
release!(V0_13_0, kbs_types_0_13_0, "0.13.0", true, Jwe, aad, hash);
release!(V0_14_0, kbs_types_0_14_0, "0.14.0", true, Jwe, aad, hash);
release!(V0_15_0, kbs_types_0_15_0, "0.15.0", true, Jwe, aad, hash);
release!(V0_18_0, kbs_types_0_18_0, "0.18.0", true, Jwe, aad, hash);

#[test]
fn v0_7_0() {
    check::<V0_7_0>();
}

#[test]
fn v0_8_0() {
    check::<V0_8_0>();
}

#[test]
fn v0_9_3() {
    check::<V0_9_3>();
}

#[test]
fn v0_10_0() {
    check::<V0_10_0>();
}

#[test]
fn v0_11_0() {
    check::<V0_11_0>();
}

#[test]
fn v0_12_0() {
    check::<V0_12_0>();
}

#[test]
fn v0_13_0() {
    check::<V0_13_0>();
}

#[test]
fn v0_14_0() {
    check::<V0_14_0>();
}

#[test]
fn v0_15_0() {
    check::<V0_15_0>();
}

#[test]
fn v0_18_0() {
    check::<V0_18_0>();
}
