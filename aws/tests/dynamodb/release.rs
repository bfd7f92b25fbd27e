//! The whole protocol over DynamoDB and KMS, and an attacker who can write the tables but not use the key.

use std::sync::Arc;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use aws_sdk_kms::{Client, operation::decrypt::DecryptError, types::error::DisabledException};
use aws_smithy_mocks::{MockResponseInterceptor, RuleMode, create_mock_http_client, mock};
use keybroker_aws::kms::{KmsKeyring, KmsUnwrap, KmsWrap};
use keybroker_common::{
    audit::Decision,
    broker::Error,
    challenge::{Challenges, Deployment},
    ids::{RegistrationDigest, WorkloadId},
    keyring::Purpose,
    keys::Keys,
    store::{OperatorStore, WorkloadStore},
};
use keybroker_testing::{
    guest::KEY,
    moto::{self, Store},
    rounds::Counted,
    world::{Broker, PASSPHRASE, TTL, World, workload_id},
};
use serde_json::{Value, json};

pub(crate) struct Aws {
    pub(crate) world: World,
    pub(crate) store: Arc<Store>,
    pub(crate) broker: Broker,
    kms: Counted,
}

/// The requests to KMS about one ciphertext: the context under which it was made, and the context under which
/// it should be opened.
///
/// KMS refuses if they differ in anything. `infra/smoke` tests that: the local KMS joins the names and values
/// of a context without a border, so that its refusal alone says little.
pub(crate) struct Asked {
    pub(crate) made_under: Value,
    pub(crate) opened_under: Value,
}

/// A broker over `store` whose secrets and own keys are wrapped in KMS.
pub(crate) fn broker_over(world: &World, store: &Arc<Store>, kms: &Counted, alias: &str) -> Broker {
    let keys = |purpose| {
        let wrap = Arc::new(KmsKeyring::new(kms.kms(), alias, purpose));
        let (clock, lasts) = (world.hardware.clock.clone(), Challenges::keys_last(TTL));
        Arc::new(Keys::new(purpose, store.clone(), wrap, clock, lasts))
    };
    let challenges = || Challenges::new(keys(Purpose::Challenge), Deployment::new("test"), TTL);
    let mut broker = world
        .broker_over(store.clone())
        .with_wrap(Arc::new(KmsWrap::new(kms.kms(), alias)))
        .with_unwrap(Arc::new(KmsUnwrap::new(kms.kms())));
    (broker.auth.challenges, broker.attest.challenges) = (challenges(), challenges());
    broker.attest.session_keys = keys(Purpose::Session);
    broker
}

impl Aws {
    pub(crate) async fn new() -> Self {
        let (world, store) = (World::new().await, Arc::new(moto::store().await));
        let (_, alias) = moto::key().await;
        let kms = Counted::new();
        let broker = broker_over(&world, &store, &kms, &alias);
        Self { world, store, broker, kms }
    }

    /// The last requests to KMS about the secret that was wrapped as number `made`, from 0.
    pub(crate) fn asked(&self, made: usize) -> Asked {
        let contexts = |operation| {
            let contexts =
                self.kms.sent(operation).into_iter().map(|mut body| body["EncryptionContext"].take());
            contexts.filter(|context| context["purpose"] == "keybroker/v1").collect::<Vec<_>>()
        };
        Asked {
            made_under: contexts("Encrypt")[made].clone(),
            opened_under: contexts("Decrypt").pop().expect("KMS was asked"),
        }
    }

    /// The context of a secret that belongs to the row of `id` as it stands.
    pub(crate) async fn context(&self, id: &WorkloadId, secret: &str) -> Value {
        let workload = self.store.workload(id).await.unwrap().unwrap();
        json!({
            "purpose": "keybroker/v1",
            "registration": workload.digest().to_string(),
            "secret": secret,
            "workload_id": id.as_str(),
        })
    }

    /// The secret of a guest that attests as `id`.
    async fn fetch(&self, id: &str) -> Result<String, Error> {
        let session = self.broker.attested(&self.world.hardware, id).await;
        self.broker.fetch(&session, id, &KEY).await
    }

    pub(crate) async fn set(&self, id: &str, name: &str, value: AttributeValue) {
        moto::set(&self.store.tables().workloads, "workload_id", id, name, value).await;
    }
}

fn is_refused(outcome: Result<String, Error>) -> bool {
    matches!(outcome, Err(Error::Refused { .. }))
}

#[tokio::test]
async fn a_guest_that_attests_gets_the_passphrase() {
    let aws = Aws::new().await;
    aws.broker.registered("a").await;
    assert_eq!(aws.fetch("a").await, Ok(PASSPHRASE.to_owned()));
}

#[tokio::test]
async fn another_workloads_ciphertext_does_not_open() {
    let aws = Aws::new().await;
    aws.broker.registered("a").await;
    aws.broker.registered("b").await;
    let other = aws.store.workload(&workload_id("b")).await.unwrap().unwrap();
    let secrets = serde_json::to_string(&other.secrets).unwrap();
    aws.set("a", "secrets", AttributeValue::S(secrets)).await;
    assert!(is_refused(aws.fetch("a").await));
    let asked = aws.asked(1);
    assert_eq!(asked.opened_under, aws.context(&workload_id("a"), "passphrase").await);
    assert_eq!(asked.made_under, aws.context(&workload_id("b"), "passphrase").await);
    assert_ne!(asked.opened_under, asked.made_under);
}

/// The guest attests under the registration that stands there; the secret was wrapped under another.
#[tokio::test]
async fn under_an_altered_registration_nothing_opens() {
    let aws = Aws::new().await;
    aws.broker.registered("a").await;
    let made_under = aws.context(&workload_id("a"), "passphrase").await;
    let mut altered = aws.store.workload(&workload_id("a")).await.unwrap().unwrap().registration;
    altered.push(b' ');
    let digest = RegistrationDigest::of(&altered).to_string();
    aws.set("a", "registration", AttributeValue::B(Blob::new(altered))).await;
    aws.set("a", "digest", AttributeValue::S(digest)).await;
    assert!(is_refused(aws.fetch("a").await));
    let asked = aws.asked(0);
    assert_eq!(asked.made_under, made_under);
    assert_eq!(asked.opened_under, aws.context(&workload_id("a"), "passphrase").await);
    assert_ne!(asked.opened_under, asked.made_under);
}

/// The local KMS decrypts with a disabled key as well, so its refusal is made up.
fn disabled() -> KmsUnwrap {
    let rule = mock!(Client::decrypt)
        .then_error(|| DecryptError::DisabledException(DisabledException::builder().build()));
    let rules = MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny).with_rule(&rule);
    let config = moto::kms().config().to_builder();
    let config = config.http_client(create_mock_http_client()).interceptor(rules).build();
    KmsUnwrap::new(Client::from_conf(config))
}

#[tokio::test]
async fn while_the_key_is_disabled_nothing_is_lost() {
    let aws = Aws::new().await;
    aws.broker.registered("a").await;
    let session = aws.broker.attested(&aws.world.hardware, "a").await;
    let without = aws.broker.clone().with_unwrap(Arc::new(disabled()));
    let outcome = without.fetch(&session, "a", &KEY).await;
    let Err(Error::Unavailable { id: Some(id), .. }) = outcome else { panic!("{outcome:?}") };
    let record = aws.store.audit_record(id).await.unwrap().unwrap();
    assert_eq!(record.decision, Decision::Unavailable);
    assert_eq!(aws.broker.fetch(&session, "a", &KEY).await, Ok(PASSPHRASE.to_owned()));
}
