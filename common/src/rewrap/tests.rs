#![allow(clippy::unwrap_used)]

use jiff::Timestamp;

use super::*;
use crate::ids::{RegistrationDigest, WorkloadId};

/// A key that "wraps" by writing down what it was asked for.
#[derive(Debug)]
struct Noted(&'static str);

#[async_trait]
impl MoveWrapped for Noted {
    async fn move_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError> {
        let pairs = context.pairs().map(|(name, value)| format!("{name}={value}")).join(" ");
        Ok(by(self.0, &format!("{pairs} {}", text(wrapped))))
    }

    async fn move_key(&self, purpose: Purpose, wrapped: &WrappedSecret) -> Result<WrappedSecret, KeyError> {
        Ok(by(self.0, &format!("{purpose} {}", text(wrapped))))
    }
}

fn by(key: &str, text: &str) -> WrappedSecret {
    WrappedSecret { key_id: key.to_owned(), ciphertext: text.as_bytes().to_vec() }
}

fn text(wrapped: &WrappedSecret) -> String {
    String::from_utf8(wrapped.ciphertext.clone()).unwrap()
}

fn keys() -> KeyMove {
    KeyMove { from: ["old", "older"].map(str::to_owned).into(), to: "new".to_owned() }
}

fn workload(secrets: &[(&str, &str)]) -> Workload {
    Workload {
        id: WorkloadId::new("web").unwrap(),
        registration: b"registration".to_vec(),
        secrets: secrets.iter().map(|(name, key)| ((*name).to_owned(), by(key, name))).collect(),
        first_registered_at: Timestamp::UNIX_EPOCH,
        revoked_at: Some(Timestamp::UNIX_EPOCH),
        revocation: None,
        released_at: None,
        restored_by: None,
    }
}

fn ring(keys: &[&str]) -> Keyring {
    let key = |(number, key): (usize, &&str)| WrappedKey {
        number: u8::try_from(number).unwrap(),
        wrapped: by(key, "key"),
        public: None,
        made_at: Timestamp::UNIX_EPOCH,
        from: None,
    };
    Keyring { keys: keys.iter().enumerate().map(key).collect(), last: 7, due: true }
}

#[tokio::test]
async fn each_secret_moves_under_its_own_context_and_what_moved_before_stays() {
    let (keys, seen) = (keys(), workload(&[("a", "old"), ("b", "new"), ("c", "older")]));
    assert_eq!(keys.of_workload(&seen), Ok(keys.from.clone()));
    let moved = keys.moved_secrets(&seen, &Noted("new")).await.unwrap();
    let digest = RegistrationDigest::of(b"registration");
    let whole = |name: &str| {
        by("new", &format!("purpose=keybroker/v1 registration={digest} secret={name} workload_id=web {name}"))
    };
    let expected = [("a", whole("a")), ("b", by("new", "b")), ("c", whole("c"))];
    assert_eq!(moved, expected.map(|(name, wrapped)| (name.to_owned(), wrapped)).into());
    let after = Workload { secrets: moved, ..seen };
    assert_eq!(keys.of_workload(&after), Ok(BTreeSet::new()));
}

#[tokio::test]
async fn each_key_of_a_ring_moves_and_the_ring_stays_what_it_is() {
    let (keys, seen) = (keys(), ring(&["older", "new", "old"]));
    let moved = keys.moved_ring(Purpose::Session, &seen, &Noted("new")).await.unwrap();
    let told: Vec<_> = moved.keys.iter().map(|key| text(&key.wrapped)).collect();
    assert_eq!(told, ["session key", "key", "session key"]);
    assert_eq!(keys.of_ring(&moved), Ok(BTreeSet::new()));
    let back: Vec<_> = moved
        .keys
        .iter()
        .zip(&seen.keys)
        .map(|(moved, seen)| WrappedKey { wrapped: seen.wrapped.clone(), ..moved.clone() })
        .collect();
    assert_eq!(Keyring { keys: back, ..moved }, seen);
}

/// A writer of the store names a key of its own there: the broker's key must not wrap what that key wrapped.
#[tokio::test]
async fn what_another_key_wrapped_is_not_moved() {
    let (keys, strange) = (keys(), Err(KeyError::UnknownKey("strange".to_owned())));
    for secrets in [&[("a", "strange")][..], &[("a", "old"), ("b", "strange")]] {
        let seen = workload(secrets);
        assert_eq!(keys.of_workload(&seen), strange);
        assert_eq!(keys.moved_secrets(&seen, &Noted("new")).await.map(drop), strange.clone().map(drop));
    }
    let seen = ring(&["old", "strange"]);
    assert_eq!(keys.of_ring(&seen), strange);
    assert_eq!(keys.moved_ring(Purpose::Result, &seen, &Noted("new")).await.map(drop), strange.map(drop));
}

/// Such a row is not written: nobody knows whether the broker may use that key.
#[tokio::test]
async fn what_a_third_key_took_over_is_refused() {
    let (keys, third) = (keys(), Err(KeyError::UnknownKey("third".to_owned())));
    assert_eq!(keys.moved_secrets(&workload(&[("a", "old")]), &Noted("third")).await.map(drop), third);
    assert_eq!(keys.moved_ring(Purpose::Result, &ring(&["old"]), &Noted("third")).await.map(drop), third);
}
