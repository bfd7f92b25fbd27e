use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use keybroker_common::ids::{RegistrationDigest, WorkloadId};
use tempfile::TempDir;

use super::*;

fn context() -> EncryptionContext {
    EncryptionContext {
        workload_id: WorkloadId::new("workload").unwrap(),
        secret: "passphrase".to_owned(),
        registration: RegistrationDigest::of(b"registration"),
    }
}

fn key_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys/wrapping.key");
    (dir, path)
}

/// A key file with these contents and permissions.
fn load_file(contents: &[u8], mode: u32) -> Result<LocalKey, KeyFileError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    LocalKey::load(&path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_key_that_was_made_is_read_back() {
    let (_dir, path) = key_path();
    let made = LocalKey::create(&path).unwrap();
    let read = LocalKey::load(&path).unwrap();
    assert_eq!(made.key_id(), read.key_id());
    let wrapped = made.wrap_secret(&context(), &Secret::new(b"clear text".to_vec())).await.unwrap();
    assert_eq!(read.unwrap_secret(&context(), &wrapped).await.unwrap().expose(), b"clear text");
}

#[test]
fn a_key_file_is_its_owners_alone() {
    let (_dir, path) = key_path();
    LocalKey::create(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn a_key_is_never_overwritten() {
    let (_dir, path) = key_path();
    let first = LocalKey::create(&path).unwrap();
    assert_eq!(LocalKey::create(&path).unwrap_err(), KeyFileError::Exists);
    assert_eq!(LocalKey::load(&path).unwrap().key_id(), first.key_id());
}

#[test]
fn a_missing_file_is_told_apart() {
    let (_dir, path) = key_path();
    assert_eq!(LocalKey::load(&path).unwrap_err(), KeyFileError::Missing);
}

#[test]
fn a_file_that_others_may_use_is_refused() {
    let line = format!("keybroker-key-v1:{}\n", "5a".repeat(32));
    for mode in [0o640, 0o620, 0o604, 0o602, 0o610, 0o601] {
        assert_eq!(load_file(line.as_bytes(), mode).unwrap_err(), KeyFileError::Exposed { mode });
    }
    assert!(load_file(line.as_bytes(), 0o400).is_ok());
}

/// The fingerprint is stored with every secret: it must come out the same for ever. (HMAC-SHA-256 computed
/// elsewhere.)
#[test]
fn the_fingerprint_is_fixed() {
    let key = load_file(format!("keybroker-key-v1:{}", "5a".repeat(32)).as_bytes(), 0o600).unwrap();
    assert_eq!(key.key_id(), "local:ca4e522a3709d99f");
}

/// An empty file in its place is what earlier releases left.
#[test]
fn a_key_that_was_not_made_to_its_end_is_made_anew() {
    let (_dir, path) = key_path();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(LocalKey::load(&path).unwrap_err(), KeyFileError::Missing);
    let made = LocalKey::create(&path).unwrap();
    assert_eq!(LocalKey::load(&path).unwrap().key_id(), made.key_id());
    // A file with any content is a key, or was one.
    for contents in ["k", "keybroker-key-v1:5a5a"] {
        fs::write(&path, contents).unwrap();
        assert_eq!(LocalKey::create(&path).unwrap_err(), KeyFileError::Exists);
        assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no key is left beside it");
    }
}

/// Another store's key may have any name.
#[test]
fn a_key_beside_the_new_one_stays_whatever_its_name() {
    let (_dir, path) = key_path();
    let beside = path.with_file_name("wrapping.key.new");
    let other = LocalKey::create(&beside).unwrap();
    let before = fs::read(&beside).unwrap();
    let made = LocalKey::create(&path).unwrap();
    assert_ne!(made.key_id(), other.key_id());
    assert_eq!(fs::read(&beside).unwrap(), before);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn a_pipe_is_no_key_file_and_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("key");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(LocalKey::load(&pipe).unwrap_err(), KeyFileError::Malformed);
}

#[test]
fn a_file_of_another_form_is_refused() {
    let good = format!("keybroker-key-v1:{}\n", "5a".repeat(32));
    let bad = [
        "keybroker-key-v1:\n".to_owned(),
        "5a".repeat(32),
        good.replace("v1", "v2"),
        good.replace("5a", "5A"),
        good.replace("5a", "5g"),
        good.replacen("5a", "", 1),
        good.replacen("5a", "5", 1),
        good.replacen("5a", "5a5a", 1),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('\n', "\r\n"),
    ];
    for contents in bad {
        let error = load_file(contents.as_bytes(), 0o600).unwrap_err();
        assert_eq!(error, KeyFileError::Malformed, "{contents:?}");
    }
    assert_eq!(load_file(&[0xff; 81], 0o600).unwrap_err(), KeyFileError::Malformed);
    assert_eq!(LocalKey::load(Path::new("/dev/zero")).unwrap_err(), KeyFileError::Malformed);
}

#[tokio::test]
async fn a_secret_opens_in_its_own_context_only() {
    let (_dir, path) = key_path();
    let key = LocalKey::create(&path).unwrap();
    let wrapped = key.wrap_secret(&context(), &Secret::new(b"clear".to_vec())).await.unwrap();
    let others = [
        EncryptionContext { workload_id: WorkloadId::new("workloae").unwrap(), ..context() },
        EncryptionContext { secret: "passphrasf".to_owned(), ..context() },
        EncryptionContext { registration: RegistrationDigest::of(b"another"), ..context() },
    ];
    for other in others {
        assert_eq!(key.unwrap_secret(&other, &wrapped).await.unwrap_err(), KeyError::Mismatch);
    }
}

/// Secrets wrapped by any release open in every later one. (Made by another implementation of AES-GCM.)
#[tokio::test]
async fn the_wrapped_form_is_fixed() {
    let key = load_file(format!("keybroker-key-v1:{}", "5a".repeat(32)).as_bytes(), 0o600).unwrap();
    let hex = b"000102030405060708090a0b2ecd48044ce3caa976400e13cb2cb6ad65f49c9091e77db1e923";
    let wrapped =
        WrappedSecret { key_id: key.key_id().to_owned(), ciphertext: HEXLOWER.decode(hex).unwrap() };
    assert_eq!(key.unwrap_secret(&context(), &wrapped).await.unwrap().expose(), b"clear text");
}

/// Text that moves from one value to the next makes another context.
#[test]
fn contexts_are_told_apart_by_more_than_their_text() {
    let with = |secret: &str, id: &str| {
        let (secret, workload_id) = (secret.to_owned(), WorkloadId::new(id).unwrap());
        associated_data(&EncryptionContext { workload_id, secret, ..context() }.pairs()).as_ref().to_vec()
    };
    assert_ne!(with("a", "workload_idb"), with("aworkload_id", "b"));
    assert_ne!(with("ab", "c"), with("a", "bc"));
}

#[tokio::test]
async fn no_byte_can_be_altered_or_cut_off() {
    let (_dir, path) = key_path();
    let key = LocalKey::create(&path).unwrap();
    let wrapped = key.wrap_secret(&context(), &Secret::new(b"clear".to_vec())).await.unwrap();
    assert_eq!(wrapped.ciphertext.len(), 12 + 5 + 16);
    for index in 0..wrapped.ciphertext.len() {
        let mut altered = wrapped.clone();
        altered.ciphertext[index] ^= 1;
        assert_eq!(key.unwrap_secret(&context(), &altered).await.unwrap_err(), KeyError::Mismatch);
        altered.ciphertext = wrapped.ciphertext[..index].to_vec();
        assert_eq!(key.unwrap_secret(&context(), &altered).await.unwrap_err(), KeyError::Mismatch);
    }
}

#[tokio::test]
async fn another_keys_secret_is_not_tried() {
    let ((_dir, path), (_other_dir, other_path)) = (key_path(), key_path());
    let (key, other) = (LocalKey::create(&path).unwrap(), LocalKey::create(&other_path).unwrap());
    assert_ne!(key.key_id(), other.key_id());
    let mut wrapped = other.wrap_secret(&context(), &Secret::new(b"clear".to_vec())).await.unwrap();
    let error = key.unwrap_secret(&context(), &wrapped).await.unwrap_err();
    assert_eq!(error, KeyError::UnknownKey(other.key_id().to_owned()));
    // A false name does not help.
    wrapped.key_id = key.key_id().to_owned();
    assert_eq!(key.unwrap_secret(&context(), &wrapped).await.unwrap_err(), KeyError::Mismatch);
}

/// A ring's keys open as keys of this ring alone, and never as a workload's secret.
#[tokio::test]
async fn a_rings_key_opens_for_its_purpose_only() {
    let (_dir, path) = key_path();
    let key = Arc::new(LocalKey::create(&path).unwrap());
    let secret = Secret::new(vec![7; 32]);
    for purpose in Purpose::ALL {
        let wrapped = key.keyring(purpose).wrap_key(&secret).await.unwrap();
        assert_eq!(key.keyring(purpose).unwrap_key(&wrapped).await.unwrap().expose(), secret.expose());
        for other in Purpose::ALL.into_iter().filter(|other| *other != purpose) {
            assert_eq!(key.keyring(other).unwrap_key(&wrapped).await.unwrap_err(), KeyError::Mismatch);
        }
        assert_eq!(key.unwrap_secret(&context(), &wrapped).await.unwrap_err(), KeyError::Mismatch);
        let of_a_workload = key.wrap_secret(&context(), &secret).await.unwrap();
        assert_eq!(key.keyring(purpose).unwrap_key(&of_a_workload).await.unwrap_err(), KeyError::Mismatch);
    }
}

#[tokio::test]
async fn wrapping_twice_differs() {
    let (_dir, path) = key_path();
    let key = LocalKey::create(&path).unwrap();
    let secret = Secret::new(b"clear".to_vec());
    let first = key.wrap_secret(&context(), &secret).await.unwrap();
    assert_ne!(first, key.wrap_secret(&context(), &secret).await.unwrap());
}

#[test]
fn debug_shows_the_fingerprint_and_no_key() {
    let key = load_file(format!("keybroker-key-v1:{}", "5a".repeat(32)).as_bytes(), 0o600).unwrap();
    assert_eq!(format!("{key:?}"), format!("LocalKey({}, redacted)", key.key_id()));
    assert_eq!(format!("{:?}", Secret::new(b"clear".to_vec())), "Secret(redacted)");
}

#[tokio::test]
async fn a_secret_moves_to_another_registration_and_opens_under_it_alone() {
    let key = LocalKey::in_memory().unwrap();
    let to = EncryptionContext { registration: RegistrationDigest::of(b"another"), ..context() };
    let before = key.wrap_secret(&context(), &Secret::new(b"clear text".to_vec())).await.unwrap();
    let after = key.rewrap_secret(&context(), &to, &before).await.unwrap();
    assert_eq!(key.unwrap_secret(&to, &after).await.unwrap().expose(), b"clear text");
    assert_eq!(key.unwrap_secret(&context(), &after).await.unwrap_err(), KeyError::Mismatch);
    assert_eq!(key.unwrap_secret(&to, &before).await.unwrap_err(), KeyError::Mismatch);
}

#[tokio::test]
async fn a_secret_of_another_registration_or_key_does_not_move() {
    let (key, other) = (LocalKey::in_memory().unwrap(), LocalKey::in_memory().unwrap());
    let to = EncryptionContext { registration: RegistrationDigest::of(b"another"), ..context() };
    let wrapped = key.wrap_secret(&context(), &Secret::new(b"clear text".to_vec())).await.unwrap();
    assert_eq!(key.rewrap_secret(&to, &to, &wrapped).await, Err(KeyError::Mismatch));
    for context in [
        EncryptionContext { secret: "other".to_owned(), ..context() },
        EncryptionContext { workload_id: WorkloadId::new("other").unwrap(), ..context() },
    ] {
        assert_eq!(key.rewrap_secret(&context, &to, &wrapped).await, Err(KeyError::Mismatch));
    }
    let unknown = Err(KeyError::UnknownKey(key.key_id().to_owned()));
    assert_eq!(other.rewrap_secret(&context(), &to, &wrapped).await, unknown);
}
