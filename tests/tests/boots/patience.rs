//! Faults that a guest waits out.

use std::time::Duration;

use keybroker_boots::{images::Plugin, machine::BOUND};
use keybroker_simulator::kds::{Behaviour, Kind};

use crate::bench::{Bench, assert_opened, images};

#[test]
fn a_broker_that_is_down_for_twenty_seconds_is_waited_for() {
    let Some(images) = images() else { return };
    let mut bench = Bench::served();
    bench.gate = keybroker_boots::network::Gate::closed();
    let (launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    let machine = launch.boot();
    assert!(bench.gate.turned_away_for(Duration::from_secs(20), BOUND), "it did not go on asking");
    bench.gate.open(&bench.world.authority());
    let ended = machine.ended(BOUND);
    assert!(
        ended.console.contains("keybroker-guest: waiting: http://10.0.2.100:8000: "),
        "{}",
        ended.console
    );
    assert_opened(&ended.console);
}

#[test]
fn a_slow_kds_is_waited_for() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    bench.world.kds.script(Kind::Vcek, [Behaviour::Hang, Behaviour::Hang, Behaviour::Hang]);
    let (launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    let ended = launch.boot().ended(BOUND);
    assert!(ended.console.contains("the broker answered 503"), "{}", ended.console);
    assert_opened(&ended.console);
}

#[test]
fn one_lost_packet_in_ten_costs_time_alone() {
    let Some(images) = images() else { return };
    let bench = Bench::served();
    let (mut launch, _) = bench.genuine(Plugin::InitramfsTools, images);
    launch.loses_one_in = Some(10);
    let ended = launch.boot().ended(BOUND);
    assert_opened(&ended.console);
}
