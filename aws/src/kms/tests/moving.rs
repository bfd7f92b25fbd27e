//! The requests of a move to another key.

use aws_sdk_kms::{
    operation::describe_key::{DescribeKeyError, DescribeKeyOutput},
    types::{KeyMetadata, KeyState},
};
use keybroker_common::rewrap::MoveWrapped as _;

use super::*;

const NEXT: &str = "arn:aws:kms:us-east-1:123456789012:key/2";

fn to_next(rule: &Rule) -> KmsMove {
    KmsMove::new(client(rule), NEXT.parse().unwrap())
}

fn moved() -> WrappedSecret {
    WrappedSecret { key_id: NEXT.to_owned(), ciphertext: b"moved".to_vec() }
}

/// KMS is told both keys and both contexts, which are equal. Were the source left to the ciphertext, a writer
/// of the table could name any key that the operator may use.
#[tokio::test]
async fn both_keys_and_the_whole_context_twice_are_sent_when_moving() {
    for ring in [None].into_iter().chain(Purpose::ALL.map(Some)) {
        let expected = ring.map_or_else(
            || pairs(&context()),
            |ring| HashMap::from([("purpose".to_owned(), ring.context().to_owned())]),
        );
        let rule = mock!(Client::re_encrypt)
            .match_requests(move |request| {
                request.source_key_id() == Some(ARN)
                    && request.destination_key_id() == Some(NEXT)
                    && request.source_encryption_context() == Some(&expected)
                    && request.destination_encryption_context() == Some(&expected)
                    && request.ciphertext_blob().is_some_and(|blob| blob.as_ref() == b"ciphertext")
            })
            .then_output(|| {
                ReEncryptOutput::builder().key_id(NEXT).ciphertext_blob(Blob::new(b"moved")).build()
            });
        let wrap = to_next(&rule);
        let outcome = match ring {
            None => wrap.move_secret(&context(), &wrapped()).await,
            Some(ring) => wrap.move_key(ring, &wrapped()).await,
        };
        assert_eq!((outcome, rule.num_calls()), (Ok(moved()), 1), "{ring:?}");
    }
}

#[tokio::test]
async fn a_secret_of_another_kind_of_key_is_not_moved() {
    let rule = mock!(Client::re_encrypt).then_output(|| ReEncryptOutput::builder().build());
    let local = WrappedSecret { key_id: "local:0000000000000000".to_owned(), ..wrapped() };
    let unknown = Err(KeyError::UnknownKey(local.key_id.clone()));
    assert_eq!(to_next(&rule).move_secret(&context(), &local).await, unknown);
    assert_eq!(to_next(&rule).move_key(Purpose::Session, &local).await, unknown);
    assert_eq!(rule.num_calls(), 0);
}

async fn behind(state: KeyState) -> Result<KeyArn, KeyError> {
    let rule = mock!(Client::describe_key)
        .match_requests(|request| request.key_id() == Some("alias/keybroker"))
        .then_output(move || {
            let key = KeyMetadata::builder().key_id("2").arn(NEXT).key_state(state.clone()).build().unwrap();
            DescribeKeyOutput::builder().key_metadata(key).build()
        });
    key_behind(&client(&rule), "alias/keybroker").await
}

#[tokio::test]
async fn an_alias_leads_to_a_key_that_can_be_used() {
    assert_eq!(behind(KeyState::Enabled).await, Ok(NEXT.parse().unwrap()));
    let off = unavailable("the key behind alias/keybroker is not enabled");
    for state in [KeyState::Disabled, KeyState::PendingDeletion, KeyState::Unavailable] {
        assert_eq!(behind(state).await, Err(off.clone()));
    }
    let denied =
        mock!(Client::describe_key).then_error(|| DescribeKeyError::generic(named("AccessDeniedException")));
    let outcome = key_behind(&client(&denied), "alias/keybroker").await;
    assert_eq!(outcome, Err(unavailable("KMS: AccessDeniedException: no reason is given")));
}
