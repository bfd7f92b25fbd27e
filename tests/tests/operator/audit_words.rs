//! `keybroker audit ID` explains in words why a real guest was refused.

use keybroker_simulator::{Product, guest::Error, kds::Behaviour};
use keybroker_tests::{
    operator::Operator,
    unique,
    world::{World, audit_id},
};

/// The text that an operator reads about a refused boot.
async fn told(
    world: &World,
    id: &str,
    alter: impl FnOnce(&mut keybroker_simulator::guest::Machine),
) -> String {
    let mut machine = world.milan();
    alter(&mut machine);
    match world.polite(id, machine).boot().await {
        Err(Error::Refused(said)) => Operator::of(world).out(&["audit", &audit_id(&said.body)]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_in_words_names_expected_found_and_remedy() {
    let world = World::serve(&["--minimum-tcb", "genoa-b1:snp=255", "--minimum-tcb", "milan-b1:snp=0"]);
    let id = unique("w");
    world.register(&id).await;

    let debug = told(&world, &id, |machine| machine.fields.policy |= 1 << 19).await;
    for line in [
        "The host launched the guest with DEBUG set: policy 0xb0000.",
        "The host can read the guest's memory, so nothing is released.",
        "Launch the guest with krun's own settings, without debugging.",
    ] {
        assert!(debug.lines().any(|one| one == line), "{line}: {debug}");
    }
    let other = told(&world, &id, |machine| machine.fields.measurement = [0x66; 48]).await;
    let measured =
        format!("The launch measurement is {}, registered is {}.", "66".repeat(48), "4d".repeat(48));
    assert!(other.contains(&measured) && other.contains("build the image again"), "{other}");

    let genoa = world.machine(Product::Genoa, 7);
    let old = told(&world, &id, |machine| *machine = genoa).await;
    let demanded = "The operator demands a reported TCB of at least snp=255, the report has bl 10 tee 0 snp 23 \
        ucode 84.";
    assert!(old.contains(demanded), "{old}");
    assert!(old.contains("Update the host's firmware"), "{old}");

    let nobody = told(&world, "nobody-registered-this", |_| ()).await;
    assert!(nobody.contains("No workload is registered under this id."), "{nobody}");

    world.kds.otherwise(Behaviour::Status(503, None));
    let undecided = match world.polite(&id, world.milan()).boot().await {
        Err(Error::Refused(said)) => said,
        other => panic!("{other:?}"),
    };
    // Nothing was decided: what the broker printed is all there is.
    let printed = world.audit(&undecided.body).unwrap();
    assert_eq!((undecided.status, &printed["decision"]), (503, &"unavailable".into()), "{printed}");
    assert!(printed["failed"]["cause"].as_str().unwrap().contains("AMD's KDS answered 503"), "{printed}");
    let missing = Operator::of(&world).run(&["audit", &audit_id(&undecided.body)]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.log.contains("a guest that got 503 has an id without a record"), "{missing:?}");
}
