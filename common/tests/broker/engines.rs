//! Engines for policies: nothing but an engine's yes lets a registration with a policy be written, or
//! released to.

use std::sync::Arc;

use async_trait::async_trait;
use keybroker_common::{
    audit::Decision,
    broker::{Error, RegisterRequest},
    panics::Panicked,
    policy::{Claims, Denied, Gave, NotEvaluated, PolicyEngine, PolicyRefused, PolicyText},
    store::WorkloadStore as _,
};

use keybroker_testing::{
    announced,
    guest::{KEY, evidence},
    world::{PASSPHRASE, World, request, workload_id},
};

/// Gives the same answer to whatever it is asked.
#[derive(Debug, Clone)]
struct Says(Result<(), NotEvaluated>);

#[async_trait]
impl PolicyEngine for Says {
    async fn check(&self, _: &PolicyText) -> Result<(), NotEvaluated> {
        self.0.clone()
    }

    async fn evaluate(&self, _: &PolicyText, _: &Claims) -> Result<(), NotEvaluated> {
        self.0.clone()
    }
}

/// Everything but a yes, with the check that is on record and what becomes of the request.
fn refusals() -> [(NotEvaluated, &'static str, Decision); 4] {
    [
        (Denied { query: 0, gave: Gave::False }.into(), "policy", Decision::Refused),
        (PolicyRefused("no policy".to_owned()).into(), "policy", Decision::Refused),
        (NotEvaluated::Busy, "policy", Decision::Unavailable),
        (Panicked::met().into(), "internal", Decision::Unavailable),
    ]
}

fn demanding(id: &str) -> RegisterRequest {
    let queries = vec!["input.snp.vmpl == 0".to_owned()];
    let rego = PolicyText { module: None, queries, reference_values: "{}".to_owned() };
    RegisterRequest { rego: Some(rego), ..request(id, PASSPHRASE) }
}

#[tokio::test]
async fn a_registration_without_the_engines_yes_is_not_written() {
    let world = World::new().await;
    let mut broker = world.broker();
    for (answer, _, _) in refusals() {
        broker.register.policies = Arc::new(Says(Err(answer.clone())));
        let error = broker.register.register(demanding("a")).await.unwrap_err();
        let as_expected = match &answer {
            NotEvaluated::Policy(refused) => error == Error::Policy(refused.clone()),
            NotEvaluated::Panicked(_) => matches!(error, Error::Internal { .. }),
            _ => matches!(error, Error::Unavailable { .. }),
        };
        assert!(as_expected, "{answer:?}: {error:?}");
        assert_eq!(world.store.workload(&workload_id("a")).await.unwrap(), None, "{answer:?}");
    }
    broker.register.policies = Arc::new(Says(Ok(())));
    broker.register.register(demanding("a")).await.unwrap();
    assert!(world.store.workload(&workload_id("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_guest_without_the_engines_yes_gets_no_session() {
    let world = World::new().await;
    let mut broker = world.broker();
    broker.register.register(demanding("a")).await.unwrap();
    for (answer, check, decision) in refusals() {
        broker.attest.policies = Arc::new(Says(Err(answer.clone())));
        let challenge = broker.challenge("a").await;
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        let error = broker.refused(&challenge, evidence).await;
        let record = match error {
            Error::Refused { id } => world.store.audit_record(id).unwrap(),
            Error::Unavailable { id: Some(id), .. } | Error::Internal { id: Some(id) } => {
                world.store.audit_record(id).unwrap().or_else(|| announced::record(id))
            }
            other => panic!("{other:?}"),
        };
        let record = record.expect("a record");
        assert_eq!((record.decision, record.failed.unwrap().check.as_str()), (decision, check), "{answer:?}");
        let fetched = broker.fetch(&challenge.session_id, "a", &KEY).await;
        assert!(matches!(fetched, Err(Error::NoSession { .. })), "{answer:?}: {fetched:?}");
    }
    broker.attest.policies = Arc::new(Says(Ok(())));
    let session = broker.attested(&world.hardware, "a").await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await, Ok(PASSPHRASE.to_owned()));
}

/// Registrations take no thread from guests, nor the other way round: each has an engine of its own.
#[tokio::test]
async fn registrations_and_guests_have_engines_of_their_own() {
    let world = World::new().await;
    world.broker().register.register(demanding("a")).await.unwrap();
    let says = |trials: Result<(), NotEvaluated>, policies: Result<(), NotEvaluated>| {
        let (trials, policies) = (Arc::new(Says(trials)), Arc::new(Says(policies)));
        world.broker_with(trials, policies)
    };
    let broker = says(Err(NotEvaluated::Busy), Ok(()));
    let error = broker.register.register(demanding("b")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    broker.attested(&world.hardware, "a").await;

    let broker = says(Ok(()), Err(NotEvaluated::Busy));
    broker.register.register(demanding("b")).await.unwrap();
    let challenge = broker.challenge("a").await;
    let error = broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}
