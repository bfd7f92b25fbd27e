//! Requests under no session that counts: few of them are recorded, and they hide nobody.

use std::sync::Arc;

use keybroker_common::{broker::Error, clock::Clock as _};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_testing::{
    clock::seconds,
    faulty::FaultyStore,
    guest::{KEY, evidence},
    world::{Broker, PASSPHRASE, TTL, World, stranger},
};

/// How many are recorded at once.
const BURST: usize = 20;

/// A guest that was given a challenge and has not attested.
async fn early(broker: &Broker) -> Error {
    let challenge = broker.challenge("a").await;
    broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap_err()
}

/// An id that the broker did not make is refused by arithmetic: no table is asked, and nothing is written.
#[tokio::test]
async fn a_flood_of_strangers_reads_and_writes_nothing() {
    let world = World::new().await;
    let store = EmbeddedStore::open(&world.dir().join("counted"), world.hardware.clock.clone()).unwrap();
    let store = Arc::new(FaultyStore::new(store));
    let broker = world.broker_over(store.clone());
    broker.registered("a").await;
    let (session, challenge) = (broker.attested(&world.hardware, "a").await, broker.challenge("a").await);
    let (calls, asked) = (store.log(), world.hardware.kds.requests());
    for nth in 0..10 * BURST {
        let error = match nth % 3 {
            0 => broker.fetch(&stranger(), "a", &KEY).await.unwrap_err(),
            1 => broker.attest.resource(&stranger(), "a").await.unwrap_err(),
            _ => {
                let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
                broker.attest.attest(&stranger(), evidence).await.unwrap_err()
            }
        };
        assert_eq!(error, Error::NoSession { id: None });
    }
    assert_eq!((store.log(), world.hardware.kds.requests()), (calls, asked));
    // A holder of a session or a challenge is served meanwhile.
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
}

/// Anybody is given challenges: they must not fill the log.
#[tokio::test]
async fn guests_that_have_not_attested_leave_few_records() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let before = world.audit().len();
    for nth in 0..3 * BURST {
        let error = early(&broker).await;
        if nth < BURST {
            assert!(matches!(error, Error::NoSession { id: Some(_) }), "{error:?}");
            world.assert_recorded(&error, "session", "no guest has attested under this session");
        } else {
            assert_eq!(error, Error::TooMany { retry_after: 3 });
        }
    }
    assert_eq!(world.audit().len(), before + BURST);
    world.hardware.clock.advance(seconds(2));
    assert!(matches!(early(&broker).await, Error::NoSession { .. }));
    assert_eq!(early(&broker).await, Error::TooMany { retry_after: 3 });
}

/// They name what was given to them: a flood of others does not keep them off the record, nor they others.
#[tokio::test]
async fn a_late_guest_is_recorded_in_a_flood_of_strangers() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let (session, challenge) = (broker.attested(&world.hardware, "a").await, broker.challenge("a").await);
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    world.hardware.clock.set(world.hardware.clock.now() + TTL);
    for _ in 0..=BURST {
        early(&broker).await;
    }
    assert!(matches!(early(&broker).await, Error::TooMany { .. }));
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
