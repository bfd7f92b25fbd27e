//! Every message, as kbs-types 0.9.2 reads and writes it.

use clients_shared::{messages::check, release};

release!(V0_9_2, kbs_types_0_9_2, "0.9.2", false, JweWithoutEpk, aad);

#[test]
fn v0_9_2() {
    check::<V0_9_2>();
}
