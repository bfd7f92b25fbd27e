//! Challenges and sessions end after their time to live.

use std::time::{Duration, Instant};

use keybroker_simulator::guest::{Error, PoliteGuest};
use keybroker_tests::{DEADLINE, unique, world::World};

/// Asks for the key until the broker refuses it. Only that shows from outside that a session has ended.
async fn until_refused(guest: &PoliteGuest) -> Error {
    let until = Instant::now() + DEADLINE;
    loop {
        match guest.key().await {
            Err(error) => return error,
            Ok(_) => assert!(Instant::now() < until, "the session does not end"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Attests and gets the key, within the life of one session: on a busy machine not the first, maybe.
async fn in_time(guest: &mut PoliteGuest) -> Vec<u8> {
    let until = Instant::now() + DEADLINE;
    loop {
        guest.auth().await.unwrap();
        let key = match guest.attest().await {
            Ok(_) => guest.key().await,
            Err(error) => Err(error),
        };
        match key {
            Ok(key) => return key,
            Err(Error::Refused(said)) if said.status == 401 => {
                assert!(Instant::now() < until, "no session lasts long enough: {said:?}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_challenge_and_a_session_end_after_their_ttl() {
    let Some(world) = World::with(&["--session-ttl", "2"], "sessions of two seconds") else { return };
    let id = unique("w");
    let passphrase = world.register(&id).await;
    // The broker fetches the certificates here, so that nothing below waits for them.
    in_time(&mut world.polite(&id, world.milan())).await;

    let mut late = world.polite(&id, world.milan());
    let mut guest = world.polite(&id, world.milan());
    let response = late.auth().await.unwrap();
    assert!(response.header("set-cookie")[0].ends_with("; Max-Age=2"), "{response:?}");
    assert_eq!(in_time(&mut guest).await, passphrase.as_bytes());

    let ended: Result<(), Error> = Err(until_refused(&guest).await);
    let record = world.assert_refused(ended, (401, "session")).unwrap();
    assert!(record["failed"]["cause"].as_str().unwrap().contains("session"), "{record}");
    // This challenge is older than the session that has just ended, so it has ended too.
    world.assert_refused(late.attest().await, (401, "session"));
    // A new challenge works.
    assert_eq!(in_time(&mut guest).await, passphrase.as_bytes());
}
