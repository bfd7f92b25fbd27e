//! The three services, put together from what they stand on: the one place that does it.
//!
//! A function makes the one service that it is, with `new`; a process that is all three makes a [`Broker`].

use std::{sync::Arc, time::Duration};

use super::{Attest, Auth, Endorser, Register};
use crate::{
    admission::Admission,
    advisories::Advisories,
    appraisal::Fleet,
    challenge::{Challenges, Deployment},
    clock::Clock,
    ear::Results,
    keyring::{KeyringWrap, Purpose},
    keys::{Keys, ResultKeys},
    policy::PolicyEngine,
    secret::{Unwrap, Wrap},
    signing::Signers,
    store::{AuditStore, DecisionStore, KeyringStore, RegistrationStore, ReleaseStore},
};

impl Register {
    /// Registers into `store`, for callers that `admission` lets in; `policies` tries the registrations'
    /// Rego.
    pub fn new(
        store: Arc<impl RegistrationStore + AuditStore + 'static>,
        wrap: Arc<dyn Wrap>,
        policies: Arc<dyn PolicyEngine>,
        admission: Admission,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let patience = Arc::default();
        Self { workloads: store.clone(), audit: store, wrap, policies, admission, patience, clock }
    }
}

/// Where a deployment's challenges come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The deployment's name.
    pub deployment: Deployment,
    /// Opens the keys of challenges.
    pub keys: Arc<dyn KeyringWrap>,
    /// How long a challenge may be answered, and then a session may fetch its secrets.
    pub ttl: Duration,
}

impl Origin {
    fn challenges(self, store: Arc<impl KeyringStore + 'static>, clock: Arc<dyn Clock>) -> Challenges {
        let Self { deployment, keys, ttl } = self;
        let keys = Keys::new(Purpose::Challenge, store, keys, clock, Challenges::keys_last(ttl));
        Challenges::new(Arc::new(keys), deployment, ttl)
    }
}

impl Auth {
    /// Gives challenges under the keys in `store`.
    pub fn new(store: Arc<impl KeyringStore + 'static>, origin: Origin, clock: Arc<dyn Clock>) -> Self {
        Self { challenges: origin.challenges(store, clock.clone()), clock }
    }

    /// The same with the challenges of this process' other service: both drop a key at the same moment.
    fn beside(attest: &Attest) -> Self {
        Self { challenges: attest.challenges.clone(), clock: attest.clock.clone() }
    }
}

/// The keys that only `attest` has.
#[derive(Debug, Clone)]
pub struct AttestKeys {
    /// Opens the keys that make sessions.
    pub sessions: Arc<dyn KeyringWrap>,
    /// Opens the keys that sign attestation results.
    pub results: Arc<dyn KeyringWrap>,
    /// Unwraps the secrets.
    pub unwrap: Arc<dyn Unwrap>,
    /// Signs what is released over the broker's own protocol.
    pub signers: Arc<dyn Signers>,
}

impl Attest {
    /// Attests against the registrations in `store` and the operator's demands on the `fleet`. Records say
    /// how platforms stand to the bulletins that this release ships, unless [`Attest::judging_by`] gives
    /// others.
    pub fn new(
        store: Arc<impl DecisionStore + ReleaseStore + KeyringStore + 'static>,
        origin: Origin,
        AttestKeys { sessions, results, unwrap, signers }: AttestKeys,
        endorsements: Arc<dyn Endorser>,
        policies: Arc<dyn PolicyEngine>,
        fleet: Arc<Fleet>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lasts = Challenges::keys_last(origin.ttl);
        let session_keys = Keys::new(Purpose::Session, store.clone(), sessions, clock.clone(), lasts);
        let result_keys = ResultKeys::new(store.clone(), results, clock.clone(), lasts);
        Self {
            results: Results::new(Arc::new(result_keys), origin.deployment.clone(), origin.ttl),
            challenges: origin.challenges(store.clone(), clock.clone()),
            session_keys: Arc::new(session_keys),
            decisions: store.clone(),
            workloads: store,
            endorsements,
            policies,
            fleet,
            advisories: Advisories::shipped(),
            patience: Arc::default(),
            unwrap,
            signers,
            clock,
        }
    }

    /// The same with another table of AMD's bulletins.
    pub fn judging_by(self, advisories: Arc<Advisories>) -> Self {
        Self { advisories, ..self }
    }
}

/// All that the three services keep.
pub trait Stores: RegistrationStore + DecisionStore + KeyringStore + ReleaseStore + AuditStore {}

impl<S: RegistrationStore + DecisionStore + KeyringStore + ReleaseStore + AuditStore> Stores for S {}

/// The parts under a process that runs all three services.
#[derive(Debug)]
pub struct Parts<S> {
    /// Where everything is kept.
    pub store: Arc<S>,
    /// Wraps the secrets at a registration.
    pub wrap: Arc<dyn Wrap>,
    /// Unwraps them for a release, and the keys of sessions.
    pub keys: AttestKeys,
    /// AMD's certificates.
    pub endorsements: Arc<dyn Endorser>,
    /// Tries what a registration demands in Rego. Apart from `policies`: registrations take no thread from
    /// guests.
    pub trials: Arc<dyn PolicyEngine>,
    /// Evaluates it for guests.
    pub policies: Arc<dyn PolicyEngine>,
    /// The operator's demands on every guest.
    pub fleet: Arc<Fleet>,
    /// The callers that may register.
    pub admission: Admission,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where its challenges come from.
    pub origin: Origin,
}

/// The three services of one process.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Registration.
    pub register: Register,
    /// Challenges.
    pub auth: Auth,
    /// Attestation and release.
    pub attest: Attest,
}

impl Broker {
    /// The services over the same parts.
    pub fn new<S: Stores + 'static>(parts: Parts<S>) -> Self {
        let Parts { store, wrap, keys, endorsements, trials, policies, fleet, admission, clock, origin } =
            parts;
        let register = Register::new(store.clone(), wrap, trials, admission, clock.clone());
        let attest = Attest::new(store, origin, keys, endorsements, policies, fleet, clock);
        Self { register, auth: Auth::beside(&attest), attest }
    }
}
