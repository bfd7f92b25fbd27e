//! A stored guest's key: what is read is written so that it reads the same, and a secret can be sealed to it
//! in the forms that its kind has.
#![no_main]

use keybroker_common::secret::{
    Secret,
    seal::{GuestKey, JweForm},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(key) = serde_json::from_slice::<GuestKey>(bytes) else { return };
    let written = serde_json::to_vec(&key).and_then(|written| serde_json::from_slice::<GuestKey>(&written));
    assert_eq!(written.ok().as_ref(), Some(&key));

    let secret = Secret::new(vec![7; 32]);
    assert!(key.seal_jwe(&secret, JweForm::Rfc7516).is_ok());
    let earlier = key.seal_jwe(&secret, JweForm::BeforeRfc);
    assert_eq!(earlier.is_ok(), matches!(key, GuestKey::Rsa(_)));
});
