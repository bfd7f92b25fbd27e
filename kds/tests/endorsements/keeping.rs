//! The certificates that are kept, and those that are left behind: no certificate keeps a chip out for good.

use jiff::Timestamp;
use keybroker_common::{broker::Presented, config::KdsSettings};
use keybroker_kds::{CHANGED_KEY, EndorsementError};
use keybroker_simulator::{
    Product,
    kds::{Behaviour, Kind},
    pki::{CSP_ID, Ca, Chip, CrlOptions, Overrides, RsaKey, SubjectKey, Vek, pem},
    report::{ReportFields, SIGNED_BY_VLEK},
};
use keybroker_snp::{
    certificate::{Defect, Role},
    report::Report,
    verify::{VerificationCheck, VerifyError},
};

use crate::harness::{
    clock::{BEGIN, days, minutes, seconds},
    hardware::{Hardware, Process, attempt, endorse, report, retry_after, row, signed},
};

type Verdict = Result<(), (VerificationCheck, VerifyError)>;

fn refused(check: VerificationCheck, role: Role, defect: Defect) -> Verdict {
    Err((check, role.has(defect).into()))
}

fn expired(role: Role, at: Timestamp) -> Verdict {
    refused(VerificationCheck::Validity, role, Defect::Expired(at))
}

/// The outcome of verification in the end.
async fn verdict(
    source: &Process,
    report: &Report,
    certificates: &[Vec<u8>],
) -> Result<Verdict, EndorsementError> {
    let request = Presented { report, claimed_product: None, certificates };
    attempt(source, &request).await.map(|(_, verdict)| verdict)
}

/// A genuine certificate of the chip whose time is over.
fn expired_vcek(hardware: &Hardware, at: Timestamp) -> Vec<u8> {
    let over = Overrides { not_after: Some(at), ..Overrides::default() };
    hardware.amd.vcek_with(&hardware.chip, &over).certificate
}

/// The chip's report, as if another had signed it.
fn junk(hardware: &Hardware) -> Report {
    let other = Chip::new(hardware.chip.product(), 9);
    Report::parse(&ReportFields::new(&hardware.chip).sign(&other.vcek_key(other.tcb))).unwrap()
}

/// An ASK or ASVK that takes the place of `ca`'s, with a key of its own; and what it signs with.
fn successor(hardware: &Hardware, ca: Ca) -> (Vec<u8>, Overrides) {
    let key = Some(SubjectKey::Rsa(RsaKey::Rogue));
    let not_after = Some(BEGIN + days(30 * 365));
    let its_own = Overrides { key, not_after, serial: Some(vec![7, 7, 7]), ..Overrides::default() };
    (hardware.amd.ca(ca, &its_own), Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() })
}

fn vlek_report(hardware: &Hardware, vlek: &Vek) -> Report {
    let fields = ReportFields { signing_key: SIGNED_BY_VLEK, ..ReportFields::new(&hardware.chip) };
    Report::parse(&fields.sign(&vlek.key)).unwrap()
}

#[tokio::test]
async fn a_certificate_without_a_verified_report_is_not_kept() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let outcome = verdict(&source, &junk(&hardware), &[]).await;
    assert_eq!(outcome, Ok(Err((VerificationCheck::Signature, VerifyError::Signature))));
    // Nor what the guest sent.
    let sent = [hardware.vcek(), hardware.amd.ask().to_vec()];
    let outcome = verdict(&hardware.source(), &junk(&hardware), &sent).await;
    assert_eq!(outcome, Ok(Err((VerificationCheck::Signature, VerifyError::Signature))));
    assert_eq!(hardware.cache.keys(), ["Milan/vcek/crl"]);

    assert_eq!(verdict(&source, &hardware.report(), &[]).await, Ok(Ok(())));
    assert_eq!(hardware.cache.keys(), [hardware.vcek_key().as_str(), "Milan/vcek/chain", "Milan/vcek/crl"]);
}

/// Anybody who has an expired certificate of a chip can send it with a report that nobody signed.
#[tokio::test]
async fn a_junk_signature_with_an_old_certificate_locks_no_chip_out() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let sent = [expired_vcek(&hardware, BEGIN - seconds(1)), hardware.amd.ask().to_vec()];
    for _ in 0..2 {
        let outcome = verdict(&source, &junk(&hardware), &sent).await;
        assert_eq!(outcome, Ok(Err((VerificationCheck::Signature, VerifyError::Signature))));
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    assert_eq!(hardware.cache.row(&hardware.vcek_key()), None);
    for process in [source, hardware.source()] {
        assert_eq!(verdict(&process, &hardware.report(), &[]).await, Ok(Ok(())));
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
}

/// Where AMD is not asked, what the guest sent is why it is refused, and AMD's silence is no refusal.
#[tokio::test]
async fn an_expired_certificate_is_refused_for_that() {
    let hardware = Hardware::new().await;
    let report = hardware.report();
    let over = BEGIN - seconds(1);
    let sent = [expired_vcek(&hardware, over), hardware.amd.ask().to_vec()];
    let settings = KdsSettings { known_chips_only: true, ..hardware.settings() };
    let closed = hardware.source_with(hardware.cache.clone(), &settings);
    assert_eq!(verdict(&closed, &report, &sent).await, Ok(expired(Role::Vek, over)));
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    let outcome = verdict(&hardware.source(), &report, &sent).await;
    assert!(matches!(outcome, Err(EndorsementError::Unavailable { retry_after: 60, .. })), "{outcome:?}");
    assert_eq!(hardware.cache.row(&hardware.vcek_key()), None);
}

/// As an earlier release left it there, or as the years did.
#[tokio::test]
async fn an_expired_certificate_in_the_table_is_as_good_as_none() {
    let hardware = Hardware::new().await;
    hardware.cache.plant(&hardware.vcek_key(), row(expired_vcek(&hardware, BEGIN - seconds(1))));
    assert_eq!(verdict(&hardware.source(), &hardware.report(), &[]).await, Ok(Ok(())));
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    assert_eq!(hardware.cache.row(&hardware.vcek_key()), Some(row(hardware.vcek())));
}

#[tokio::test]
async fn one_bad_answer_of_kds_locks_no_chip_out() {
    let hardware = Hardware::new().await;
    let (source, report, over) = (hardware.source(), hardware.report(), BEGIN - seconds(1));
    hardware.kds.serve_vcek(&hardware.chip, expired_vcek(&hardware, over));
    for _ in 0..3 {
        assert_eq!(verdict(&source, &report, &[]).await, Ok(expired(Role::Vek, over)));
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), 1, "AMD is not asked for every guest");
    assert_eq!(hardware.cache.row(&hardware.vcek_key()), None);

    hardware.kds.serve_vcek(&hardware.chip, hardware.vcek());
    // Another process asks at once, this one in a minute.
    assert_eq!(verdict(&hardware.source(), &report, &[]).await, Ok(Ok(())));
    hardware.cache.plant(&hardware.vcek_key(), row(vec![]));
    hardware.clock.advance(minutes(1));
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
}

/// Seven years after it was made a certificate ends. AMD makes another.
#[tokio::test]
async fn the_day_a_vceks_seven_years_end() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    let crl = CrlOptions { next_update: Some(BEGIN + days(9 * 365)), ..CrlOptions::default() };
    hardware.kds.serve_crl(Product::Milan, hardware.crl(&crl));
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
    let end = BEGIN + days(7 * 365);
    hardware.clock.set(end);
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);

    hardware.clock.advance(seconds(1));
    // While AMD has nothing better to give, or does not answer, that is what the guest is told.
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    assert_eq!(retry_after(endorse(&source, &report).await), 60);
    hardware.clock.advance(seconds(60));
    assert_eq!(verdict(&source, &report, &[]).await, Ok(expired(Role::Vek, end)));
    hardware.clock.advance(minutes(1));
    let renewed = Overrides { not_after: Some(BEGIN + days(14 * 365)), ..Overrides::default() };
    let renewed = hardware.amd.vcek_with(&hardware.chip, &renewed).certificate;
    hardware.kds.serve_vcek(&hardware.chip, renewed.clone());
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
    assert_eq!(hardware.cache.row(&hardware.vcek_key()).unwrap().bytes, renewed);
    let asked = hardware.kds.count(Kind::Vcek);
    for process in [source, hardware.source()] {
        assert_eq!(verdict(&process, &report, &[]).await, Ok(Ok(())));
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), asked);
}

#[tokio::test]
async fn an_ask_that_amd_replaced_is_asked_for() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    assert_eq!(verdict(&source, &hardware.report(), &[]).await, Ok(Ok(())));

    let (ask, by_it) = successor(&hardware, Ca::Ask);
    hardware.kds.serve_chain(Product::Milan, Ca::Ask, pem(&ask) + &hardware.amd.ark_pem());
    let newer = Chip::new(Product::Milan, 2);
    hardware.kds.add(&newer);
    hardware.kds.serve_vcek(&newer, hardware.amd.vcek_with(&newer, &by_it).certificate);
    assert_eq!(verdict(&source, &report(&newer), &[]).await, Ok(Ok(())));
    assert_eq!(hardware.kds.count(Kind::Chain), 2);
    // Both are kept, here and in the table.
    hardware.down();
    for process in [source, hardware.source(), hardware.source()] {
        for report in [hardware.report(), report(&newer)] {
            assert_eq!(verdict(&process, &report, &[]).await, Ok(Ok(())));
        }
    }
}

#[tokio::test]
async fn an_asvk_that_amd_replaced_is_asked_for() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let vlek = hardware.amd.vlek(CSP_ID, hardware.chip.tcb);
    let old = (vlek_report(&hardware, &vlek), [vlek.certificate]);
    assert_eq!(verdict(&source, &old.0, &old.1).await, Ok(Ok(())));

    let (asvk, by_it) = successor(&hardware, Ca::Asvk);
    let vlek = hardware.amd.vlek_with(CSP_ID, hardware.chip.tcb, &by_it);
    let new = (vlek_report(&hardware, &vlek), [vlek.certificate]);
    // AMD has not published it yet: a refusal, after AMD was asked once.
    let not_signed = EndorsementError::Certificate(Role::Vek.has(Defect::Signature));
    for _ in 0..3 {
        assert_eq!(verdict(&source, &new.0, &new.1).await, Err(not_signed.clone()));
    }
    assert_eq!(hardware.kds.count(Kind::Chain), 2);
    hardware.kds.serve_chain(Product::Milan, Ca::Asvk, pem(&asvk) + &hardware.amd.ark_pem());
    hardware.clock.advance(minutes(10));
    assert_eq!(verdict(&source, &new.0, &new.1).await, Ok(Ok(())));
    assert_eq!(hardware.kds.count(Kind::Chain), 3);
    hardware.down();
    for process in [source, hardware.source()] {
        for (report, sent) in [&old, &new] {
            assert_eq!(verdict(&process, report, sent).await, Ok(Ok(())));
        }
    }
}

/// A certificate that a revoked ASK issued is left behind, and AMD is asked for the chip once more.
#[tokio::test]
async fn a_chip_outlives_the_ask_that_was_revoked() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
    let revoked = vec![Ca::Ask.serial(Product::Milan)];
    let crl = CrlOptions { revoked, this_update: Some(BEGIN), ..CrlOptions::default() };
    hardware.kds.serve_crl(Product::Milan, hardware.crl(&crl));
    hardware.clock.advance(days(1));
    for _ in 0..3 {
        let outcome = verdict(&source, &report, &[]).await;
        assert_eq!(outcome, Ok(refused(VerificationCheck::Revocation, Role::Ask, Defect::Revoked)));
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), 2, "once more, and then not for every guest");
    assert_eq!(hardware.kds.count(Kind::Chain), 2);

    let (ask, by_it) = successor(&hardware, Ca::Ask);
    hardware.kds.serve_chain(Product::Milan, Ca::Ask, pem(&ask) + &hardware.amd.ark_pem());
    hardware.kds.serve_vcek(&hardware.chip, hardware.amd.vcek_with(&hardware.chip, &by_it).certificate);
    hardware.clock.advance(minutes(10));
    for process in [source, hardware.source()] {
        assert_eq!(verdict(&process, &report, &[]).await, Ok(Ok(())));
    }
}

/// The same key, certified anew: of two certificates of one ASK the one that holds is taken, and the one that
/// lasts longer.
#[tokio::test]
async fn an_ask_certified_anew_takes_the_place_of_the_expired() {
    let hardware = Hardware::new().await;
    let report = hardware.report();
    let end = BEGIN + days(1);
    let short = hardware.amd.ca(Ca::Ask, &Overrides { not_after: Some(end), ..Overrides::default() });
    hardware.kds.serve_chain(Product::Milan, Ca::Ask, pem(&short) + &hardware.amd.ark_pem());
    let source = hardware.source();
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
    hardware.clock.set(end + seconds(1));
    assert_eq!(verdict(&source, &report, &[]).await, Ok(expired(Role::Ask, end)));
    hardware.clock.advance(minutes(10));
    hardware.kds.serve_chain(Product::Milan, Ca::Ask, hardware.amd.chain_pem(Ca::Ask));
    for process in [source, hardware.source()] {
        assert_eq!(verdict(&process, &report, &[]).await, Ok(Ok(())));
    }
}

/// An older certificate of the chip, which is valid yet, does not take the place of the one that lasts
/// longer.
#[tokio::test]
async fn the_certificate_that_lasts_longer_stays() {
    let hardware = Hardware::new().await;
    let report = hardware.report();
    endorse(&hardware.source(), &report).await.unwrap();
    let older = expired_vcek(&hardware, BEGIN + days(1));
    let ask = hardware.amd.ask().to_vec();
    assert_eq!(verdict(&hardware.source(), &report, &[older.clone(), ask.clone()]).await, Ok(Ok(())));
    assert_eq!(hardware.cache.row(&hardware.vcek_key()).unwrap().bytes, hardware.vcek());
    // If several are sent, the newest is kept, too; and a newer one takes the place of an older row.
    hardware.cache.plant(&hardware.vcek_key(), row(older.clone()));
    assert_eq!(verdict(&hardware.source(), &report, &[older, hardware.vcek(), ask]).await, Ok(Ok(())));
    assert_eq!(hardware.cache.row(&hardware.vcek_key()).unwrap().bytes, hardware.vcek());
}

/// AMD dates it by its own clock: the guest is told to wait, and AMD not asked again.
#[tokio::test]
async fn a_certificate_that_is_valid_in_a_moment_is_waited_for() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    let soon = BEGIN + seconds(2);
    let early = Overrides { not_before: Some(soon), ..Overrides::default() };
    let early = hardware.amd.vcek_with(&hardware.chip, &early).certificate;
    hardware.kds.serve_vcek(&hardware.chip, early.clone());
    let not_yet = Ok(refused(VerificationCheck::Validity, Role::Vek, Defect::NotYetValid(soon)));
    for _ in 0..2 {
        assert_eq!(verdict(&source, &report, &[]).await, not_yet);
    }
    assert_eq!(hardware.cache.row(&hardware.vcek_key()), None);
    hardware.clock.set(soon);
    assert_eq!(verdict(&source, &report, &[]).await, Ok(Ok(())));
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    assert_eq!(hardware.cache.row(&hardware.vcek_key()).unwrap().bytes, early);
}

/// A process has nothing in memory for good: an operator's hand in the table is felt within a minute.
#[tokio::test]
async fn a_change_by_an_operator_counts_within_a_minute() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    endorse(&source, &report).await.unwrap();
    // Deleted, as far as this table goes.
    hardware.cache.plant(&hardware.vcek_key(), row(vec![]));
    hardware.cache.plant(CHANGED_KEY, row(b"once".to_vec()));
    hardware.clock.advance(seconds(59));
    endorse(&source, &report).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    hardware.clock.advance(seconds(1));
    endorse(&source, &report).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Vcek), 2);
    // Once for each change.
    hardware.clock.advance(minutes(1));
    endorse(&source, &report).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Vcek), 2);
    assert_eq!(hardware.kds.count(Kind::Crl), 1);

    // An ASVK that was brought along.
    let (asvk, by_it) = successor(&hardware, Ca::Asvk);
    let vlek = hardware.amd.vlek_with(CSP_ID, hardware.chip.tcb, &by_it);
    let (report, sent) = (vlek_report(&hardware, &vlek), [vlek.certificate]);
    let unknown = EndorsementError::Certificate(Role::Vek.has(Defect::Signature));
    assert_eq!(verdict(&source, &report, &sent).await, Err(unknown));
    hardware.cache.plant("Milan/vlek/chain", row(pem(&asvk).into_bytes()));
    hardware.cache.plant(CHANGED_KEY, row(b"twice".to_vec()));
    hardware.clock.advance(minutes(1));
    assert_eq!(verdict(&source, &report, &sent).await, Ok(Ok(())));
}

/// In the process that has the store open, at once.
#[tokio::test]
async fn a_forgotten_row_is_looked_for_again() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    endorse(&source, &report).await.unwrap();
    hardware.cache.plant(&hardware.vcek_key(), row(vec![]));
    let list = hardware.cache.row("Milan/vcek/crl");
    source.forget();
    endorse(&source, &report).await.unwrap();
    assert_eq!((hardware.kds.count(Kind::Vcek), hardware.kds.count(Kind::Crl)), (2, 1));
    // A list is forgotten with its row, and not before.
    assert_eq!(hardware.cache.row("Milan/vcek/crl"), list);
    hardware.cache.remove("Milan/vcek/crl");
    source.forget();
    endorse(&source, &report).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
}

/// A stranger's certificates are neither kept nor verified before his challenge is known to be open.
#[tokio::test]
async fn certificates_at_hand_are_looked_up_and_not_verified() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let report = signed(&ReportFields::new(&hardware.chip), &hardware.chip);
    let sent = [hardware.vcek(), hardware.amd.ask().to_vec()];
    let request = Presented { report: &report, claimed_product: None, certificates: &sent };
    assert!(source.at_hand(&request).await.unwrap().is_none());
    endorse(&source, &report).await.unwrap();
    let at_hand = source.at_hand(&request).await.unwrap().expect("in memory");
    assert_eq!(at_hand.product().map(|product| product.name()), Some("Milan"));
}
