//! Requests under no session that counts: few of them are recorded, and they hide nobody.

use keybroker_common::{broker::Error, clock::Clock as _, ids::SessionId};
use keybroker_testing::{
    clock::seconds,
    guest::{KEY, evidence},
    world::{Broker, PASSPHRASE, TTL, World},
};

/// How many are recorded at once.
const BURST: usize = 20;

async fn strange(broker: &Broker) -> Error {
    broker.fetch(&SessionId::random().unwrap(), "a", &KEY).await.unwrap_err()
}

#[tokio::test]
async fn a_flood_of_strangers_leaves_few_records() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let (session, challenge) = (broker.attested(&world.hardware, "a").await, broker.challenge("a").await);
    let before = world.audit().len();
    for nth in 0..10 * BURST {
        let stranger = SessionId::random().unwrap();
        let error = match nth % 3 {
            0 => strange(&broker).await,
            1 => broker.attest.resource(&stranger, "a").await.unwrap_err(),
            _ => {
                let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
                broker.attest.attest(&stranger, evidence).await.unwrap_err()
            }
        };
        if nth < BURST {
            let operation = world.audit().pop().unwrap().operation;
            assert!(matches!(error, Error::NoSession { .. }), "{operation:?}: {error:?}");
        } else {
            assert_eq!(error, Error::TooMany { retry_after: 3 });
        }
    }
    assert_eq!(world.audit().len(), before + BURST);
    // A holder of a session or a challenge is served meanwhile.
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    world.hardware.clock.advance(seconds(2));
    assert!(matches!(strange(&broker).await, Error::NoSession { .. }));
    assert_eq!(strange(&broker).await, Error::TooMany { retry_after: 3 });
}

/// They name what was given to them: a flood of junk does not keep them off the record, nor they junk.
#[tokio::test]
async fn a_late_guest_is_recorded_in_a_flood_of_strangers() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let (session, challenge) = (broker.attested(&world.hardware, "a").await, broker.challenge("a").await);
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    world.hardware.clock.set(world.hardware.clock.now() + TTL);
    for _ in 0..=BURST {
        strange(&broker).await;
    }
    assert!(matches!(strange(&broker).await, Error::TooMany { .. }));
    let late = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    world.assert_recorded(&late, "session", &format!("the session expired at {}", challenge.expires_at));
    let late = broker.refused(&challenge, evidence).await;
    world.assert_recorded(&late, "session", &format!("the challenge expired at {}", challenge.expires_at));
    // The broker records a few of this flood, too.
    for nth in 2..2 * BURST {
        let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
        assert_eq!(matches!(error, Error::NoSession { .. }), nth < BURST, "{nth}: {error:?}");
    }
}
