//! The promises of [`SessionStore`](keybroker_common::store::SessionStore).

use keybroker_common::{audit::AuditRecord, session::Challenge};

use super::{CONFLICT, Subject, all_at_once, assert_not_recorded, assert_recorded, sample};

/// Puts a new challenge.
async fn challenged(store: &impl Subject) -> Challenge {
    let challenge = sample::challenge();
    store.put_challenge(&challenge).await.expect("a new challenge");
    challenge
}

/// Asserts that nobody has answered `challenge`.
async fn assert_open(store: &impl Subject, challenge: &Challenge) {
    assert_eq!(store.challenge(&challenge.session_id).await, Ok(Some(challenge.clone())));
    assert_eq!(store.session(&challenge.session_id).await, Ok(None));
}

pub async fn an_answered_challenge_becomes_a_session(store: &impl Subject) {
    let (challenge, audit) = (challenged(store).await, sample::attested(1));
    let session = sample::session(&challenge, &audit);
    assert_eq!(store.attest(&session, &audit).await, Ok(()));
    assert_eq!(store.challenge(&challenge.session_id).await, Ok(None));
    assert_eq!(store.session(&challenge.session_id).await, Ok(Some(session)));
    assert_recorded(store, &audit).await;
}

pub async fn a_challenge_is_answered_once(store: &impl Subject) {
    let (challenge, first, second) = (challenged(store).await, sample::attested(1), sample::attested(2));
    let session = sample::session(&challenge, &first);
    store.attest(&session, &first).await.expect("an attestation");
    assert_eq!(store.attest(&sample::session(&challenge, &second), &second).await, CONFLICT);
    assert_eq!(store.session(&challenge.session_id).await, Ok(Some(session)));
    assert_not_recorded(store, &second).await;
}

pub async fn an_unknown_challenge_is_not_answered(store: &impl Subject) {
    let (challenge, audit) = (sample::challenge(), sample::attested(1));
    assert_eq!(store.attest(&sample::session(&challenge, &audit), &audit).await, CONFLICT);
    assert_eq!(store.session(&challenge.session_id).await, Ok(None));
    assert_not_recorded(store, &audit).await;
}

pub async fn an_expired_challenge_is_not_answered(store: &impl Subject) {
    let challenge = challenged(store).await;
    for time in [challenge.expires_at, sample::at(301), sample::at(86_400)] {
        let audit = AuditRecord { time, ..sample::attested(0) };
        assert_eq!(store.attest(&sample::session(&challenge, &audit), &audit).await, CONFLICT);
        assert_eq!(store.session(&challenge.session_id).await, Ok(None));
        assert_not_recorded(store, &audit).await;
    }
}

pub async fn a_challenge_can_be_answered_until_it_expires(store: &impl Subject) {
    let (challenge, audit) = (challenged(store).await, sample::attested(299));
    assert_eq!(store.attest(&sample::session(&challenge, &audit), &audit).await, Ok(()));
}

pub async fn a_session_is_never_replaced(store: &impl Subject) {
    let (challenge, first, second) = (challenged(store).await, sample::attested(1), sample::attested(2));
    let session = sample::session(&challenge, &first);
    store.attest(&session, &first).await.expect("an attestation");
    // Not even by way of a new challenge under the same id, should auth ever write one.
    store.put_challenge(&challenge).await.expect("a challenge under an id that was answered");
    assert_eq!(store.attest(&sample::session(&challenge, &second), &second).await, CONFLICT);
    assert_eq!(store.session(&challenge.session_id).await, Ok(Some(session)));
    assert_eq!(store.challenge(&challenge.session_id).await, Ok(Some(challenge)));
    assert_not_recorded(store, &second).await;
}

pub async fn a_taken_audit_id_undoes_an_attestation(store: &impl Subject) {
    let (challenge, audit) = (challenged(store).await, sample::attested(1));
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.attest(&sample::session(&challenge, &audit), &audit).await, CONFLICT);
    assert_open(store, &challenge).await;
}

pub async fn of_many_answers_one_wins(store: &impl Subject) {
    let challenge = challenged(store).await;
    let audits: Vec<_> = (0..32).map(|_| sample::attested(1)).collect();
    let sessions: Vec<_> = audits.iter().map(|audit| sample::session(&challenge, audit)).collect();
    let attempts = sessions.iter().zip(&audits).map(|(session, audit)| store.attest(session, audit));
    let outcomes = all_at_once(attempts).await;

    let winners: Vec<_> = (0..32).filter(|&index| outcomes.get(index) == Some(&Ok(()))).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|&outcome| *outcome == CONFLICT).count(), 31, "{outcomes:?}");
    let winner = winners.first().and_then(|&index| sessions.get(index)).cloned();
    assert_eq!(store.session(&challenge.session_id).await, Ok(winner));
    for (index, audit) in audits.iter().enumerate() {
        let on_record = store.audit_record(audit.id).await.expect("a readable log").is_some();
        assert_eq!(on_record, winners.contains(&index), "attempt {index}");
    }
}

pub async fn a_refusal_deletes_the_challenge(store: &impl Subject) {
    let (challenge, audit, late) = (challenged(store).await, sample::refused(), sample::attested(3));
    assert_eq!(store.refuse(&challenge.session_id, &audit).await, Ok(()));
    assert_eq!(store.challenge(&challenge.session_id).await, Ok(None));
    assert_recorded(store, &audit).await;
    assert_eq!(store.attest(&sample::session(&challenge, &late), &late).await, CONFLICT);
}

pub async fn a_refusal_leaves_the_session(store: &impl Subject) {
    let (challenge, attested, refused) = (challenged(store).await, sample::attested(1), sample::refused());
    let session = sample::session(&challenge, &attested);
    store.attest(&session, &attested).await.expect("an attestation");
    assert_eq!(store.refuse(&challenge.session_id, &refused).await, Ok(()));
    assert_eq!(store.session(&challenge.session_id).await, Ok(Some(session)));
    assert_recorded(store, &refused).await;
}

pub async fn a_refusal_of_nothing_is_recorded(store: &impl Subject) {
    let audit = sample::refused();
    assert_eq!(store.refuse(&sample::challenge().session_id, &audit).await, Ok(()));
    assert_recorded(store, &audit).await;
}

pub async fn a_taken_audit_id_undoes_a_refusal(store: &impl Subject) {
    let (challenge, audit) = (challenged(store).await, sample::refused());
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.refuse(&challenge.session_id, &audit).await, CONFLICT);
    assert_open(store, &challenge).await;
}

/// Whichever comes first, the other finds the challenge gone; a refusal then only adds its record.
pub async fn an_answer_and_a_refusal_exclude_each_other(store: &impl Subject) {
    let (challenge, attested, refused) = (challenged(store).await, sample::attested(1), sample::refused());
    let session = sample::session(&challenge, &attested);
    let (answer, refusal) =
        tokio::join!(store.attest(&session, &attested), store.refuse(&challenge.session_id, &refused));
    assert_eq!(refusal, Ok(()));
    assert!(answer == Ok(()) || answer == CONFLICT, "{answer:?}");
    assert_eq!(store.challenge(&challenge.session_id).await, Ok(None));
    let expected = answer.is_ok().then_some(session);
    assert_eq!(store.session(&challenge.session_id).await, Ok(expected));
}
