//! The store of a month: decisions that a broker made about simulated guests, and the same again on earlier
//! days.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{AuditRecord, Decision},
    clock::SystemClock,
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_simulator::{Product, guest::Machine};
use keybroker_tests::{
    operator::{Contents, Operator, id_at, selected, workload},
    server::Home,
    world::World,
};

/// The store, and the files that it is among.
pub(crate) struct Month {
    pub(crate) operator: Operator,
    home: Home,
}

impl Month {
    /// The roots that the broker trusted.
    pub(crate) fn anchors(&self) -> String {
        self.home.anchors().to_str().unwrap().to_owned()
    }
}

/// Makes the store. No broker has it open.
pub(crate) async fn stored() -> Month {
    let world = World::serve(&["--registration", "open;token"]);
    let operator = Operator::of(&world);
    decide(&world, &operator).await;
    let exported = operator.out(&["audit", "export"]);
    let real: Vec<AuditRecord> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (server, home, _kds) = world.into_parts();
    server.terminate();
    let store = EmbeddedStore::open(&home.data_dir(), Arc::new(SystemClock)).unwrap();
    Contents { workloads: earlier(), records: on_earlier_days(&real), ..Contents::default() }
        .fill(&store)
        .await;
    drop(store);
    // A report ends with the last whole second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    Month { operator: Operator::of_directory(&home.data_dir(), "month"), home }
}

/// Guests attest and get their secrets, several checks refuse others, and an operator does this and that.
async fn decide(world: &World, operator: &Operator) {
    let machines = [(Product::Milan, 1), (Product::Milan, 2), (Product::Genoa, 3), (Product::Turin, 4)];
    let machines = machines.map(|(product, seed)| world.machine(product, seed));
    for (id, own) in [("billing", 0..2), ("ledger", 2..3), ("search", 1..4)] {
        world.register(id).await;
        for machine in &machines[own] {
            world.krun(id, machine.clone()).boot().await.unwrap();
        }
    }
    let [milan, _, genoa, _] = &machines;
    let refused = async |id: &str, machine: &Machine, change: fn(&mut Machine)| {
        let mut machine = machine.clone();
        change(&mut machine);
        world.polite(id, machine).boot().await.unwrap_err();
    };
    refused("billing", milan, |machine| machine.fields.policy |= 1 << 19).await;
    refused("billing", milan, |machine| machine.fields.measurement = [0x5A; 48]).await;
    refused("ledger", genoa, |machine| machine.fields.measurement = [0x5B; 48]).await;
    refused("payroll", genoa, |_| {}).await;
    refused("search", genoa, |machine| machine.fields.vmpl = 1).await;
    for act in [
        &["workload", "revoke", "search"][..],
        &["workload", "restore", "search"],
        &["workload", "revoke", "ledger"],
        &["token", "create", "--count", "1"],
        &["keys", "rotate", "challenge"],
    ] {
        let ended = operator.run(act);
        assert!(matches!(ended.code, Some(0 | 2)), "{act:?}: {ended:?}");
    }
}

/// Registrations of weeks ago: bound in other ways, with owners, and some that no guest ever attested as.
fn earlier() -> Vec<keybroker_common::workload::Workload> {
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let released = |mut row: keybroker_common::workload::Workload| {
        row.released_at = Some(row.first_registered_at);
        row
    };
    let (pod, _) = selected("checkout-pod");
    vec![
        workload("nightly-4471", Some("token/1f0c7a91e4d25b86c0913fd7a2486be5"), days(12)),
        workload("nightly-4482", Some("token/91e4d25b86c0913fd7a2486be51f0c7a"), days(9)),
        workload("nightly-4483", Some("token/d25b86c0913fd7a2486be51f0c7a91e4"), days(9)),
        released(workload("inference", Some("arn:aws:sts::123456789012:assumed-role/builder"), days(21))),
        released(workload("vault-proxy", Some("uid/1000"), days(47))),
        released(pod),
    ]
}

/// The real records once more, at other hours of the days before: each attestation with its release.
fn on_earlier_days(real: &[AuditRecord]) -> Vec<AuditRecord> {
    let now = Timestamp::now();
    let with = |decision: Decision| real.iter().filter(move |record| record.decision == decision);
    let granted: Vec<_> = with(Decision::Attested).zip(with(Decision::Released)).collect();
    let mut records = Vec::new();
    let mut again = |record: &AuditRecord, ago: usize| {
        let time = now - SignedDuration::from_mins(i64::try_from(ago).unwrap());
        records.push(AuditRecord { id: id_at(time), time, ..record.clone() });
    };
    for day in 1..29 {
        let many = if day % 7 < 2 { 1 } else { 4 + day * 7 % 13 };
        let few = [0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 6, 0, 0][day % 16];
        for index in 0..many {
            let (attested, released) = granted[(day + index) % granted.len()];
            let ago = day * 24 * 60 + 37 * index;
            again(attested, ago + 1);
            again(released, ago);
        }
        with(Decision::Refused).cycle().skip(day % 3).take(few).enumerate().for_each(|(index, record)| {
            again(record, day * 24 * 60 + 11 * index);
        });
    }
    records
}
