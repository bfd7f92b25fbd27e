//! Every message, as kbs-types 0.9.0 reads and writes it.

use clients_shared::{messages::check, release};

release!(V0_9_0, kbs_types_0_9_0, "0.9.0", false, Objects);

#[test]
fn v0_9_0() {
    check::<V0_9_0>();
}
