//! The keys that sign answers: who makes the first, which one signs, and what is refused.

use std::sync::{Arc, LazyLock};

use jiff::SignedDuration;
use keybroker_common::{
    keyring::{Keyring, KeyringWrap as _, Purpose, WrappedKey, signing},
    keys::{Keys, KeysError, SigningKeys},
    secret::KeyError,
    signing::Signers as _,
    store::KeyringStore as _,
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_initdata::{BrokerKey, KeyId};
use keybroker_testing::{
    clock::{BEGIN, days, seconds},
    faulty::{FaultyStore, Method, When, injected},
    world::World,
};

type Store = FaultyStore<EmbeddedStore>;

/// One process over a store, and the store.
struct Scene {
    world: World,
    store: Arc<Store>,
}

impl Scene {
    async fn new() -> Self {
        let mut world = World::new().await;
        let inner = std::mem::replace(&mut world.store, World::new().await.store);
        let store = FaultyStore::new(Arc::into_inner(inner).expect("nobody else has the store"));
        Self { world, store: Arc::new(store) }
    }

    /// The ring as a process that starts now has it.
    fn process(&self) -> SigningKeys {
        let wrap = Arc::new(self.world.key.keyring(Purpose::Signature));
        SigningKeys::new(self.store.clone(), wrap, self.world.hardware.clock.clone())
    }

    async fn ring(&self) -> Option<Keyring> {
        self.store.inner().keyring(Purpose::Signature).await.unwrap().map(|stored| stored.ring)
    }

    async fn put(&self, ring: &Keyring) {
        let stored = self.store.inner().keyring(Purpose::Signature).await.unwrap();
        let edition = stored.map(|stored| stored.edition);
        self.store.inner().put_keyring(Purpose::Signature, edition, ring).await.unwrap();
    }

    /// Adds a key as an operator does, and returns its id.
    async fn prepared(&self) -> KeyId {
        let (private, public) = signing::drawn().unwrap();
        let wrapped = self.world.key.keyring(Purpose::Signature).wrap_key(&private).await.unwrap();
        let ring = self.ring().await.unwrap_or_default();
        self.put(&ring.with_signing(wrapped, public.clone(), BEGIN).unwrap()).await;
        public.id()
    }

    async fn rotated(&self) {
        let ring = self.ring().await.unwrap();
        self.put(&ring.with_prepared_used(BEGIN).unwrap()).await;
    }

    fn pass(&self, duration: SignedDuration) {
        self.world.hardware.clock.advance(duration);
    }
}

fn ids(ring: &Keyring) -> Vec<KeyId> {
    ring.keys.iter().map(|key| key.signing_key().unwrap().id()).collect()
}

async fn signer(keys: &SigningKeys, accepted: &[KeyId]) -> Option<KeyId> {
    keys.signer(accepted).await.unwrap().map(|key| key.broker_key().id())
}

/// A key that nobody has.
static NOBODYS: LazyLock<KeyId> = LazyLock::new(|| KeyId::from_bytes([7; 32]));

#[tokio::test]
async fn the_first_process_that_needs_it_makes_the_first_key() {
    let scene = Scene::new().await;
    let first = scene.process();
    assert_eq!((signer(&first, &[*NOBODYS]).await, scene.store.calls(Method::PutKeyring)), (None, 1));
    let ring = scene.ring().await.unwrap();
    let [id] = ids(&ring)[..] else { panic!("{ring:?}") };
    for process in [first, scene.process()] {
        let key = process.signer(&[*NOBODYS, id]).await.unwrap().unwrap();
        let signature = key.sign(b"answer").unwrap();
        let public = ring.keys[0].signing_key().unwrap();
        assert!(keybroker_native::verify(public, b"answer", &signature));
    }
    assert_eq!((scene.ring().await, scene.store.calls(Method::PutKeyring)), (Some(ring), 1));
}

#[tokio::test]
async fn two_processes_that_begin_at_once_have_one_key() {
    let scene = Scene::new().await;
    scene.store.fail(Method::PutKeyring, 1, When::After);
    let (one, other) = (scene.process(), scene.process());
    assert_eq!(one.signer(&[]).await.err(), Some(KeysError::Store(injected())));
    let ring = scene.ring().await.unwrap();
    assert_eq!(signer(&other, &ids(&ring)).await, Some(ids(&ring)[0]));
    scene.pass(seconds(1));
    assert_eq!(signer(&one, &ids(&ring)).await, Some(ids(&ring)[0]));
}

#[tokio::test]
async fn the_ring_does_not_turn_by_itself() {
    let scene = Scene::new().await;
    let keys = scene.process();
    signer(&keys, &[]).await;
    let ring = scene.ring().await;
    scene.pass(days(1000));
    assert_eq!(signer(&keys, &ids(&ring.clone().unwrap())).await, Some(ids(&ring.clone().unwrap())[0]));
    assert_eq!(scene.ring().await, ring);
}

#[tokio::test]
async fn the_newest_used_key_that_a_guest_accepts_signs() {
    let scene = Scene::new().await;
    let keys = scene.process();
    let first = scene.prepared().await;
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    let second = scene.prepared().await;
    scene.pass(SigningKeys::LOOKS_EVERY);
    // It is prepared, and no operator has said that it is used.
    assert_eq!(signer(&keys, &[first, second]).await, Some(first));
    assert_eq!(signer(&keys, &[second]).await, None);
    scene.rotated().await;
    scene.pass(SigningKeys::LOOKS_EVERY);
    for (accepted, signs) in [
        (vec![first, second], Some(second)),
        (vec![second, first], Some(second)),
        (vec![*NOBODYS, second], Some(second)),
        (vec![first], Some(first)),
        (vec![*NOBODYS], None),
        (vec![], None),
    ] {
        assert_eq!(signer(&keys, &accepted).await, signs, "{accepted:?}");
    }
}

/// A guest that knows the newest key alone is served before the minute is over, and guests that name what
/// nobody has cost a look every two seconds at most.
#[tokio::test]
async fn a_process_looks_anew_for_a_key_that_it_does_not_know() {
    let scene = Scene::new().await;
    let keys = scene.process();
    let first = scene.prepared().await;
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    let second = scene.prepared().await;
    scene.rotated().await;
    assert_eq!(signer(&keys, &[second]).await, None, "it looked a moment ago");
    scene.pass(seconds(2));
    assert_eq!(signer(&keys, &[second]).await, Some(second));
    let looked = scene.store.calls(Method::Keyring);
    for _ in 0..30 {
        assert_eq!(signer(&keys, &[*NOBODYS]).await, None);
        scene.pass(SignedDuration::from_millis(200));
    }
    assert_eq!(scene.store.calls(Method::Keyring) - looked, 2);
}

#[tokio::test]
async fn a_retired_key_signs_nothing_once_a_minute_is_over() {
    let scene = Scene::new().await;
    let keys = scene.process();
    let first = scene.prepared().await;
    let second = scene.prepared().await;
    scene.rotated().await;
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    scene.put(&scene.ring().await.unwrap().without(&first).unwrap()).await;
    scene.pass(SigningKeys::LOOKS_EVERY - seconds(1));
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    scene.pass(seconds(1));
    assert_eq!(signer(&keys, &[first]).await, None);
    assert_eq!(signer(&keys, &[first, second]).await, Some(second));
}

#[tokio::test]
async fn a_process_goes_on_for_five_minutes_without_its_store() {
    let scene = Scene::new().await;
    let keys = scene.process();
    let first = scene.prepared().await;
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    (1..=3).for_each(|nth| scene.store.fail(Method::Keyring, nth, When::Before));
    scene.pass(SigningKeys::LOOKS_EVERY);
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    scene.pass(SigningKeys::GOES_ON_FOR - SigningKeys::LOOKS_EVERY - seconds(1));
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    scene.pass(seconds(1));
    assert_eq!(keys.signer(&[first]).await.err(), Some(KeysError::Store(injected())));
    assert_eq!((SigningKeys::LOOKS_EVERY, SigningKeys::GOES_ON_FOR), (Keys::LOOKS_EVERY, Keys::GOES_ON_FOR));
}

/// One bad key stops no guest that accepts another.
#[tokio::test]
async fn a_key_that_cannot_be_opened_leaves_the_others_signing() {
    let scene = Scene::new().await;
    let first = scene.prepared().await;
    let second = scene.prepared().await;
    scene.rotated().await;
    let mut ring = scene.ring().await.unwrap();
    *ring.keys[1].wrapped.ciphertext.last_mut().unwrap() ^= 1;
    scene.put(&ring).await;
    let keys = scene.process();
    assert_eq!(signer(&keys, &[second, first]).await, Some(first));
    // Its own guests may ask again later.
    assert_eq!(keys.signer(&[second]).await.err(), Some(KeysError::Key(KeyError::Mismatch)));
    *ring.keys[1].wrapped.ciphertext.last_mut().unwrap() ^= 1;
    scene.put(&ring).await;
    scene.pass(seconds(2));
    assert_eq!(signer(&keys, &[second, first]).await, Some(first), "it has another, and no reason to look");
    assert_eq!(signer(&keys, &[second]).await, Some(second));
}

/// It signs nothing yet, so no guest depends on it.
#[tokio::test]
async fn a_prepared_key_that_cannot_be_opened_stops_nobody() {
    let scene = Scene::new().await;
    let first = scene.prepared().await;
    let second = scene.prepared().await;
    let mut ring = scene.ring().await.unwrap();
    ring.keys[1].public = Some(signing::drawn().unwrap().1.into());
    scene.put(&ring).await;
    let keys = scene.process();
    assert_eq!(signer(&keys, &[first]).await, Some(first));
    assert_eq!(signer(&keys, &[second]).await, None);
}

/// Operators read the public half in the row, and put it into documents. A writer of the table could have
/// them trust a key of his own.
#[tokio::test]
async fn an_altered_row_is_refused() {
    /// A guest accepts the key that is altered, and the one that an operator would read in the row.
    async fn altered(alter: impl FnOnce(&mut WrappedKey, BrokerKey)) -> Option<KeysError> {
        let scene = Scene::new().await;
        let first = scene.prepared().await;
        scene.prepared().await;
        scene.rotated().await;
        let (mut ring, others) = (scene.ring().await.unwrap(), signing::drawn().unwrap().1);
        let accepted = [ring.keys[1].signing_key().unwrap().id(), others.id()];
        alter(&mut ring.keys[1], others);
        scene.put(&ring).await;
        let keys = scene.process();
        assert_eq!(signer(&keys, &[first]).await, Some(first), "the other key is as it was");
        keys.signer(&accepted).await.err()
    }
    let mismatch = || Some(KeysError::Key(KeyError::Mismatch));
    assert_eq!(altered(|_, _| {}).await, None);
    assert_eq!(altered(|key, others| key.public = Some(others.into())).await, mismatch());
    assert_eq!(altered(|key, _| key.public = None).await, mismatch());
    assert_eq!(altered(|key, _| *key.wrapped.ciphertext.last_mut().unwrap() ^= 1).await, mismatch());
    assert_eq!(altered(|key, _| key.wrapped.ciphertext.truncate(10)).await, mismatch());
}

/// A key that was wrapped for another ring opens nothing here.
#[tokio::test]
async fn a_key_of_another_ring_does_not_sign() {
    let scene = Scene::new().await;
    for other in Purpose::TURNING {
        let (private, public) = signing::drawn().unwrap();
        let wrapped = scene.world.key.keyring(other).wrap_key(&private).await.unwrap();
        let ring = Keyring::default().with_signing(wrapped, public, BEGIN).unwrap();
        scene.put(&ring).await;
        let error = scene.process().signer(&ids(&ring)).await.err();
        assert_eq!(error, Some(KeysError::Key(KeyError::Mismatch)));
    }
}
