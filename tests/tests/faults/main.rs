//! AWS fails under the functions. A lost answer has no effect. A service that is down gives a 503 and uses up
//! no challenge.
//!
//! `KEYBROKER_TEST_FAULTS` is the URL at which the local AWS is told to fail; see
//! `localstack/moto_serial.py`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

use std::env;

use keybroker_simulator::{
    Product,
    guest::{Error, PoliteGuest},
    http::{Endpoint, Response},
};
use keybroker_tests::{connection::Connection, skip, unique, world::World};
use serde_json::{Value, json};

/// More calls than any test makes.
const ALL: u32 = 1000;

/// The local AWS.
struct Aws {
    faults: String,
}

impl Aws {
    fn new() -> Option<Self> {
        let Ok(faults) = env::var("KEYBROKER_TEST_FAULTS") else {
            skip("a failing AWS under the functions: this AWS does not fail on demand");
            return None;
        };
        Some(Self { faults })
    }

    fn ask(&self, method: &str, body: &str) -> Value {
        let Endpoint { authority, base, .. } = Endpoint::parse(&self.faults).unwrap();
        let mut connection = Connection::open(&authority);
        let length = body.len();
        connection.send(format!(
            "{method} {base} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        ));
        serde_json::from_slice(&connection.response().expect("a response").body).unwrap()
    }

    /// AWS carries out the next `times` calls of `operation` by `function`, and answers them with 500.
    fn lose(&self, (function, operation): (&str, &str), times: u32) {
        self.fail((function, operation), "lost", (500, "InternalServerError"), times);
    }

    /// AWS answers each such call with an error and carries none out, until [`Aws::recover`].
    fn refuse(&self, (function, operation): (&str, &str), error: (u16, &str)) {
        self.fail((function, operation), "refused", error, ALL);
    }

    /// Ends all faults, and asserts that at least one call failed.
    fn recover(&self) {
        let left = self.ask("GET", "");
        assert!(left[0]["times"].as_u64().unwrap() < u64::from(ALL), "{left}");
        self.ask("POST", "[]");
    }

    fn fail(&self, (by, operation): (&str, &str), fault: &str, (status, kind): (u16, &str), times: u32) {
        let fault = json!([{
            "by": by, "operation": operation, "fault": fault, "status": status, "type": kind, "times": times,
        }]);
        self.ask("POST", &fault.to_string());
    }

    /// Asserts that every fault that was ordered has happened.
    fn assert_failed(&self) {
        assert_eq!(self.ask("GET", ""), json!([]));
    }
}

/// The status of a refusal.
fn told<T: std::fmt::Debug>(answer: Result<T, Error>) -> u16 {
    match answer {
        Err(Error::Refused(said)) => said.status,
        other => panic!("{other:?}"),
    }
}

async fn register(world: &World, id: &str, passphrase: &str) -> Response {
    world.build(id, passphrase).register().await.expect("a response")
}

/// A guest with a challenge, on a chip that no other test uses.
async fn challenged(world: &World, id: &str, seed: u8) -> PoliteGuest {
    let mut guest = world.polite(id, world.machine(Product::Genoa, seed));
    guest.auth().await.unwrap();
    guest
}

/// One part after the other: a fault is for a function and an operation, and hits the first call of them.
#[tokio::test]
async fn nothing_is_lost_while_aws_fails() {
    let Some(aws) = Aws::new() else { return };
    let world = World::start();
    answers_that_are_lost(&aws, &world).await;
    services_that_are_out(&aws, &world).await;
    a_key_that_cannot_be_used(&aws, &world).await;
}

/// The SDK repeats the call, and the functions recognise what their first call wrote.
async fn answers_that_are_lost(aws: &Aws, world: &World) {
    let id = unique("w");
    // The repeated call reads what the first one wrote.
    for operation in ["TransactWriteItems", "Encrypt", "GetItem"] {
        aws.lose(("register", operation), 1);
        assert_eq!(register(world, &id, "the passphrase").await.status, 200, "{operation}");
        aws.assert_failed();
    }
    for (seed, operation) in (40..).zip(["GetItem", "PutItem", "DeleteItem", "UpdateItem"]) {
        let id = unique("w");
        assert_eq!(register(world, &id, "the passphrase").await.status, 200);
        let mut guest = challenged(world, &id, seed).await;
        // The chip is new: the function takes a lease, fetches the certificate, stores it and ends the lease.
        aws.lose(("attest", operation), 1);
        guest.attest().await.unwrap_or_else(|error| panic!("{operation}: {error}"));
        aws.assert_failed();
        for operation in ["GetItem", "Decrypt", "PutItem"] {
            aws.lose(("attest", operation), 1);
            assert_eq!(guest.key().await.as_deref(), Ok(b"the passphrase".as_slice()), "{operation}");
            aws.assert_failed();
        }
        // The first put for a chip that is known is the decision. It is this call's own, so the guest gets a
        // session, and by another answer to the challenge nobody gets one.
        guest.auth().await.unwrap();
        aws.lose(("attest", "PutItem"), 1);
        guest.attest().await.unwrap();
        aws.assert_failed();
        assert_eq!(guest.key().await.as_deref(), Ok(b"the passphrase".as_slice()));
    }
}

/// The answer is 503; afterwards the same request succeeds.
async fn services_that_are_out(aws: &Aws, world: &World) {
    let id = unique("w");
    for (operation, error) in [
        ("Encrypt", (500, "KMSInternalException")),
        ("Encrypt", (400, "ThrottlingException")),
        ("TransactWriteItems", (500, "InternalServerError")),
        ("TransactWriteItems", (400, "ProvisionedThroughputExceededException")),
    ] {
        aws.refuse(("register", operation), error);
        let response = register(world, &id, "the passphrase").await;
        assert_eq!(response.status, 503, "{operation}: {}", response.text());
        aws.recover();
    }
    assert_eq!(register(world, &id, "the passphrase").await.status, 200);

    let mut guest = world.polite(&id, world.machine(Product::Genoa, 50));
    guest.auth().await.unwrap();
    for operation in ["GetItem", "UpdateItem", "PutItem"] {
        aws.refuse(("attest", operation), (500, "InternalServerError"));
        assert_eq!(told(guest.attest().await), 503, "{operation}");
        aws.recover();
    }
    guest.attest().await.unwrap();
    // A release that cannot be recorded does not happen.
    for operation in ["GetItem", "PutItem"] {
        aws.refuse(("attest", operation), (500, "InternalServerError"));
        assert_eq!(told(guest.key().await), 503, "{operation}");
        aws.recover();
    }
    assert_eq!(guest.key().await.as_deref(), Ok(b"the passphrase".as_slice()));
}

/// The operator gets an alarm of its own for this.
async fn a_key_that_cannot_be_used(aws: &Aws, world: &World) {
    let id = unique("w");
    aws.refuse(("register", "Encrypt"), (400, "DisabledException"));
    assert_eq!(register(world, &id, "the passphrase").await.status, 503);
    aws.recover();
    assert_eq!(register(world, &id, "the passphrase").await.status, 200);
    let guest = challenged(world, &id, 50).await;
    guest.attest().await.unwrap();
    for kind in ["DisabledException", "KMSInvalidStateException"] {
        aws.refuse(("attest", "Decrypt"), (400, kind));
        assert_eq!(told(guest.key().await), 503, "{kind}");
        aws.recover();
    }
    assert_eq!(guest.key().await.as_deref(), Ok(b"the passphrase".as_slice()));
}
