//! Libraries of others verify attestation results by the broker's JWK Set alone: tests/jwe.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    broker::{Evidence, RegisterRequest},
    challenge::Challenge,
    clock::Clock as _,
    dialect::Dialect,
    ids::{CarriedId, Claim, KbsVersion, TrusteeClaim},
    keyring::{Keyring, Purpose},
    store::{KeyringStore as _, StoredKeyring},
};
use keybroker_testing::{
    clock::seconds,
    guest::{KEY, evidence},
    world::{Broker, PASSPHRASE, World, request, workload_id},
};
use serde_json::{Value, json};

use crate::readers::Reader;

/// A broker of its own, and a guest of Trustee's that has a challenge.
struct Scene {
    world: World,
    broker: Broker,
    challenge: Challenge,
    evidence: Evidence,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let broker = world.broker();
        let registered = RegisterRequest { dialects: Dialect::Trustee.into(), ..request("a", PASSPHRASE) };
        broker.register.register(registered).await.unwrap();
        let workload = CarriedId::new(workload_id("a"));
        let claim = Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_2_0, workload });
        let challenge = broker.auth.challenge(claim).await.unwrap();
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        Self { world, broker, challenge, evidence }
    }

    /// The guest's result, signed by the key that is used now.
    async fn result(&self) -> String {
        let attested = self.broker.attest.attest(&self.challenge.session_id, self.evidence.clone()).await;
        attested.unwrap().result.unwrap().expose().to_owned()
    }

    async fn jwks(&self) -> Value {
        serde_json::from_slice(&self.broker.attest.results.jwks().await.unwrap()).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.world.hardware.clock.now()
    }

    fn pass(&self, duration: SignedDuration) {
        self.world.hardware.clock.advance(duration);
    }

    /// Has the ring turn, as an operator does, and passes the time until the next key signs.
    async fn turned(&self) {
        let StoredKeyring { edition, ring } =
            self.world.store.keyring(Purpose::Result).await.unwrap().unwrap();
        self.world.store.put_keyring(Purpose::Result, Some(edition), &ring.turned()).await.unwrap();
        self.pass(seconds(61));
        assert_eq!(self.jwks().await["keys"].as_array().unwrap().len(), 2);
        self.pass(Keyring::LEAD);
    }
}

fn claims_of(result: &str) -> Value {
    let payload = result.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn libraries_of_others_verify_a_result_offline() {
    let scene = Scene::new().await;
    let earlier = scene.result().await;
    let first = scene.jwks().await;
    scene.turned().await;
    let later = scene.result().await;
    let both = scene.jwks().await;
    for mut reader in Reader::each() {
        for (result, jwks) in [(&earlier, &first), (&earlier, &both), (&later, &both)] {
            let read = reader.claims(result, jwks, scene.now());
            assert_eq!(read, Ok(claims_of(result)), "{}", reader.name);
        }
        assert_eq!(claims_of(&earlier), claims_of(&later));
        // The key is in the header as well, but a third party trusts the set.
        let refused = reader.claims(&later, &first, scene.now());
        assert!(refused.is_err(), "{}: {refused:?}", reader.name);
    }
}

#[tokio::test]
async fn libraries_of_others_refuse_what_the_broker_did_not_sign() {
    let scene = Scene::new().await;
    let (result, jwks) = (scene.result().await, scene.jwks().await);
    let others = Scene::new().await;
    let theirs = (others.result().await, others.jwks().await);
    let [header, payload, signature] = result.split('.').collect::<Vec<_>>()[..] else { panic!("{result}") };
    let mut claims = claims_of(&result);
    claims["submods"]["cpu0"]["ear.status"] = json!("affirming");
    let affirming = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
    let none = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"none"}"#);
    let wrong = [
        (format!("{header}.{affirming}.{signature}"), &jwks),
        (format!("{none}.{payload}."), &jwks),
        (result.clone(), &theirs.1),
        (theirs.0, &jwks),
    ];
    for mut reader in Reader::each() {
        assert!(reader.claims(&result, &jwks, scene.now()).is_ok(), "{}", reader.name);
        for (text, jwks) in &wrong {
            let read = reader.claims(text, jwks, scene.now());
            assert!(read.is_err(), "{}: {read:?}", reader.name);
        }
        // jwcrypto is asked for the signature alone.
        let over = reader.claims(&result, &jwks, scene.now() + keybroker_testing::world::TTL);
        assert_eq!(over.is_err(), reader.name != "jwcrypto", "{}: {over:?}", reader.name);
        let early = reader.claims(&result, &jwks, scene.now() - seconds(61));
        assert_eq!(early.is_err(), reader.name != "jwcrypto", "{}: {early:?}", reader.name);
    }
}
