use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, ToSpan as _};

use super::*;
use crate::{
    clock::Clock,
    ids::{CarriedId, WorkloadId},
    keyring::{Keyring, KeyringWrap, Purpose},
    secret::{KeyError, Secret, WrappedSecret},
    store::{KeyringStore, StoreError, StoredKeyring},
};

const TTL: Duration = Duration::from_secs(300);

/// A store of rings, their wrapping key and a clock, which the test sets and makes fail.
#[derive(Debug, Default)]
struct Ground {
    now: Mutex<Timestamp>,
    rings: Mutex<Vec<(Purpose, StoredKeyring)>>,
    looks: Mutex<usize>,
    fails: Mutex<bool>,
}

fn of<T: Clone>(value: &Mutex<T>) -> T {
    value.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Clock for Ground {
    fn now(&self) -> Timestamp {
        of(&self.now)
    }
}

#[async_trait]
impl KeyringStore for Ground {
    async fn keyring(&self, purpose: Purpose) -> Result<Option<StoredKeyring>, StoreError> {
        *self.looks.lock().unwrap() += 1;
        if of(&self.fails) {
            return Err(StoreError::Unavailable("as the test wants it".to_owned()));
        }
        Ok(of(&self.rings).into_iter().find(|(held, _)| *held == purpose).map(|(_, ring)| ring))
    }

    async fn put_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
    ) -> Result<(), StoreError> {
        let mut rings = self.rings.lock().unwrap();
        let held = rings.iter().find(|(held, _)| *held == purpose).map(|(_, ring)| ring.edition);
        if held != replaced {
            return Err(StoreError::Conflict);
        }
        rings.retain(|(held, _)| *held != purpose);
        let edition = replaced.map_or(0, |edition| edition + 1);
        rings.push((purpose, StoredKeyring { edition, ring: ring.clone() }));
        Ok(())
    }
}

#[async_trait]
impl KeyringWrap for Ground {
    async fn wrap_key(&self, key: &Secret) -> Result<WrappedSecret, KeyError> {
        Ok(WrappedSecret { key_id: "none".to_owned(), ciphertext: key.expose().to_vec() })
    }

    async fn unwrap_key(&self, wrapped: &WrappedSecret) -> Result<Secret, KeyError> {
        Ok(Secret::new(wrapped.ciphertext.clone()))
    }
}

impl Ground {
    fn new() -> Arc<Self> {
        let ground = Self::default();
        ground.set(Timestamp::from_second(1_800_000_000).unwrap());
        Arc::new(ground)
    }

    fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap() = now;
    }

    fn pass(&self, time: SignedDuration) {
        self.set(self.now() + time);
    }

    /// An instance that has seen nothing yet.
    fn instance(self: &Arc<Self>, deployment: &str) -> Challenges {
        let (store, wrap, clock) = (self.clone(), self.clone(), self.clone());
        let keys = Keys::new(Purpose::Challenge, store, wrap, clock, Challenges::keys_last(TTL));
        Challenges::new(Arc::new(keys), Deployment::new(deployment), TTL)
    }

    fn give(&self, by: &Challenges, claim: Claim) -> Challenge {
        at_once(by.give(claim, self.now())).unwrap()
    }

    fn recognise(&self, by: &Challenges, id: &SessionId) -> Result<Challenge, Unrecognised> {
        at_once(by.recognise(id, self.now()))
    }

    /// An operator's act on the ring.
    fn turn(&self, change: impl FnOnce(&Keyring) -> Keyring) {
        let stored = at_once(self.keyring(Purpose::Challenge)).unwrap().unwrap();
        at_once(self.put_keyring(Purpose::Challenge, Some(stored.edition), &change(&stored.ring))).unwrap();
    }
}

/// The outcome of work that waits for nothing.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(work)
}

fn named(id: &str) -> Claim {
    Claim::Named(CarriedId::new(WorkloadId::new(id).unwrap()).unwrap())
}

/// A challenge for other modules' tests.
pub(crate) fn given(claim: Claim) -> Challenge {
    let ground = Ground::new();
    ground.give(&ground.instance("test"), claim)
}

#[test]
fn another_instance_recognises_what_one_gave() {
    let ground = Ground::new();
    let (auth, attest) = (ground.instance("a"), ground.instance("a"));
    for claim in [named("web"), named("süß"), Claim::HostData, Claim::Later] {
        let given = ground.give(&auth, claim.clone());
        assert_eq!((&given.claim, given.expires_at), (&claim, ground.now() + TTL));
        let read = SessionId::parse(&given.session_id.expose()).unwrap();
        assert_eq!(ground.recognise(&attest, &read), Ok(given));
    }
}

#[test]
fn no_two_challenges_share_an_id_or_a_nonce() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    let (one, other) = (ground.give(&auth, named("w")), ground.give(&auth, named("w")));
    assert_ne!(one.session_id, other.session_id);
    assert_ne!(one.nonce, other.nonce);
}

#[test]
fn an_id_with_any_part_changed_is_foreign() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    let text = ground.give(&auth, named("web")).session_id.expose();
    let mut foreign = 0;
    for at in 0..text.len() {
        for other in ['A', 'Q', 'g', 'w', 'x'] {
            let mut changed: Vec<_> = text.chars().collect();
            changed[at] = other;
            let changed: String = changed.into_iter().collect();
            let Some(id) = SessionId::parse(&changed).filter(|_| changed != text) else { continue };
            assert_eq!(ground.recognise(&auth, &id), Err(Unrecognised::Foreign), "{changed}");
            foreign += 1;
        }
    }
    assert!(foreign > 100, "{foreign}");
}

/// As where a table was restored beside the one that it came from: the keys are the same.
#[test]
fn another_deployment_with_the_same_keys_recognises_none() {
    let ground = Ground::new();
    let here = ground.instance("123456789012/eu-central-1/keybroker");
    for there in ["123456789012/us-east-1/keybroker", "123456789012/eu-central-1/second", ""] {
        let there = ground.instance(there);
        let given = ground.give(&there, named("w"));
        assert_eq!(ground.recognise(&here, &given.session_id), Err(Unrecognised::Foreign));
        assert_eq!(ground.recognise(&there, &given.session_id), Ok(given));
    }
}

#[test]
fn an_id_from_the_future_is_refused_and_a_clock_may_be_a_minute_ahead() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    ground.give(&auth, named("w"));
    ground.pass(SignedDuration::from_secs(60));
    let given = ground.give(&auth, named("w"));
    ground.pass(SignedDuration::from_secs(-60));
    assert_eq!(ground.recognise(&auth, &given.session_id), Ok(given.clone()));
    ground.pass(SignedDuration::from_secs(-1));
    assert_eq!(ground.recognise(&auth, &given.session_id), Err(Unrecognised::Early));
}

/// The whole life of a turn: nobody gives under a key that another instance may not know yet, and nothing
/// that a guest was given stops counting before its time.
#[test]
fn a_ring_turns_under_guests_that_are_on_their_way() {
    let ground = Ground::new();
    let (auth, attest) = (ground.instance("a"), ground.instance("a"));
    let first = ground.give(&auth, named("w"));
    assert_eq!(ground.recognise(&attest, &first.session_id), Ok(first.clone()));
    ground.pass(Keyring::TURNS_AFTER - SignedDuration::from_secs(1));
    let late = ground.give(&auth, named("w"));
    assert_eq!(late.session_id.key(), first.session_id.key());
    ground.pass(SignedDuration::from_secs(61));
    // It writes the next, and goes on under the old one.
    assert_eq!(ground.give(&auth, named("w")).session_id.key(), first.session_id.key());
    ground.pass(Keyring::LEAD);
    let next = ground.give(&auth, named("w"));
    assert_ne!(next.session_id.key(), first.session_id.key());
    assert_eq!(ground.recognise(&attest, &next.session_id), Ok(next));
    assert_eq!(ground.recognise(&attest, &late.session_id), Ok(late.clone()));
    ground.pass(SignedDuration::try_from(Challenges::keys_last(TTL)).unwrap());
    assert_eq!(ground.recognise(&attest, &late.session_id), Err(Unrecognised::Foreign));
}

/// Its end is looked at on every use, and not when the ring is looked up alone.
#[test]
fn a_key_that_is_at_hand_stops_counting_in_time() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    let given = ground.give(&auth, named("w"));
    ground.pass(Keyring::TURNS_AFTER);
    ground.give(&auth, named("w"));
    ground.pass(Keyring::LEAD + SignedDuration::try_from(Challenges::keys_last(TTL)).unwrap());
    ground.pass(SignedDuration::from_secs(-1));
    assert_eq!(ground.recognise(&auth, &given.session_id), Ok(given.clone()));
    let looks = of(&ground.looks);
    ground.pass(SignedDuration::from_secs(1));
    assert_eq!(ground.recognise(&auth, &given.session_id), Err(Unrecognised::Foreign));
    assert_eq!(of(&ground.looks), looks);
}

#[test]
fn a_stolen_key_counts_for_a_minute_at_most() {
    let ground = Ground::new();
    let (auth, attest) = (ground.instance("a"), ground.instance("a"));
    let given = ground.give(&auth, named("w"));
    assert_eq!(ground.recognise(&attest, &given.session_id), Ok(given.clone()));
    ground.turn(Keyring::emptied);
    ground.pass(Keys::LOOKS_EVERY);
    assert_eq!(ground.recognise(&attest, &given.session_id), Err(Unrecognised::Foreign));
    let next = ground.give(&auth, named("w"));
    assert_eq!(next.session_id.key(), given.session_id.key() + 1);
    assert_eq!(ground.recognise(&attest, &next.session_id), Ok(next));
}

#[test]
fn an_operator_has_the_ring_turn_without_a_guest_noticing() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    let given = ground.give(&auth, named("w"));
    ground.turn(Keyring::turned);
    ground.pass(Keys::LOOKS_EVERY);
    assert_eq!(ground.give(&auth, named("w")).session_id.key(), given.session_id.key());
    ground.pass(Keyring::LEAD);
    assert_eq!(ground.give(&auth, named("w")).session_id.key(), given.session_id.key() + 1);
    assert_eq!(ground.recognise(&auth, &given.session_id), Ok(given));
}

/// An instance that has just looked meets a key that another has made.
#[test]
fn a_key_of_an_unknown_number_is_looked_up_but_not_for_everybody() {
    let ground = Ground::new();
    let (one, other) = (ground.instance("a"), ground.instance("a"));
    ground.give(&one, named("w"));
    ground.turn(Keyring::emptied);
    let given = ground.give(&other, named("w"));
    ground.pass(SignedDuration::from_secs(2));
    assert_eq!(ground.recognise(&one, &given.session_id), Ok(given.clone()));
    let looks = of(&ground.looks);
    let tag = |_: &[u8]| [0; SessionId::TAG_LEN];
    for key in 100..200 {
        let id = SessionId::new(key, given.session_id.made_at(), [0; 12], Claim::HostData, tag);
        assert_eq!(ground.recognise(&one, &id), Err(Unrecognised::Foreign));
    }
    assert_eq!(of(&ground.looks), looks);
    ground.pass(SignedDuration::from_secs(2));
    let id = SessionId::new(100, given.session_id.made_at(), [0; 12], Claim::HostData, tag);
    assert_eq!(ground.recognise(&one, &id), Err(Unrecognised::Foreign));
    assert_eq!(of(&ground.looks), looks + 1);
}

/// Everything that is remembered has an end: a key that was taken out of the store must not count for good.
#[test]
fn without_a_store_an_instance_goes_on_for_a_while() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    let given = ground.give(&auth, named("w"));
    *ground.fails.lock().unwrap() = true;
    ground.pass(Keys::GOES_ON_FOR - SignedDuration::from_secs(1));
    assert_eq!(ground.recognise(&auth, &given.session_id), Ok(given.clone()));
    ground.pass(SignedDuration::from_secs(1));
    let unavailable = StoreError::Unavailable("as the test wants it".to_owned());
    let error = Unrecognised::Keys(KeysError::Store(unavailable));
    assert_eq!(ground.recognise(&auth, &given.session_id), Err(error));
}

/// Instances whose clocks differ by less than a minute use one key, whoever made it, and when.
#[test]
fn a_key_counts_by_clocks_that_are_behind_its_makers() {
    let ground = Ground::new();
    let (one, other) = (ground.instance("a"), ground.instance("a"));
    let given = ground.give(&one, named("w"));
    for behind in [SignedDuration::from_millis(-1), SignedDuration::from_secs(-59)] {
        ground.pass(behind);
        assert_eq!(ground.recognise(&ground.instance("a"), &given.session_id), Ok(given.clone()));
        let key = ground.give(&ground.instance("a"), named("w")).session_id.key();
        assert_eq!(key, given.session_id.key());
        ground.pass(-behind);
    }
    assert_eq!(ground.recognise(&other, &given.session_id), Ok(given));
}

/// Requests do not wait in line for a store that does not answer.
#[test]
fn a_failed_look_is_not_repeated_at_once() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    *ground.fails.lock().unwrap() = true;
    for _ in 0..10 {
        at_once(auth.give(named("w"), ground.now())).unwrap_err();
    }
    assert_eq!(of(&ground.looks), 1);
    ground.pass(SignedDuration::from_secs(1));
    at_once(auth.give(named("w"), ground.now())).unwrap_err();
    assert_eq!(of(&ground.looks), 2);
    *ground.fails.lock().unwrap() = false;
    ground.pass(SignedDuration::from_secs(1));
    ground.give(&auth, named("w"));
}

/// A clock that was put back has seen nothing of the time since then.
#[test]
fn a_look_from_the_future_is_none() {
    let ground = Ground::new();
    let auth = ground.instance("a");
    ground.pass(SignedDuration::from_hours(1));
    ground.give(&auth, named("w"));
    ground.set(ground.now() - 2.hours());
    let looks = of(&ground.looks);
    ground.give(&auth, named("w"));
    assert!(of(&ground.looks) > looks);
}
