//! Every message, as kbs-types 0.9.1 reads and writes it.

use clients_shared::{messages::check, release};

release!(V0_9_1, kbs_types_0_9_1, "0.9.1", false, Objects);

#[test]
fn v0_9_1() {
    check::<V0_9_1>();
}
