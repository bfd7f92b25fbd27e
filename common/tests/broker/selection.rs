//! Registering guests that HOST_DATA selects: one workload for a value of it, and nothing is said of the one
//! that has it.

use std::sync::Arc;

use keybroker_common::{
    admission::Admission,
    audit::{AuditRecord, Decision},
    broker::{Credential, Error, RegisterRequest},
    dialect::Dialect,
    requirements::{BoundBy, InitDataRequirement},
    store::{OperatorStore as _, RevocationStore as _, TokenStore as _, WorkloadStore as _},
};
use keybroker_initdata::InitDataDigest;
use keybroker_testing::{
    faulty::{FaultyStore, Method, When, injected},
    sample,
    world::{Broker, PASSPHRASE, World, request, workload_id},
};

use super::faults::{Home, world};

const SELECTS: &str = "the init data's digest, as HOST_DATA, selects the guests of another workload";

/// A registration for Trustee's guests, who have this init data.
fn selected_by(id: &str, init_data: &InitDataDigest) -> RegisterRequest {
    let mut request = request(id, PASSPHRASE);
    request.dialects = Dialect::Trustee.into();
    request.policy.init_data = Some(InitDataRequirement {
        digest: init_data.clone(),
        bound_by: BoundBy::HostData,
        broker_keys: None,
    });
    request
}

fn by(credential: Credential, request: RegisterRequest) -> RegisterRequest {
    RegisterRequest { credential, ..request }
}

fn operator() -> Credential {
    Credential::Operator("uid/0".to_owned())
}

fn principal(name: &str) -> Credential {
    Credential::Principal(name.to_owned())
}

async fn selected<S: Home>(store: &FaultyStore<S>, init_data: &InitDataDigest) -> Option<String> {
    store.inner().selected(&init_data.host_data()).await.unwrap().map(String::from)
}

/// A broker at which principals and tokens register.
async fn broker<S: Home>() -> (World, Arc<FaultyStore<S>>, Broker) {
    let (world, store) = world::<S>().await;
    let mut broker = world.broker_over(store.clone());
    broker.register.admission = Admission { iam: true, token: true, ..Admission::NONE };
    (world, store, broker)
}

/// The record of a registration that was refused because of another's selection.
async fn refused<S: Home>(store: &FaultyStore<S>, broker: &Broker, request: RegisterRequest) -> AuditRecord {
    let error = broker.register.register(request).await.unwrap_err();
    let Error::AlreadyRegistered { id } = error else { panic!("{error:?}") };
    let record = store.inner().audit_record(id).await.unwrap().expect("a record");
    let failed = record.failed.as_ref().expect("a cause");
    assert_eq!((failed.check.as_str(), failed.cause.as_str()), ("replacement", SELECTS));
    assert_eq!(record.decision, Decision::Refused);
    record
}

async fn another_owners_host_data_is_taken<S: Home>() {
    let (_world, store, broker) = broker::<S>().await;
    let init_data = sample::init_data();
    broker.register.register(by(principal("alice"), selected_by("hers", &init_data))).await.unwrap();
    for credential in [principal("bob"), principal("alice"), operator()] {
        let record = refused(&store, &broker, by(credential, selected_by("his", &init_data))).await;
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("hers"), "{text}");
        assert_eq!(record.workload_id, Some(workload_id("his")));
        assert_eq!(store.inner().workload(&workload_id("his")).await, Ok(None));
    }
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some("hers"));
    // Nor does a registration move there that is somebody's already.
    let own = sample::init_data();
    broker.register.register(by(principal("bob"), selected_by("his", &own))).await.unwrap();
    let before = store.inner().workload(&workload_id("his")).await.unwrap();
    refused(&store, &broker, by(principal("bob"), selected_by("his", &init_data))).await;
    assert_eq!(store.inner().workload(&workload_id("his")).await.unwrap(), before);
    assert_eq!(selected(&store, &own).await.as_deref(), Some("his"));
}

/// It is not used up by what was not written.
async fn a_token_for_host_data_that_is_taken_is_unused<S: Home>() {
    let (_world, store, broker) = broker::<S>().await;
    let init_data = sample::init_data();
    broker.register.register(by(operator(), selected_by("first", &init_data))).await.unwrap();
    let token = sample::token();
    store.put_token(&token, &sample::token_made()).await.unwrap();
    let with_token = |id, init_data| by(Credential::Token(token.id), selected_by(id, init_data));
    refused(&store, &broker, with_token("second", &init_data)).await;
    let registered = broker.register.register(with_token("second", &sample::init_data())).await.unwrap();
    assert!(!registered.replaced);
}

async fn the_same_owner_replaces_and_moves<S: Home>() {
    let (_world, store, broker) = broker::<S>().await;
    let (first, second) = (sample::init_data(), sample::init_data());
    let alice = |init_data| by(principal("alice"), selected_by("hers", init_data));
    assert!(!broker.register.register(alice(&first)).await.unwrap().replaced);
    assert!(broker.register.register(alice(&first)).await.unwrap().replaced);
    assert_eq!(selected(&store, &first).await.as_deref(), Some("hers"));
    assert!(broker.register.register(alice(&second)).await.unwrap().replaced);
    assert_eq!(selected(&store, &first).await, None);
    assert_eq!(selected(&store, &second).await.as_deref(), Some("hers"));
    broker.register.register(by(principal("bob"), selected_by("his", &first))).await.unwrap();
    assert_eq!(selected(&store, &first).await.as_deref(), Some("his"));
}

/// The write landed, and its answer was lost: the client that registers again finds its own.
async fn a_registration_whose_answer_was_lost_is_made_again<S: Home>() {
    for when in [When::Before, When::After] {
        let (_world, store, broker) = broker::<S>().await;
        let (first, second) = (sample::init_data(), sample::init_data());
        let alice = |init_data| by(principal("alice"), selected_by("hers", init_data));
        store.fail(Method::Create, 1, when);
        let unavailable = Error::from(injected());
        assert_eq!(broker.register.register(alice(&first)).await, Err(unavailable.clone()));
        let landed = when == When::After;
        assert_eq!(selected(&store, &first).await.is_some(), landed);
        assert_eq!(store.inner().workload(&workload_id("hers")).await.unwrap().is_some(), landed);
        assert_eq!(broker.register.register(alice(&first)).await.unwrap().replaced, landed);
        assert_eq!(selected(&store, &first).await.as_deref(), Some("hers"));

        store.fail(Method::Replace, 1, when);
        assert_eq!(broker.register.register(alice(&second)).await, Err(unavailable));
        assert_eq!(selected(&store, &second).await.is_some(), landed);
        assert_eq!(selected(&store, &first).await.is_none(), landed, "both or none");
        assert!(broker.register.register(alice(&second)).await.unwrap().replaced);
        assert_eq!(selected(&store, &first).await, None);
        assert_eq!(selected(&store, &second).await.as_deref(), Some("hers"));
    }
}

async fn a_revoked_workload_keeps_its_host_data_until_it_is_deleted<S: Home>() {
    let (_world, store, broker) = broker::<S>().await;
    let init_data = sample::init_data();
    broker.register.register(by(principal("alice"), selected_by("hers", &init_data))).await.unwrap();
    store.revoke(&workload_id("hers"), &sample::revoked(1)).await.unwrap();
    refused(&store, &broker, by(principal("bob"), selected_by("his", &init_data))).await;
    let seen = store.workload(&workload_id("hers")).await.unwrap().unwrap();
    store.delete(&seen, &sample::deleted(2)).await.unwrap();
    broker.register.register(by(principal("bob"), selected_by("his", &init_data))).await.unwrap();
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some("his"));
}

/// Guests that name their workload need no HOST_DATA of their own.
async fn what_selects_nothing_is_taken_by_nobody<S: Home>() {
    let (_world, store, broker) = broker::<S>().await;
    let init_data = sample::init_data();
    let native = |id| RegisterRequest { dialects: Dialect::Native.into(), ..selected_by(id, &init_data) };
    let measured = |id| {
        let mut request = selected_by(id, &init_data);
        if let Some(required) = &mut request.policy.init_data {
            required.bound_by = BoundBy::Measurement;
        }
        request
    };
    let any = |id| {
        let mut request = selected_by(id, &init_data);
        request.policy.init_data = None;
        request
    };
    let requests = [native("a"), native("b"), measured("c"), measured("d"), any("e"), any("f")];
    for request in requests {
        broker.register.register(by(operator(), request)).await.unwrap();
    }
    assert_eq!(selected(&store, &init_data).await, None);
}

/// Every test of this file over one kind of store.
macro_rules! over {
    ($store:ty => $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            super::$test::<$store>().await;
        }
    )*};
    ($store:ty) => {
        over! { $store =>
            another_owners_host_data_is_taken
            a_token_for_host_data_that_is_taken_is_unused
            the_same_owner_replaces_and_moves
            a_registration_whose_answer_was_lost_is_made_again
            a_revoked_workload_keeps_its_host_data_until_it_is_deleted
            what_selects_nothing_is_taken_by_nobody
        }
    };
}

mod embedded {
    over!(keybroker_embedded::store::EmbeddedStore);
}

mod dynamodb {
    over!(keybroker_testing::moto::Store);
}
