//! Many functions that start at once, none of which has seen anything yet.

use std::sync::Arc;

use keybroker_common::store::EndorsementStore;
use keybroker_simulator::kds::Kind;
use keybroker_testing::{
    hardware::{Hardware, endorse},
    moto,
};
use tokio::task::JoinSet;

#[tokio::test]
async fn two_hundred_that_start_at_once_ask_amd_once() {
    let hardware = Hardware::new().await;
    let store: Arc<dyn EndorsementStore> = Arc::new(moto::store().await);
    let mut functions = JoinSet::new();
    for _ in 0..200 {
        // A process cache of its own, over the table that they share.
        let source = hardware.source_with(Arc::clone(&store), &hardware.settings());
        let report = hardware.report();
        functions.spawn(async move { endorse(&source, &report).await.map(|_| ()) });
    }
    assert_eq!(functions.join_all().await, vec![Ok(()); 200]);
    for kind in [Kind::Vcek, Kind::Chain, Kind::Crl] {
        let asked = hardware.kds.count(kind);
        println!("{kind:?}: {asked}");
        assert!((1..=2).contains(&asked), "{kind:?}: {asked}");
    }
}
