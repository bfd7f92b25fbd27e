//! The broker's own keys, and whether the wrapping key opens them.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    keyring::{KeyringWrap as _, Purpose, ResultKey, WrappedKey, signing},
    secret::Secret,
};
use keybroker_embedded::key::LocalKey;

use super::finding::Finding;
use crate::{operator::OperatorHandle, table::time};

const CHECK: &str = "broker-keys";
/// The longest time for which a key counts after its successor came: a challenge and a session of a day each.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(48);
const LOST: &str = "name the store's own key with --key-file. If it is lost, `keybroker keys rotate --now` has the \
                    broker make new keys: guests under way must start again";
const LOST_SIGNING: &str = "name the store's own key with --key-file. If it is lost, the secrets in the store are lost, \
                            too";
const ALTERED_RESULT: &str = "find out who can write the store. `keybroker keys rotate result --now` has the broker \
                              make a new key, and third parties must fetch the JWK Set anew";
const ALTERED: &str = "find out who can write the store, and restore the ring from a backup. The audit log has the \
                       ids of the signing keys that operators made: put no other into a document";

/// The findings about each ring. On AWS only the broker's functions may open one, so there is no `wrapping`
/// key.
pub(super) async fn examine(operator: &OperatorHandle, wrapping: Option<&Arc<LocalKey>>) -> Vec<Finding> {
    let mut findings = join_all(Purpose::ALL.map(|purpose| ring(operator, wrapping, purpose))).await;
    // A store that cannot be read has one reason for all of them.
    findings.dedup();
    findings
}

fn altered(purpose: Purpose) -> &'static str {
    if purpose == Purpose::Result { ALTERED_RESULT } else { ALTERED }
}

/// Whether the public half beside a key that signs is the one of its private half.
fn is_its_own(purpose: Purpose, kept: &WrappedKey, private: &Secret) -> bool {
    match purpose {
        Purpose::Signature => signing::opened(kept, private).is_ok(),
        Purpose::Result => ResultKey::opened(kept, private).is_ok(),
        Purpose::Challenge | Purpose::Session => true,
    }
}

async fn ring(operator: &OperatorHandle, wrapping: Option<&Arc<LocalKey>>, purpose: Purpose) -> Finding {
    let ring = match operator.store.keyring(purpose).await {
        Ok(stored) => stored.map(|stored| stored.ring).unwrap_or_default(),
        Err(error) => return Finding::failed(CHECK, &operator.failure(error)),
    };
    let Some(newest) = ring.keys.last() else {
        return Finding::ok(CHECK, format!("{purpose}: none yet, the broker makes one when it needs it"));
    };
    let (counting, lost): (Vec<_>, _) = match purpose {
        Purpose::Signature => (ring.keys.iter().collect(), LOST_SIGNING),
        // A key that was retired for good stays in the ring until the next turn, and nobody opens it.
        Purpose::Challenge | Purpose::Session | Purpose::Result => {
            (ring.honoured(Timestamp::now(), KEPT_FOR).collect(), LOST)
        }
    };
    for key in counting {
        let Some(wrapping) = wrapping else { break };
        let (number, unwrapped) = (key.number, wrapping.keyring(purpose).unwrap_key(&key.wrapped).await);
        match unwrapped {
            Err(error) => {
                let finding = format!("{purpose}: the wrapping key does not open key {number}: {error}");
                return Finding::fail(CHECK, finding, lost);
            }
            Ok(private) if !is_its_own(purpose, key, &private) => {
                let finding = format!("{purpose}: the public half beside key {number} is not its own");
                return Finding::fail(CHECK, finding, altered(purpose));
            }
            Ok(_) => {}
        }
    }
    let opened = if wrapping.is_some() { ", and the wrapping key opens it" } else { "" };
    Finding::ok(CHECK, format!("{purpose}: key {} of {}{opened}", newest.number, time(newest.made_at)))
}
