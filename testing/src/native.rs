//! Registrations with init data, and guests of the broker's own protocol.

use keybroker_common::{
    broker::{Error, RegisterRequest, ReleaseRequest},
    challenge::{Challenge, Claim},
    dialect::Dialect,
    ids::SessionId,
    requirements::{AppraisalPolicy, BoundBy, InitDataRequirement},
    secret::Secret,
    wire::native,
};
use keybroker_initdata::{Algorithm, InitDataDigest, KeyId};
use keybroker_native::{
    AnswerError, Evidence, Suite,
    client::{self, Opened, Pending},
};
use keybroker_simulator::report::ReportFields;

use super::world::{Broker, World, request};

/// The document of most tests' guests. The broker looks at its digest alone.
pub fn init_data() -> InitDataDigest {
    Algorithm::Sha256.digest("the guest's document")
}

/// A registration with these secrets, whose guests must have [`init_data`], bound by this.
pub fn with_init_data(id: &str, bound_by: BoundBy, secrets: &[(&str, &str)]) -> RegisterRequest {
    let required = InitDataRequirement { digest: init_data(), bound_by, broker_keys: None };
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    RegisterRequest {
        dialects: Dialect::Native.into(),
        policy: AppraisalPolicy { init_data: Some(required), ..AppraisalPolicy::default() },
        secrets: secrets.iter().map(|(name, text)| ((*name).to_owned(), secret(text))).collect(),
        ..request(id, "unused")
    }
}

/// A guest of the broker's own protocol, as it asks.
#[derive(Debug, Clone)]
pub struct Guest {
    pub workload: String,
    pub secrets: Vec<String>,
    pub suite: Suite,
    pub init_data: InitDataDigest,
    pub host_data: [u8; 32],
    pub broker_keys: Vec<KeyId>,
}

impl Guest {
    /// A guest that has [`init_data`] in its HOST_DATA and asks for these secrets of `workload`.
    pub fn new(world: &World, workload: &str, secrets: &[&str]) -> Self {
        Self {
            workload: workload.to_owned(),
            secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
            suite: Suite::P384,
            init_data: init_data(),
            host_data: init_data().host_data(),
            broker_keys: vec![world.signer.broker_key().id()],
        }
    }

    /// Its request in answer to `challenge`, with what opens the answer.
    pub fn asks(
        &self,
        world: &World,
        challenge: &Challenge,
        alter: impl FnOnce(&mut ReportFields),
    ) -> (Pending, Vec<u8>) {
        let chip = &world.hardware.chip;
        self.presents(world, challenge, |report_data| {
            let mut fields =
                ReportFields { report_data, host_data: self.host_data, ..ReportFields::new(chip) };
            alter(&mut fields);
            Evidence::of_report(fields.sign(&chip.vcek_key(chip.tcb)).to_vec(), Vec::new())
        })
    }

    /// The same with evidence of its own making, for the 64 bytes that it must carry.
    pub fn presents(
        &self,
        world: &World,
        challenge: &Challenge,
        evidence: impl FnOnce([u8; 64]) -> Evidence,
    ) -> (Pending, Vec<u8>) {
        let ttl = world.origin().ttl;
        let given = client::Challenge::from_json(&native::challenge(challenge, ttl)).unwrap();
        let pending = Pending::new(
            self.suite,
            &given,
            &self.workload,
            self.secrets.clone(),
            self.init_data.clone(),
            self.broker_keys.clone(),
        )
        .unwrap();
        let body = pending.request(&evidence(pending.report_data()));
        (pending, body)
    }

    /// Asks for a challenge and then for its secrets.
    pub async fn boots(&self, world: &World, broker: &Broker) -> Result<Opened, Error> {
        let challenge = challenge(broker).await;
        let (pending, body) = self.asks(world, &challenge, |_| {});
        let (session_id, request) = read(&body);
        let answer = broker.attest.release_secrets(&session_id, request).await?;
        Ok(opened(world, pending, &answer.to_json()).unwrap())
    }
}

/// A challenge of the broker's own protocol.
pub async fn challenge(broker: &Broker) -> Challenge {
    broker.auth.challenge(Claim::Later).await.unwrap()
}

/// A request as the broker reads it.
pub fn read(body: &[u8]) -> (SessionId, ReleaseRequest) {
    native::release_request(body).unwrap()
}

/// The secrets that the guest finds in an answer.
pub fn opened(world: &World, pending: Pending, answer: &[u8]) -> Result<Opened, AnswerError> {
    pending.open(answer, &[world.signer.broker_key()])
}
