//! The three services, put together from what they stand on: the one place that does it.
//!
//! A function makes the one service that it is, with `new`; a process that is all three makes a [`Broker`].

use std::{sync::Arc, time::Duration};

use super::{Attest, Auth, Endorser, Register};
use crate::{
    admission::Admission,
    appraisal::Fleet,
    clock::Clock,
    policy::PolicyEngine,
    secret::{Unwrap, Wrap},
    store::{AuditStore, ChallengeStore, RegistrationStore, ReleaseStore, SessionStore},
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

impl Auth {
    /// Writes challenges that last for `ttl` into `store`.
    pub fn new(store: Arc<impl ChallengeStore + 'static>, clock: Arc<dyn Clock>, ttl: Duration) -> Self {
        Self { challenges: store, clock, ttl }
    }
}

impl Attest {
    /// Attests against the registrations in `store` and the operator's demands on the `fleet`; a session
    /// lasts for `ttl`.
    pub fn new(
        store: Arc<impl SessionStore + ReleaseStore + AuditStore + 'static>,
        unwrap: Arc<dyn Unwrap>,
        endorsements: Arc<dyn Endorser>,
        policies: Arc<dyn PolicyEngine>,
        fleet: Arc<Fleet>,
        clock: Arc<dyn Clock>,
        ttl: Duration,
    ) -> Self {
        Self {
            sessions: store.clone(),
            workloads: store.clone(),
            audit: store,
            endorsements,
            policies,
            fleet,
            patience: Arc::default(),
            unwrap,
            clock,
            ttl,
        }
    }
}

/// All that the three services keep.
pub trait Stores: RegistrationStore + ChallengeStore + SessionStore + ReleaseStore + AuditStore {}

impl<S: RegistrationStore + ChallengeStore + SessionStore + ReleaseStore + AuditStore> Stores for S {}

/// The parts under a process that runs all three services.
#[derive(Debug)]
pub struct Parts<S> {
    /// Where everything is kept.
    pub store: Arc<S>,
    /// Wraps the secrets at a registration.
    pub wrap: Arc<dyn Wrap>,
    /// Unwraps them for a release.
    pub unwrap: Arc<dyn Unwrap>,
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
    /// How long a challenge may be answered, and then a session may fetch its secrets.
    pub ttl: Duration,
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
        let Parts { store, wrap, unwrap, endorsements, trials, policies, fleet, admission, clock, ttl } =
            parts;
        Self {
            register: Register::new(store.clone(), wrap, trials, admission, clock.clone()),
            auth: Auth::new(store.clone(), clock.clone(), ttl),
            attest: Attest::new(store, unwrap, endorsements, policies, fleet, clock, ttl),
        }
    }
}
