//! The promises of [`RegistrationStore`](keybroker_common::store::RegistrationStore) about tokens, and of
//! [`TokenStore`](keybroker_common::store::TokenStore).

use keybroker_common::{
    ids::TokenId,
    revocation::Revocation,
    store::Build,
    token::{Bound, Token},
};

use super::{
    CONFLICT, Subject, all_at_once, assert_not_recorded, assert_recorded, sample,
    workloads::{registered, row},
};

/// Makes `token`.
pub(super) async fn made(store: &impl Subject, token: Token) -> Token {
    store.put_token(&token, &sample::token_made()).await.expect("a new token");
    token
}

pub(super) async fn kept(store: &impl Subject, id: &TokenId) -> Option<Token> {
    store.token(id).await.expect("a readable row")
}

pub async fn a_token_is_read_back(store: &impl Subject) {
    let (token, audit) = (sample::token(), sample::token_made());
    assert_eq!(kept(store, &token.id).await, None);
    assert_eq!(store.put_token(&token, &audit).await, Ok(()));
    assert_eq!(kept(store, &token.id).await, Some(token.clone()));
    assert_recorded(store, &audit).await;
    let other = Token { note: None, ..token.clone() };
    assert_eq!(store.put_token(&other, &sample::token_made()).await, CONFLICT);
    assert_eq!(kept(store, &token.id).await, Some(token.clone()));
    let plain = Token { note: None, made_for: None, ..sample::token() };
    assert_eq!(store.put_token(&plain, &sample::token_made()).await, Ok(()));
    assert_eq!(kept(store, &plain.id).await, Some(plain.clone()));
    let (mut listed, mut next) = (Vec::new(), None);
    loop {
        let page = store.tokens(next.as_ref()).await.expect("a page");
        listed.extend(page.rows);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    for token in [token, plain] {
        assert_eq!(listed.iter().filter(|listed| **listed == token).count(), 1);
    }
}

pub async fn the_first_revocation_of_a_token_counts(store: &impl Subject) {
    let token = made(store, sample::token()).await;
    let (first, second) = (sample::revoked(1), sample::revoked(2));
    assert_eq!(store.revoke_token(&token.id, &first).await, Ok(()));
    assert_eq!(store.revoke_token(&token.id, &second).await, Ok(()));
    let expected = Token { revoked_at: Some(first.time), revocation: Some(Revocation::of(&first)), ..token };
    assert_eq!(kept(store, &expected.id).await, Some(expected.clone()));
    assert_eq!(store.stored_token(&expected.id).await, Ok(Some(expected)));
    assert_recorded(store, &second).await;
}

pub async fn an_absent_token_is_not_revoked(store: &impl Subject) {
    let (token, audit) = (sample::token(), sample::revoked(1));
    assert_eq!(store.revoke_token(&token.id, &audit).await, CONFLICT);
    assert_eq!(kept(store, &token.id).await, None);
    assert_not_recorded(store, &audit).await;
}

pub async fn a_token_is_bound_by_its_first_use(store: &impl Subject) {
    let token = made(store, sample::token()).await;
    let (workload, audit) = (sample::workload(), sample::registered());
    assert_eq!(store.create(&workload, &audit, Some(&token.id)).await, Ok(()));
    let bound = Some(Bound { workload_id: workload.id.clone(), at: audit.time });
    assert_eq!(kept(store, &token.id).await, Some(Token { bound: bound.clone(), ..token.clone() }));
    // It then replaces what it is bound to, and stays as it is.
    let again = sample::registered_anew(&workload);
    let later = sample::audit(9, sample::registered().operation, sample::registered().decision);
    let used = store.replace(&workload, Build::Same, &again, &later, Some(&token.id)).await;
    assert_eq!(used, Ok(()));
    assert_eq!(kept(store, &token.id).await, Some(Token { bound, ..token.clone() }));
    // But writes no new row, and begins no new build.
    assert_eq!(store.create(&sample::workload(), &sample::registered(), Some(&token.id)).await, CONFLICT);
    let third = sample::registered_anew(&workload);
    let audit = sample::registered();
    assert_eq!(store.replace(&again, Build::New, &third, &audit, Some(&token.id)).await, CONFLICT);
    assert_eq!(row(store, &workload).await, Some(again));
}

pub async fn a_token_begins_a_new_build_of_what_it_was_made_for(store: &impl Subject) {
    let first = registered(store).await;
    let token = made(store, Token { made_for: Some(first.id.clone()), ..sample::token() }).await;
    let (second, audit) = (sample::registered_anew(&first), sample::registered());
    assert_eq!(store.replace(&first, Build::New, &second, &audit, Some(&token.id)).await, Ok(()));
    assert_eq!(row(store, &first).await, Some(second));
    let bound = Some(Bound { workload_id: first.id.clone(), at: audit.time });
    assert_eq!(kept(store, &token.id).await, Some(Token { bound, ..token }));
}

pub async fn a_token_that_does_not_count_writes_nothing(store: &impl Subject) {
    let elsewhere = sample::workload().id;
    let revoked = made(store, sample::token()).await;
    store.revoke_token(&revoked.id, &sample::revoked(0)).await.expect("a revocation");
    let expired = made(store, Token { expires_at: sample::registered().time, ..sample::token() }).await;
    let foreign = made(store, Token { made_for: Some(elsewhere), ..sample::token() }).await;
    let absent = sample::token();
    for token in [&revoked, &expired, &foreign, &absent] {
        let (workload, audit) = (sample::workload(), sample::registered());
        let before = kept(store, &token.id).await;
        assert_eq!(store.create(&workload, &audit, Some(&token.id)).await, CONFLICT);
        assert_eq!(row(store, &workload).await, None);
        assert_not_recorded(store, &audit).await;
        // Nor does it replace anything, of its build or another.
        let held = registered(store).await;
        let second = sample::registered_anew(&held);
        for build in [Build::Same, Build::New] {
            let replaced = store.replace(&held, build, &second, &audit, Some(&token.id)).await;
            assert_eq!(replaced, CONFLICT);
        }
        assert_eq!(row(store, &held).await, Some(held.clone()));
        assert_eq!(kept(store, &token.id).await, before);
    }
}

pub async fn an_unbound_token_is_of_no_build_yet(store: &impl Subject) {
    let token = made(store, sample::token()).await;
    let held = registered(store).await;
    let second = sample::registered_anew(&held);
    let audit = sample::registered();
    assert_eq!(store.replace(&held, Build::Same, &second, &audit, Some(&token.id)).await, CONFLICT);
    assert_eq!(kept(store, &token.id).await, Some(token));
}

pub async fn a_failed_registration_leaves_its_token_unused(store: &impl Subject) {
    let token = made(store, sample::token()).await;
    let held = registered(store).await;
    assert_eq!(store.create(&held, &sample::registered(), Some(&token.id)).await, CONFLICT);
    assert_eq!(kept(store, &token.id).await, Some(token.clone()));
    // Nor if the audit record cannot be written.
    let audit = sample::registered();
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.create(&sample::workload(), &audit, Some(&token.id)).await, CONFLICT);
    assert_eq!(kept(store, &token.id).await, Some(token));
}

pub async fn of_many_uses_of_a_token_one_wins(store: &impl Subject) {
    let token = made(store, sample::token()).await;
    let workloads: Vec<_> = (0..16).map(|_| (sample::workload(), sample::registered())).collect();
    let attempts = workloads.iter().map(|(workload, audit)| store.create(workload, audit, Some(&token.id)));
    let outcomes = all_at_once(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for ((workload, _), outcome) in workloads.iter().zip(&outcomes) {
        assert_eq!(row(store, workload).await.is_some(), outcome.is_ok());
        if outcome.is_ok() {
            let bound = kept(store, &token.id).await.and_then(|token| token.bound).expect("a binding");
            assert_eq!(bound.workload_id, workload.id);
        }
    }
}
