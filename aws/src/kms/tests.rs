//! The requests to KMS, and the outcomes of its errors. `infra/smoke` tests that KMS keeps to the context,
//! and uses no key that is disabled: the local KMS does neither.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use aws_sdk_kms::{
    config::{BehaviorVersion, Credentials, Region},
    error::ErrorMetadata,
    operation::{
        decrypt::{DecryptError, DecryptOutput},
        encrypt::{EncryptError, EncryptOutput},
        re_encrypt::{ReEncryptError, ReEncryptOutput},
    },
    types::error::{
        DisabledException, IncorrectKeyException, InvalidCiphertextException, KmsInvalidStateException,
        NotFoundException,
    },
};
use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
use aws_smithy_mocks::{MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use keybroker_common::{
    ids::{RegistrationDigest, WorkloadId},
    secret::Rewrap as _,
};
use serde_json::{Value, json};

mod moving;

use super::*;

const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1";

fn config() -> aws_sdk_kms::config::Builder {
    aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
}

fn client(rule: &Rule) -> Client {
    let rules = MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny).with_rule(rule);
    Client::from_conf(config().http_client(create_mock_http_client()).interceptor(rules).build())
}

fn context() -> EncryptionContext {
    EncryptionContext {
        workload_id: WorkloadId::new("w").unwrap(),
        secret: "passphrase".to_owned(),
        registration: RegistrationDigest::of(b"registration"),
    }
}

fn wrapped() -> WrappedSecret {
    WrappedSecret { key_id: ARN.to_owned(), ciphertext: b"ciphertext".to_vec() }
}

/// The outcome of a decryption that KMS answers with `error`.
async fn decrypted(error: fn() -> DecryptError) -> KeyError {
    let rule = mock!(Client::decrypt).then_error(error);
    let unwrap = KmsUnwrap::new(client(&rule));
    tokio::time::timeout(std::time::Duration::from_secs(30), unwrap.unwrap_secret(&context(), &wrapped()))
        .await
        .unwrap()
        .unwrap_err()
}

fn named(code: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).build()
}

fn unavailable(cause: &str) -> KeyError {
    KeyError::Unavailable(cause.to_owned())
}

#[tokio::test]
async fn the_whole_context_is_sent_when_wrapping() {
    let rule = mock!(Client::encrypt)
        .match_requests(|request| {
            request.key_id() == Some("alias/keybroker")
                && request.encryption_context() == Some(&pairs(&context()))
                && request.plaintext().is_some_and(|clear| clear.as_ref() == b"secret")
        })
        .then_output(|| {
            EncryptOutput::builder().key_id(ARN).ciphertext_blob(Blob::new(b"ciphertext")).build()
        });
    let wrap = KmsWrap::new(client(&rule), "alias/keybroker");
    let secret = Secret::new(b"secret".to_vec());
    assert_eq!(wrap.wrap_secret(&context(), &secret).await, Ok(wrapped()), "by the key's ARN");
}

#[tokio::test]
async fn the_whole_context_and_the_items_key_are_sent_when_unwrapping() {
    let rule = mock!(Client::decrypt)
        .match_requests(|request| {
            request.key_id() == Some(ARN)
                && request.encryption_context() == Some(&pairs(&context()))
                && request.ciphertext_blob().is_some_and(|blob| blob.as_ref() == b"ciphertext")
        })
        .then_output(|| DecryptOutput::builder().plaintext(Blob::new(b"secret")).build());
    let secret = KmsUnwrap::new(client(&rule)).unwrap_secret(&context(), &wrapped()).await.unwrap();
    assert_eq!(secret.expose(), b"secret");
}

/// The context of the registration that a secret moves to.
fn destination() -> EncryptionContext {
    EncryptionContext { registration: RegistrationDigest::of(b"another"), ..context() }
}

async fn rewrapped(rule: &Rule, wrapped: &WrappedSecret) -> Result<WrappedSecret, KeyError> {
    KmsRewrap::new(client(rule), "alias/keybroker").rewrap_secret(&context(), &destination(), wrapped).await
}

/// By no alias: the key that wrapped it wraps it again, and both contexts are sent whole.
#[tokio::test]
async fn both_whole_contexts_and_the_items_key_are_sent_when_rewrapping() {
    let rule = mock!(Client::re_encrypt)
        .match_requests(|request| {
            request.source_key_id() == Some(ARN)
                && request.destination_key_id() == Some(ARN)
                && request.source_encryption_context() == Some(&pairs(&context()))
                && request.destination_encryption_context() == Some(&pairs(&destination()))
                && request.ciphertext_blob().is_some_and(|blob| blob.as_ref() == b"ciphertext")
        })
        .then_output(|| ReEncryptOutput::builder().key_id(ARN).ciphertext_blob(Blob::new(b"moved")).build());
    let moved = WrappedSecret { ciphertext: b"moved".to_vec(), ..wrapped() };
    assert_eq!(rewrapped(&rule, &wrapped()).await, Ok(moved));
}

#[tokio::test]
async fn an_operator_wraps_a_new_secret_as_register_does() {
    let rule = mock!(Client::encrypt)
        .match_requests(|request| {
            request.key_id() == Some("alias/keybroker")
                && request.encryption_context() == Some(&pairs(&context()))
        })
        .then_output(|| {
            EncryptOutput::builder().key_id(ARN).ciphertext_blob(Blob::new(b"ciphertext")).build()
        });
    let wrap = KmsRewrap::new(client(&rule), "alias/keybroker");
    let secret = Secret::new(b"secret".to_vec());
    assert_eq!(wrap.wrap_secret(&context(), &secret).await, Ok(wrapped()));
}

#[tokio::test]
async fn a_secret_of_another_kind_of_key_is_not_rewrapped() {
    let rule = mock!(Client::re_encrypt).then_output(|| ReEncryptOutput::builder().build());
    let local = WrappedSecret { key_id: "local:0000000000000000".to_owned(), ..wrapped() };
    let unknown = KeyError::UnknownKey("local:0000000000000000".to_owned());
    assert_eq!(rewrapped(&rule, &local).await, Err(unknown));
    assert_eq!(rule.num_calls(), 0);
}

#[tokio::test]
async fn an_answer_without_the_rewrapped_secret_is_unavailable() {
    let rule = mock!(Client::re_encrypt).then_output(|| ReEncryptOutput::builder().key_id(ARN).build());
    assert_eq!(rewrapped(&rule, &wrapped()).await, Err(unavailable("KMS gave no usable answer")));
}

#[tokio::test]
async fn a_rewrapping_that_kms_rejects_is_a_mismatch_and_any_other_error_is_not() {
    let rejected = || {
        ReEncryptError::InvalidCiphertextException(
            InvalidCiphertextException::builder().meta(named("InvalidCiphertextException")).build(),
        )
    };
    let of_another_key = || {
        ReEncryptError::IncorrectKeyException(
            IncorrectKeyException::builder().meta(named("IncorrectKeyException")).build(),
        )
    };
    let disabled = || {
        ReEncryptError::DisabledException(
            DisabledException::builder().meta(named("DisabledException")).build(),
        )
    };
    let deleted = || {
        ReEncryptError::NotFoundException(
            NotFoundException::builder().meta(named("NotFoundException")).build(),
        )
    };
    let denied = || ReEncryptError::generic(named("AccessDeniedException"));
    let cases: [(fn() -> ReEncryptError, KeyError); 5] = [
        (rejected, KeyError::Mismatch),
        (of_another_key, KeyError::Mismatch),
        (disabled, unavailable("KMS: DisabledException")),
        (deleted, unavailable("KMS: NotFoundException")),
        (denied, unavailable("KMS: AccessDeniedException: no reason is given")),
    ];
    for (error, outcome) in cases {
        let rule = mock!(Client::re_encrypt).then_error(error);
        assert_eq!(rewrapped(&rule, &wrapped()).await, Err(outcome));
    }
}

/// The requests on the wire for a secret under `context`: to wrap it, and to unwrap it.
async fn sent(context: &EncryptionContext) -> [(String, Value); 2] {
    let event = |body: &str| {
        ReplayEvent::new(HttpRequest::empty(), HttpResponse::new(200.try_into().unwrap(), body.into()))
    };
    let encrypted = format!(r#"{{"KeyId":"{ARN}","CiphertextBlob":"Y2lwaGVydGV4dA=="}}"#);
    let replay = StaticReplayClient::new(vec![event(&encrypted), event(r#"{"Plaintext":"c2VjcmV0"}"#)]);
    let config = config().http_client(replay.clone()).build();
    let client = Client::from_conf(config);
    let secret = Secret::new(b"secret".to_vec());
    let wrapped =
        KmsWrap::new(client.clone(), "alias/keybroker").wrap_secret(context, &secret).await.unwrap();
    assert_eq!(KmsUnwrap::new(client).unwrap_secret(context, &wrapped).await.unwrap().expose(), b"secret");
    let request = |request: &HttpRequest| {
        let operation = request.headers().get("x-amz-target").unwrap().to_owned();
        (operation, serde_json::from_slice(request.body().bytes().unwrap()).unwrap())
    };
    replay.actual_requests().map(request).collect::<Vec<_>>().try_into().unwrap()
}

#[tokio::test]
async fn a_context_is_sent_as_four_names_with_a_value_each() {
    let names = json!({
        "purpose": "keybroker/v1",
        "registration": RegistrationDigest::of(b"registration").to_string(),
        "secret": "passphrase",
        "workload_id": "w",
    });
    let encrypt = json!({"KeyId": "alias/keybroker", "Plaintext": "c2VjcmV0", "EncryptionContext": names});
    let decrypt = json!({"KeyId": ARN, "CiphertextBlob": "Y2lwaGVydGV4dA==", "EncryptionContext": names});
    let expected = [("TrentService.Encrypt", encrypt), ("TrentService.Decrypt", decrypt)];
    assert_eq!(sent(&context()).await, expected.map(|(operation, body)| (operation.to_owned(), body)));
}

/// The local KMS joins names and values without a border, and takes these two for one.
#[tokio::test]
async fn contexts_that_join_to_the_same_text_are_sent_apart() {
    let of = |secret: &str, id: &str| EncryptionContext {
        workload_id: WorkloadId::new(id).unwrap(),
        secret: secret.to_owned(),
        ..context()
    };
    let (one, other) = (of("a", "bworkload_idc"), of("aworkload_idb", "c"));
    let joined =
        |context: &EncryptionContext| context.pairs().map(|(name, value)| format!("{name}{value}")).concat();
    assert_eq!(joined(&one), joined(&other));
    for ((_, one), (_, other)) in sent(&one).await.into_iter().zip(sent(&other).await) {
        assert_ne!(one["EncryptionContext"], other["EncryptionContext"]);
    }
}

#[tokio::test]
async fn a_secret_of_another_kind_of_key_is_not_sent() {
    let rule = mock!(Client::decrypt).then_output(|| DecryptOutput::builder().build());
    let local = WrappedSecret { key_id: "local:0000000000000000".to_owned(), ..wrapped() };
    let error = KmsUnwrap::new(client(&rule)).unwrap_secret(&context(), &local).await.unwrap_err();
    assert_eq!(error, KeyError::UnknownKey("local:0000000000000000".to_owned()));
    assert_eq!(rule.num_calls(), 0);
}

#[tokio::test]
async fn a_ciphertext_that_kms_rejects_is_a_mismatch() {
    let error = || {
        DecryptError::InvalidCiphertextException(
            InvalidCiphertextException::builder().meta(named("InvalidCiphertextException")).build(),
        )
    };
    assert_eq!(decrypted(error).await, KeyError::Mismatch);
}

#[tokio::test]
async fn a_ciphertext_of_another_key_is_a_mismatch() {
    let error = || {
        DecryptError::IncorrectKeyException(
            IncorrectKeyException::builder().meta(named("IncorrectKeyException")).build(),
        )
    };
    assert_eq!(decrypted(error).await, KeyError::Mismatch);
}

#[tokio::test]
async fn a_disabled_key_is_unavailable() {
    let error = || {
        DecryptError::DisabledException(DisabledException::builder().meta(named("DisabledException")).build())
    };
    assert_eq!(decrypted(error).await, unavailable("KMS: DisabledException"));
}

#[tokio::test]
async fn a_key_about_to_be_deleted_is_unavailable() {
    let error = || {
        DecryptError::KmsInvalidStateException(
            KmsInvalidStateException::builder().meta(named("KMSInvalidStateException")).build(),
        )
    };
    assert_eq!(decrypted(error).await, unavailable("KMS: KMSInvalidStateException"));
}

#[tokio::test]
async fn a_deleted_key_is_unavailable() {
    let error = || {
        DecryptError::NotFoundException(NotFoundException::builder().meta(named("NotFoundException")).build())
    };
    assert_eq!(decrypted(error).await, unavailable("KMS: NotFoundException"));
}

#[tokio::test]
async fn a_denied_key_is_unavailable() {
    let error = || DecryptError::generic(named("AccessDeniedException"));
    let denied = unavailable("KMS: AccessDeniedException: no reason is given");
    assert_eq!(decrypted(error).await, denied);
}

#[tokio::test]
async fn a_throttled_decryption_is_tried_three_times() {
    let rule = mock!(Client::decrypt)
        .sequence()
        .http_status(400, Some(r#"{"__type":"ThrottlingException"}"#.to_owned()))
        .repeatedly()
        .build();
    let error = KmsUnwrap::new(client(&rule)).unwrap_secret(&context(), &wrapped()).await.unwrap_err();
    assert_eq!(error, unavailable("KMS: ThrottlingException"));
    assert_eq!(rule.num_calls(), 3);
}

#[tokio::test]
async fn a_throttled_encryption_is_tried_three_times() {
    let rule = mock!(Client::encrypt)
        .sequence()
        .http_status(400, Some(r#"{"__type":"ThrottlingException"}"#.to_owned()))
        .repeatedly()
        .build();
    let wrap = KmsWrap::new(client(&rule), "alias/keybroker");
    let error = wrap.wrap_secret(&context(), &Secret::new(b"secret".to_vec())).await.unwrap_err();
    assert_eq!(error, unavailable("KMS: ThrottlingException"));
    assert_eq!(rule.num_calls(), 3);
}

#[tokio::test]
async fn a_disabled_key_wraps_nothing() {
    let rule = mock!(Client::encrypt).then_error(|| {
        EncryptError::DisabledException(DisabledException::builder().meta(named("DisabledException")).build())
    });
    let wrap = KmsWrap::new(client(&rule), "alias/keybroker");
    let error = wrap.wrap_secret(&context(), &Secret::new(b"secret".to_vec())).await.unwrap_err();
    assert_eq!(error, unavailable("KMS: DisabledException"));
}

#[tokio::test]
async fn a_key_about_to_be_deleted_wraps_nothing() {
    let rule = mock!(Client::encrypt).then_error(|| {
        EncryptError::KmsInvalidStateException(
            KmsInvalidStateException::builder().meta(named("KMSInvalidStateException")).build(),
        )
    });
    let wrap = KmsWrap::new(client(&rule), "alias/keybroker");
    let error = wrap.wrap_secret(&context(), &Secret::new(b"secret".to_vec())).await.unwrap_err();
    assert_eq!(error, unavailable("KMS: KMSInvalidStateException"));
}

#[tokio::test]
async fn an_answer_without_the_secret_is_unavailable() {
    let rule = mock!(Client::decrypt).then_output(|| DecryptOutput::builder().build());
    let error = KmsUnwrap::new(client(&rule)).unwrap_secret(&context(), &wrapped()).await.unwrap_err();
    assert_eq!(error, unavailable("KMS gave no usable answer"));
}
