//! A broker with everything at hand, and a guest on a chip that it knows.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use keybroker_common::{
    admission::Admission,
    broker::{AttestKeys, Broker, Evidence, Origin, Parts},
    challenge::{Challenge, Claim, Deployment},
    clock::SystemClock,
    config::KdsSettings,
    dialect::Dialect,
    http::router,
    ids::{CarriedId, SessionId, WorkloadId},
    keyring::Purpose,
    store::{EndorsementStore as _, StoredEndorsement},
    wire::{handshake, libkrun},
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_kds::EndorsementSource;
use keybroker_rego::RegoEngine;
use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::{Machine, PoliteGuest},
    pki::{Amd, Chip, CrlOptions},
};
use keybroker_snp::anchors::TrustAnchors;
use tower::ServiceExt;

const TTL: Duration = Duration::from_secs(300);
/// Nothing listens there: a request to AMD fails.
const NOWHERE: &str = "http://127.0.0.1:9";

pub(crate) struct World {
    broker: Broker,
    router: Router,
    guest: PoliteGuest,
    id: WorkloadId,
}

impl World {
    pub(crate) async fn new(store: Arc<EmbeddedStore>) -> Self {
        let amd = Amd::new(Product::Milan, Timestamp::now());
        let mut anchors = TrustAnchors::default();
        anchors.add_pem(amd.ark_pem().as_bytes()).expect("the ARK is sound");
        let bytes = amd.crl(&CrlOptions::default());
        let crl = StoredEndorsement { bytes, fetched_at: Timestamp::now(), edition: 0 };
        store.put_endorsement("Milan/vcek/crl", &crl).await.expect("the store works");

        let broker = services(store, anchors);
        let build = Buildah::new(NOWHERE, "bench", &[0x4D; 48], "open sesame");
        let request = libkrun::register_request(build.body().as_bytes()).expect("buildah's own body");
        broker.register.register(request).await.expect("nothing is registered yet");

        let chip = Chip::new(Product::Milan, 1);
        let mut world = Self {
            router: router(broker.clone()),
            broker,
            guest: PoliteGuest::new(NOWHERE, "bench", Machine::new(&amd, &chip)).expect("a URL"),
            id: WorkloadId::new("bench").expect("an id"),
        };
        // The first guest brings its certificates along; from then on the chip is known.
        let vcek = world.guest.state.machine.vek.certificate.clone();
        let ask = amd.ask().to_vec();
        world.guest.state.machine.certificates = vec![("VCEK".to_owned(), vcek), ("ASK".to_owned(), ask)];
        let (id, evidence) = world.answered().await;
        world.attest(&id, evidence).await;
        world.guest.state.machine.certificates.clear();
        world
    }

    /// A challenge, as the guest gets one.
    pub(crate) async fn challenge(&self) -> Challenge {
        self.broker
            .auth
            .challenge(Claim::Named(CarriedId::new(self.id.clone()).expect("a short id")))
            .await
            .expect("the store works")
    }

    /// The guest's answer to `challenge`, as it is sent.
    pub(crate) fn answer(&mut self, challenge: &Challenge) -> String {
        self.guest.state.nonce = Some(challenge.nonce.expose());
        self.guest.state.attest_body().expect("there is a challenge")
    }

    /// A new challenge's session, and the evidence for it.
    pub(crate) async fn answered(&mut self) -> (SessionId, Evidence) {
        let challenge = self.challenge().await;
        let body = self.answer(&challenge);
        (challenge.session_id.clone(), evidence(&body))
    }

    /// A new challenge's answer as a request.
    pub(crate) async fn request(&mut self) -> Request<Body> {
        let challenge = self.challenge().await;
        Request::post("/kbs/v0/attest")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::COOKIE, format!("session_id={}", challenge.session_id.expose()))
            .body(self.answer(&challenge).into())
            .expect("a request")
    }

    pub(crate) async fn attest(&self, id: &SessionId, evidence: Evidence) {
        self.broker.attest.attest(id, evidence).await.expect("sound evidence");
    }

    pub(crate) async fn release(&self, id: &SessionId) {
        self.broker.attest.passphrase(id, &self.id).await.expect("the guest has attested");
    }

    pub(crate) async fn serve(&self, request: Request<Body>) {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// Parses the guest's request.
pub(crate) fn evidence(body: &str) -> Evidence {
    handshake::evidence(vec![Dialect::Libkrun], &Claim::HostData, body.as_bytes())
        .expect("the guest's own body")
}

fn services(store: Arc<EmbeddedStore>, anchors: TrustAnchors) -> Broker {
    let clock = Arc::new(SystemClock);
    let key = Arc::new(LocalKey::in_memory().expect("a key"));
    let settings =
        KdsSettings { kds_url: NOWHERE.to_owned(), known_chips_only: true, ..KdsSettings::default() };
    let endorsements = EndorsementSource::new(anchors, store.clone(), clock.clone(), &settings);
    Broker::new(Parts {
        store,
        wrap: key.clone(),
        keys: AttestKeys {
            sessions: Arc::new(key.keyring(Purpose::Session)),
            results: Arc::new(key.keyring(Purpose::Result)),
            unwrap: key.clone(),
            signers: Arc::new(keybroker_testing::signer::NoSigners),
        },
        endorsements: Arc::new(endorsements),
        trials: Arc::new(RegoEngine::default()),
        policies: Arc::new(RegoEngine::default()),
        fleet: Arc::default(),
        admission: Admission::OPEN,
        clock,
        origin: Origin {
            deployment: Deployment::new("bench"),
            keys: Arc::new(key.keyring(Purpose::Challenge)),
            ttl: TTL,
        },
    })
}
