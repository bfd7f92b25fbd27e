//! Tokens: what one lets its holder do, and when it no longer does.

use std::sync::Arc;

use keybroker_common::{
    admission::Admission,
    audit::{AuditRecord, Decision, Operation},
    broker::{Credential, Error, RegisterRequest, Registered},
    clock::Clock as _,
    ids::{AuditId, TokenId},
    requirements::{Measurement, ReferenceValues},
    store::{RegistrationStore as _, RevocationStore as _, TokenStore as _, WorkloadStore as _},
    token::{Token, TokenText},
    workload::Registration,
};
use keybroker_testing::{
    clock::{BEGIN, minutes, seconds},
    guest::KEY,
    world::{Broker, World, request, workload_id},
};
use tokio::task::JoinSet;

/// A broker that registers for holders of a token, and for authenticated callers.
fn broker(world: &World) -> Broker {
    let mut broker = world.broker();
    broker.register.admission = Admission { token: true, iam: true, ..Admission::NONE };
    broker
}

/// A token that an operator made for an hour from now.
async fn made(world: &World, made_for: Option<&str>) -> TokenId {
    let id = TokenText::random().unwrap().id();
    let now = world.hardware.clock.now();
    let token = Token {
        id,
        created_at: now,
        expires_at: now + minutes(60),
        note: None,
        made_for: made_for.map(workload_id),
        bound: None,
        revoked_at: None,
        created_by: None,
        revocation: None,
    };
    world.store.put_token(&token, &operated(world, Decision::TokenCreated)).await.unwrap();
    id
}

fn operated(world: &World, decision: Decision) -> AuditRecord {
    AuditRecord::new(world.hardware.clock.now(), Operation::Operate, decision)
}

fn with(token: TokenId, id: &str, passphrase: &str) -> RegisterRequest {
    RegisterRequest { credential: Credential::Token(token), ..request(id, passphrase) }
}

async fn registered(broker: &Broker, token: TokenId, id: &str) -> Registered {
    broker.register.register(with(token, id, "passphrase")).await.unwrap()
}

/// Neither the answer nor the row tells one reason from another: the record does.
async fn assert_turned_away(world: &World, broker: &Broker, request: RegisterRequest, cause: &str) {
    let before = world.store.workload(&request.workload_id).await.unwrap();
    let id = request.workload_id.clone();
    let error = broker.register.register(request).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    assert_eq!(error.to_string(), "not authenticated");
    world.assert_recorded(&error, "token", cause);
    assert_eq!(world.store.workload(&id).await.unwrap(), before, "the row is as it was");
}

const EXPIRED: &str = "the token's time is up";
const FOREIGN: &str = "the token is another workload's";
const WINDOW_OVER: &str = "the build window that the token's first use opened is over";
const RELEASED: &str = "a guest has attested as what the token registered";
const GONE: &str = "what the token registered was deleted or replaced by somebody else";

#[tokio::test]
async fn a_token_owns_its_registration() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    registered(&broker, token, "a").await;
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!(Registration::from_bytes(&row.registration).unwrap().owner, Some(token.principal()));
    assert_eq!(world.audit().pop().unwrap().principal, Some(token.principal()));
    let bound = world.store.token(&token).await.unwrap().unwrap().bound.unwrap();
    assert_eq!((bound.workload_id, bound.at), (workload_id("a"), BEGIN));
}

/// As `buildah build --layers` does: the image opens with the second passphrase.
#[tokio::test]
async fn a_build_posts_twice_with_one_token() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    broker.register.register(with(token, "a", "first")).await.unwrap();
    world.hardware.clock.set(BEGIN + minutes(30) - seconds(1));
    assert!(broker.register.register(with(token, "a", "second")).await.unwrap().replaced);
    let session = broker.attested(&world.hardware, "a").await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), "second");
}

#[tokio::test]
async fn a_token_registers_one_workload() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    registered(&broker, token, "a").await;
    assert_turned_away(&world, &broker, with(token, "b", "p"), FOREIGN).await;
}

/// The token that is left in the image cannot change the requirements on its guests.
#[tokio::test]
async fn inside_its_window_a_token_changes_nothing_but_the_secret() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    registered(&broker, token, "a").await;
    let reference_values = ReferenceValues { measurements: vec![Measurement([1; 48])] };
    let other = RegisterRequest { reference_values, ..with(token, "a", "p") };
    let error = broker.register.register(other).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
}

#[tokio::test]
async fn a_token_dies_with_its_time() {
    let world = World::new().await;
    let broker = broker(&world);
    let (used, unused) = (made(&world, None).await, made(&world, None).await);
    world.hardware.clock.set(BEGIN + minutes(59));
    registered(&broker, used, "a").await;
    world.hardware.clock.set(BEGIN + minutes(60));
    assert_turned_away(&world, &broker, with(used, "a", "p"), EXPIRED).await;
    assert_turned_away(&world, &broker, with(unused, "b", "p"), EXPIRED).await;
}

#[tokio::test]
async fn a_token_dies_with_its_build_window() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    registered(&broker, token, "a").await;
    world.hardware.clock.set(BEGIN + minutes(20));
    registered(&broker, token, "a").await;
    world.hardware.clock.set(BEGIN + minutes(30));
    assert_turned_away(&world, &broker, with(token, "a", "p"), WINDOW_OVER).await;
}

#[tokio::test]
async fn a_token_dies_with_the_first_guest() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, Some("a")).await;
    broker.register.register(with(token, "a", "mine")).await.unwrap();
    let session = broker.attested(&world.hardware, "a").await;
    assert_turned_away(&world, &broker, with(token, "a", "p"), RELEASED).await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), "mine");
}

#[tokio::test]
async fn a_revoked_token_is_dead() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    registered(&broker, token, "a").await;
    world.store.revoke_token(&token, &operated(&world, Decision::TokenRevoked)).await.unwrap();
    assert_turned_away(&world, &broker, with(token, "a", "p"), "the token is revoked").await;
}

#[tokio::test]
async fn a_token_that_nobody_made_is_none() {
    let world = World::new().await;
    let unknown = with(TokenText::random().unwrap().id(), "a", "p");
    assert_turned_away(&world, &broker(&world), unknown, "there is no such token").await;
}

/// A wrong token is not passed over, even where none is needed.
#[tokio::test]
async fn a_wrong_token_does_not_register_as_anybody() {
    let world = World::new().await;
    let mut broker = world.broker();
    broker.register.admission = Admission { token: true, ..Admission::OPEN };
    let unknown = with(TokenText::random().unwrap().id(), "a", "p");
    assert_turned_away(&world, &broker, unknown, "there is no such token").await;
    assert!(broker.register.register(request("a", "p")).await.is_ok());
}

/// A row that another build wrote is not a token's, unless the operator said so.
#[tokio::test]
async fn a_later_token_takes_over_only_what_it_was_made_for() {
    let world = World::new().await;
    let broker = broker(&world);
    let first = made(&world, None).await;
    registered(&broker, first, "a").await;
    broker.attested(&world.hardware, "a").await;
    world.hardware.clock.set(BEGIN + minutes(45));

    let any = made(&world, None).await;
    let error = broker.register.register(with(any, "a", "p")).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
    assert_eq!(world.store.token(&any).await.unwrap().unwrap().bound, None, "and it is not used up");

    let other = made(&world, Some("b")).await;
    assert_turned_away(&world, &broker, with(other, "a", "p"), FOREIGN).await;

    let made_for = made(&world, Some("a")).await;
    let reference_values = ReferenceValues { measurements: vec![Measurement([1; 48])] };
    let next = RegisterRequest { reference_values, ..with(made_for, "a", "next") };
    assert!(broker.register.register(next).await.unwrap().replaced);
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!((row.first_registered_at, row.released_at), (BEGIN + minutes(45), None));
    // Its own build has a window of its own, in which it changes the secret alone.
    let error = broker.register.register(with(made_for, "a", "p")).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
    world.hardware.clock.set(BEGIN + minutes(75));
    assert_turned_away(&world, &broker, with(made_for, "a", "p"), WINDOW_OVER).await;
}

#[tokio::test]
async fn a_token_whose_registration_was_replaced_by_another_is_dead() {
    let world = World::new().await;
    let broker = broker(&world);
    let first = made(&world, None).await;
    registered(&broker, first, "a").await;
    let operator = RegisterRequest {
        credential: Credential::Operator("uid/0".to_owned()),
        ..request("a", "the operator's")
    };
    assert!(broker.register.register(operator).await.unwrap().replaced);
    assert_turned_away(&world, &broker, with(first, "a", "p"), GONE).await;
    let record = world.audit().into_iter().find(|record| record.decision == Decision::Replaced).unwrap();
    assert_eq!(record.principal.as_deref(), Some("uid/0"));
}

/// The operator needs no mode.
#[tokio::test]
async fn an_operator_registers_and_replaces_where_nobody_may() {
    let world = World::new().await;
    let mut broker = world.broker();
    broker.register.admission = Admission::NONE;
    let operator = |passphrase| RegisterRequest {
        credential: Credential::Operator("uid/0".to_owned()),
        ..request("a", passphrase)
    };
    assert!(!broker.register.register(operator("first")).await.unwrap().replaced);
    broker.attested(&world.hardware, "a").await;
    assert!(broker.register.register(operator("second")).await.unwrap().replaced);
    let error = broker.register.register(request("b", "p")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    world.assert_recorded(&error, "principal", "nobody was authenticated");
}

#[tokio::test]
async fn an_owner_by_iam_and_a_token_do_not_replace_each_other() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    let alice = |id| RegisterRequest {
        credential: Credential::Principal("alice".to_owned()),
        ..request(id, "alice's")
    };
    registered(&broker, token, "a").await;
    broker.register.register(alice("b")).await.unwrap();
    for taken in [alice("a"), with(made(&world, None).await, "b", "p")] {
        let error = broker.register.register(taken).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_hundred_registrations_with_one_token_have_one_winner() {
    let world = World::new().await;
    let mut broker = broker(&world);
    // All of them are to be on record.
    broker.register.patience = Arc::default();
    let broker = Arc::new(broker);
    let token = made(&world, None).await;
    let mut builds = JoinSet::new();
    for number in 0..100 {
        let broker = Arc::clone(&broker);
        builds.spawn(async move {
            broker.register.register(with(token, &format!("w{number}"), "p")).await.map(|_| number)
        });
    }
    let outcomes = builds.join_all().await;
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    for outcome in &outcomes {
        let expected = matches!(outcome, Ok(_) | Err(Error::Unauthenticated { .. } | Error::TooMany { .. }));
        assert!(expected, "{outcome:?}");
    }
    for number in 0..100 {
        let row = world.store.workload(&workload_id(&format!("w{number}"))).await.unwrap();
        assert_eq!(row.is_some(), number == *won[0]);
    }
}

/// The log is not to be filled by guessing, and guessing is not to keep a build out.
#[tokio::test]
async fn too_many_strangers_are_turned_away_without_a_record() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    let stranger = || with(TokenText::random().unwrap().id(), "a", "p");
    let mut on_record: Vec<AuditId> = Vec::new();
    let retry_after = loop {
        match broker.register.register(stranger()).await.unwrap_err() {
            Error::Unauthenticated { id } => on_record.push(id),
            Error::TooMany { retry_after } => break retry_after,
            other => panic!("{other:?}"),
        }
        assert!(on_record.len() <= 20);
    };
    assert_eq!((on_record.len(), retry_after), (20, 3));
    assert_eq!(world.audit().iter().filter(|record| record.failed.is_some()).count(), 20);
    registered(&broker, token, "a").await;
    world.hardware.clock.advance(seconds(3));
    let error = broker.register.register(stranger()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
}

/// Used between the look at its row and the write: by the write's own condition.
#[tokio::test]
async fn a_token_whose_workload_was_revoked_stays_refused() {
    let world = World::new().await;
    let broker = broker(&world);
    let token = made(&world, None).await;
    registered(&broker, token, "a").await;
    world.store.revoke(&workload_id("a"), &operated(&world, Decision::Revoked)).await.unwrap();
    let error = broker.register.register(with(token, "a", "p")).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
    world.assert_recorded(&error, "replacement", "the workload is revoked");
}
