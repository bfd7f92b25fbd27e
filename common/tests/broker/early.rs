//! The broker refuses evidence that it could never accept before it asks AMD.

use keybroker_common::{
    broker::{Error, Evidence},
    challenge::Challenge,
    encoding::Hex,
    requirements::AppraisalPolicy,
};
use keybroker_simulator::report::{ReportFields, SIGNED_BY_NONE};
use keybroker_testing::{
    guest::{KEY, OTHER_KEY, evidence, evidence_with},
    world::{Broker, World, request},
};

/// Asserts that `evidence` is refused by `check` with not one request to AMD.
async fn refused_unasked(
    world: &World,
    broker: &Broker,
    check: &str,
    evidence: impl FnOnce(&World, &Challenge) -> Evidence,
) {
    let challenge = broker.challenge("a").await;
    let error = broker.refused(&challenge, evidence(world, &challenge)).await;
    assert!(matches!(error, Error::Refused { .. }), "{check}: {error:?}");
    let failed = world.audit().pop().unwrap().failed.unwrap();
    assert_eq!(failed.check, check);
    assert_eq!(world.hardware.kds.requests(), [], "{check}");
}

async fn refused_for(check: &str, alter: fn(&mut ReportFields)) {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    refused_unasked(&world, &broker, check, |world, challenge| {
        evidence_with(&world.hardware.chip, &KEY, challenge, alter)
    })
    .await;
}

#[tokio::test]
async fn a_report_bound_to_something_else() {
    refused_for("challenge", |fields| fields.report_data[63] ^= 1).await;
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let other = broker.challenge("a").await;
    refused_unasked(&world, &broker, "challenge", |world, _| evidence(&world.hardware.chip, &KEY, &other))
        .await;
    refused_unasked(&world, &broker, "challenge", |world, challenge| Evidence {
        binding: evidence(&world.hardware.chip, &OTHER_KEY, challenge).binding,
        ..evidence(&world.hardware.chip, &KEY, challenge)
    })
    .await;
}

#[tokio::test]
async fn a_report_that_no_key_signed() {
    refused_for("signed", |fields| fields.signing_key = SIGNED_BY_NONE).await;
    refused_for("signed", |fields| fields.mask_chip_key = true).await;
}

#[tokio::test]
async fn an_unknown_product() {
    refused_for("product", |fields| fields.cpuid = [0x1B, 0, 0]).await;
}

#[tokio::test]
async fn a_guest_that_the_host_can_read() {
    refused_for("guest-policy-debug", |fields| fields.policy |= 1 << 19).await;
    refused_for("guest-policy-migrate-ma", |fields| fields.policy |= 1 << 18).await;
    refused_for("guest-policy-form", |fields| fields.policy |= 1 << 63).await;
}

#[tokio::test]
async fn another_privilege_level() {
    refused_for("vmpl", |fields| fields.vmpl = 1).await;
}

#[tokio::test]
async fn another_measurement() {
    refused_for("measurement", |fields| fields.measurement[0] ^= 1).await;
}

#[tokio::test]
async fn bytes_that_are_no_report() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    for spoil in [
        |report: &mut Vec<u8>| report.clear(),
        |report: &mut Vec<u8>| report.push(0),
        |report: &mut Vec<u8>| report[0] = 6,
        |report: &mut Vec<u8>| report[0x49F] = 1,
        |report: &mut Vec<u8>| report[0x2D0] = 1,
        |report: &mut Vec<u8>| report[0x48] = 0x20,
    ] {
        refused_unasked(&world, &broker, "report", |world, challenge| {
            let mut evidence = evidence(&world.hardware.chip, &KEY, challenge);
            spoil(&mut evidence.report.as_mut().unwrap().bytes);
            evidence
        })
        .await;
    }
}

#[tokio::test]
async fn unmet_requirements_of_the_registration() {
    let world = World::new().await;
    let broker = world.broker();
    let policy = AppraisalPolicy { host_data: Some(Hex([7; 32])), ..AppraisalPolicy::default() };
    let request = keybroker_common::broker::RegisterRequest { policy, ..request("a", "secret") };
    broker.register.register(request).await.unwrap();
    refused_unasked(&world, &broker, "host-data", |world, challenge| {
        evidence(&world.hardware.chip, &KEY, challenge)
    })
    .await;
}

#[tokio::test]
async fn a_workload_that_nobody_registered() {
    let world = World::new().await;
    refused_unasked(&world, &world.broker(), "workload", |world, challenge| {
        evidence(&world.hardware.chip, &KEY, challenge)
    })
    .await;
}

#[tokio::test]
async fn a_masked_chip() {
    refused_for("endorsements", |fields| fields.chip_id = [0; 64]).await;
}

#[tokio::test]
async fn reserved_bits_in_the_reported_tcb() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    refused_unasked(&world, &broker, "endorsements", |world, challenge| {
        let mut evidence = evidence(&world.hardware.chip, &KEY, challenge);
        evidence.report.as_mut().unwrap().bytes[0x183] = 1;
        evidence
    })
    .await;
}
