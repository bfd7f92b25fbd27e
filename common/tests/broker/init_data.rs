//! The document that a guest of Trustee's sends: it is the one that HOST_DATA binds, or nobody's.

use keybroker_common::{
    broker::{Error, Evidence, RegisterRequest},
    dialect::Dialect,
    ids::{CarriedId, Claim, KbsVersion, ReportHash, TrusteeClaim},
};
use keybroker_testing::{
    guest::{KEY, evidence_with},
    sample,
    world::{PASSPHRASE, World, request, workload_id},
};

/// Whatever the registration demands: this one demands no init data, so no other check compares the two.
#[tokio::test]
async fn a_document_that_host_data_does_not_bind_is_refused_where_none_is_demanded() {
    let world = World::new().await;
    let broker = world.broker();
    let registered = RegisterRequest { dialects: Dialect::Trustee.into(), ..request("a", PASSPHRASE) };
    broker.register.register(registered).await.unwrap();
    let document = sample::init_data();
    let answers = [
        (document.host_data(), Some(document.clone()), true),
        (document.host_data(), None, true),
        (sample::init_data().host_data(), Some(document.clone()), false),
        ([0; 32], Some(document), false),
    ];
    for (host_data, init_data, admitted) in answers {
        let version = KbsVersion::V0_4_0(ReportHash::Sha384);
        let workload = CarriedId::new(workload_id("a"));
        let claim = Claim::Trustee(TrusteeClaim { version, workload });
        let challenge = broker.auth.challenge(claim).await.unwrap();
        let evidence = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| {
            fields.host_data = host_data;
        });
        let answer = broker.attest.attest(&challenge.session_id, Evidence { init_data, ..evidence }).await;
        if admitted {
            assert!(answer.is_ok(), "{answer:?}");
        } else {
            let error = answer.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            let cause = "HOST_DATA is not the digest of the init data that the guest sent";
            world.assert_recorded(&error, "init-data", cause);
        }
    }
}
