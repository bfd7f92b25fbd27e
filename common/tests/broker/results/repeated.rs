//! A guest that asks again, since the answer was lost: its result is made anew of what was decided.

use std::sync::Arc;

use keybroker_common::{
    audit::AuditRecord,
    broker::{Error, Evidence},
    decision::{AttestDecision, EvidenceDigest},
    ear::SignedResult,
    encoding::Base64,
    ids::AuditId,
    session::Session,
    store::{DecisionStore, StoreError},
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_testing::{
    clock::seconds,
    guest::{KEY, evidence},
    world::{Broker, World},
};
use serde_json::json;

use super::{claim, part, payload, registered};

fn claims_of(result: Option<&SignedResult>) -> Vec<u8> {
    part(result.expect("a result").expose(), 1)
}

#[tokio::test]
async fn the_same_evidence_gets_the_same_claims_under_another_signature() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker).await;
    let challenge = broker.auth.challenge(claim()).await.unwrap();
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let first = broker.attest.attest(&challenge.session_id, evidence.clone()).await.unwrap();
    let text = first.result.clone().unwrap();
    assert_eq!(payload(text.expose())["keybroker.session"], json!(challenge.session_id.expose()));
    world.hardware.clock.advance(seconds(20));
    // By the process that decided, and by another.
    for broker in [&broker, &world.broker()] {
        let again = broker.attest.attest(&challenge.session_id, evidence.clone()).await.unwrap();
        assert_eq!(claims_of(again.result.as_ref()), claims_of(first.result.as_ref()));
        assert_ne!(again.result, first.result);
    }
}

/// Decisions as somebody altered them who can write to the store.
#[derive(Debug)]
struct Altered(Arc<EmbeddedStore>, fn(&mut AttestDecision));

impl Altered {
    fn altered(&self, mut decision: AttestDecision) -> AttestDecision {
        self.1(&mut decision);
        decision
    }
}

#[async_trait::async_trait]
impl DecisionStore for Altered {
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError> {
        Ok(self.0.decide(decision).await?.map(|there| self.altered(there)))
    }

    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError> {
        Ok(self.0.decision(id).await?.map(|there| self.altered(there)))
    }

    async fn record(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        DecisionStore::record(&*self.0, audit).await
    }
}

/// A writer of the store cannot have the broker sign other claims: not about the measurement, not about the
/// hardware, and not for another time or workload.
#[tokio::test]
async fn an_altered_record_gets_no_result_and_no_session() {
    let alterations: [fn(&mut AttestDecision); 7] = [
        |decision| decision.record.evidence.as_mut().unwrap().measurement = "00".repeat(48),
        |decision| decision.record.evidence.as_mut().unwrap().vmpl = 1,
        |decision| decision.record.basis.as_mut().unwrap().simulated = false,
        |decision| decision.record.basis.as_mut().unwrap().fleet = Base64([0; 32]),
        |decision| decision.record.basis = None,
        |decision| decision.record.time += seconds(1),
        |decision| decision.record.registration = None,
    ];
    let scene = super::Scene::new().await;
    let (sealed, id) = (scene.session.sealed().clone(), scene.session.session_id().clone());
    let decided = scene.world.decision(&id).await.unwrap();
    for alter in alterations {
        let mut decision = decided.clone();
        let keys = &scene.broker.attest.session_keys;
        assert!(Session::unseal(sealed.clone(), &decision.record, &id, keys).await.unwrap().is_some());
        alter(&mut decision);
        let record = decision.record;
        assert_eq!(Session::unseal(sealed.clone(), &record, &id, keys).await.unwrap(), None, "{record:?}");

        let mut broker = scene.world.broker();
        let challenge = broker.auth.challenge(claim()).await.unwrap();
        let evidence = evidence(&scene.world.hardware.chip, &KEY, &challenge);
        let again =
            async |broker: &Broker| broker.attest.attest(&challenge.session_id, evidence.clone()).await;
        assert!(again(&broker).await.unwrap().result.is_some());
        broker.attest.decisions = Arc::new(Altered(scene.world.store.clone(), |_| {}));
        assert!(again(&broker).await.unwrap().result.is_some());
        broker.attest.decisions = Arc::new(Altered(scene.world.store.clone(), alter));
        let refused = again(&broker).await;
        assert!(matches!(refused, Err(Error::NoSession { id: Some(_) })), "{refused:?}");
    }
}

/// Nor can a writer of the store have it answer a body that no guest was admitted by: the session says which
/// body it came of.
#[tokio::test]
async fn an_altered_digest_of_the_evidence_gets_no_result() {
    const BODY: &[u8] = b"another body";
    let scene = super::Scene::new().await;
    let mut broker = scene.world.broker();
    let challenge = broker.auth.challenge(claim()).await.unwrap();
    let evidence = evidence(&scene.world.hardware.chip, &KEY, &challenge);
    assert!(broker.attest.attest(&challenge.session_id, evidence.clone()).await.unwrap().result.is_some());
    let altered = Altered(scene.world.store.clone(), |decision| decision.evidence = EvidenceDigest::of(BODY));
    broker.attest.decisions = Arc::new(altered);
    for digest in [EvidenceDigest::of(BODY), evidence.digest] {
        let evidence = Evidence { digest, ..evidence.clone() };
        let refused = broker.attest.attest(&challenge.session_id, evidence).await;
        assert!(matches!(refused, Err(Error::NoSession { id: Some(_) })), "{refused:?}");
    }
}
