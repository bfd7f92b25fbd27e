//! Defects that only verification and appraisal can find, after AMD was asked.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, VerifiedUnder},
    broker::{
        AtHand, Endorser, Error, Evidence, NotVerified, Plausible, Presented, RegisterRequest, Verified,
    },
    ids::WorkloadId,
    platform::BySilicon,
    requirements::AppraisalPolicy,
    store::EndorsementStore,
};
use keybroker_kds::EndorsementSource;
use keybroker_simulator::{
    Product,
    pki::{CSP_ID, Chip, CrlOptions, Overrides},
    report::SIGNED_BY_VLEK,
};
use keybroker_snp::{
    product,
    verify::{ReportData, verify},
};
use keybroker_testing::{
    clock::{BEGIN, days, minutes, seconds},
    guest::{KEY, evidence, evidence_signed, evidence_with},
    world::{Broker, PASSPHRASE, World, request},
};

/// Asserts that `evidence` was refused by `check`, and hands back the record.
async fn refused(world: &World, broker: &Broker, check: &str, evidence: Evidence2) -> AuditRecord {
    let challenge = broker.challenge("a").await;
    let error = broker.refused(&challenge, evidence(world, &challenge)).await;
    assert!(matches!(error, Error::Refused { .. }), "{check}: {error:?}");
    assert_eq!(world.session(&challenge.session_id).await, None);
    let record = world.audit().pop().unwrap();
    assert_eq!(record.failed.clone().unwrap().check, check);
    record
}

type Evidence2 = fn(&World, &keybroker_common::challenge::Challenge) -> Evidence;

async fn started() -> (World, Broker) {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    (world, broker)
}

#[tokio::test]
async fn a_signature_of_another_chip() {
    let (world, broker) = started().await;
    let record = refused(&world, &broker, "signature", |world, challenge| {
        let other = Chip::new(Product::Milan, 2);
        evidence_signed(&world.hardware.chip, &other.vcek_key(other.tcb), &KEY, challenge, |_| {})
    })
    .await;
    assert!(!record.evidence.unwrap().verified, "hearsay");
}

#[tokio::test]
async fn a_byte_altered_after_signing() {
    let (world, broker) = started().await;
    // Reserved bytes, which a parser would not look at.
    refused(&world, &broker, "signature", |world, challenge| {
        let mut evidence = evidence(&world.hardware.chip, &KEY, challenge);
        evidence.report.as_mut().unwrap().bytes[0x18C] ^= 1;
        evidence
    })
    .await;
}

#[tokio::test]
async fn a_revoked_intermediate() {
    let (world, broker) = started().await;
    let revoked = vec![keybroker_simulator::pki::Ca::Ask.serial(Product::Milan)];
    let crl = world.hardware.crl(&CrlOptions { revoked, ..CrlOptions::default() });
    world.hardware.kds.serve_crl(Product::Milan, crl);
    refused(&world, &broker, "revocation", |world, challenge| {
        evidence(&world.hardware.chip, &KEY, challenge)
    })
    .await;
}

#[tokio::test]
async fn an_expired_certificate() {
    let (world, broker) = started().await;
    let expired = Overrides { not_after: Some(BEGIN - seconds(1)), ..Overrides::default() };
    let vcek = world.hardware.amd.vcek_with(&world.hardware.chip, &expired).certificate;
    world.hardware.kds.serve_vcek(&world.hardware.chip, vcek);
    refused(&world, &broker, "certificate-validity", |world, challenge| {
        evidence(&world.hardware.chip, &KEY, challenge)
    })
    .await;
}

/// AMD's clock and ours differ by seconds, and AMD dates a certificate at the moment of asking: no final
/// refusal.
#[tokio::test]
async fn a_certificate_that_is_valid_in_a_moment() {
    let (world, broker) = started().await;
    let soon = BEGIN + seconds(2);
    let early = Overrides { not_before: Some(soon), ..Overrides::default() };
    let vcek = world.hardware.amd.vcek_with(&world.hardware.chip, &early).certificate;
    world.hardware.kds.serve_vcek(&world.hardware.chip, vcek);
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    for _ in 0..2 {
        let error = broker.refused(&challenge, evidence.clone()).await;
        assert!(matches!(error, Error::Unavailable { retry_after: 2, .. }), "{error:?}");
        let cause = format!("the VEK is not valid before {soon}");
        world.assert_recorded(&error, "certificate-validity", &cause);
        assert!(world.decision(&challenge.session_id).await.is_none());
    }
    world.hardware.clock.set(soon);
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
}

#[tokio::test]
async fn a_certificate_valid_within_five_minutes_is_waited_for() {
    let (world, broker) = started().await;
    let from = |not_before| {
        let early = Overrides { not_before: Some(not_before), ..Overrides::default() };
        let vcek = world.hardware.amd.vcek_with(&world.hardware.chip, &early).certificate;
        world.hardware.kds.serve_vcek(&world.hardware.chip, vcek);
    };
    from(BEGIN + minutes(5));
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.refused(&challenge, evidence.clone()).await;
    assert!(matches!(error, Error::Unavailable { retry_after: 300, .. }), "{error:?}");
    from(BEGIN + minutes(5) + seconds(1));
    let error = world.broker().refused(&challenge, evidence).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let cause = format!("the VEK is not valid before {}", BEGIN + minutes(5) + seconds(1));
    world.assert_recorded(&error, "certificate-validity", &cause);
}

#[tokio::test]
async fn a_list_that_counts_in_a_moment() {
    let (world, broker) = started().await;
    let soon = CrlOptions { this_update: Some(BEGIN + seconds(2)), ..CrlOptions::default() };
    world.hardware.kds.serve_crl(Product::Milan, world.hardware.crl(&soon));
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.refused(&challenge, evidence.clone()).await;
    assert!(matches!(error, Error::Unavailable { retry_after: 2, .. }), "{error:?}");
    world.assert_recorded(&error, "endorsements", "there is no revocation list that counts");
    world.hardware.clock.advance(seconds(2));
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
}

/// A report that AMD did not sign leaves nothing behind, whatever genuine certificate comes with it.
#[tokio::test]
async fn a_junk_signature_with_an_expired_certificate() {
    let (world, broker) = started().await;
    refused(&world, &broker, "signature", |world, challenge| {
        let other = Chip::new(Product::Milan, 2);
        let expired = Overrides { not_after: Some(BEGIN - seconds(1)), ..Overrides::default() };
        let vcek = world.hardware.amd.vcek_with(&world.hardware.chip, &expired).certificate;
        let junk = evidence_signed(&world.hardware.chip, &other.vcek_key(other.tcb), &KEY, challenge, |_| {});
        Evidence { certificates: vec![vcek, world.hardware.amd.ask().to_vec()], ..junk }
    })
    .await;
    for broker in [&broker, &world.broker()] {
        broker.attested(&world.hardware, "a").await;
    }
    assert_eq!(
        world.store.endorsement(&world.hardware.vcek_key()).await.unwrap().unwrap().bytes,
        world.hardware.vcek()
    );
}

#[tokio::test]
async fn an_unknown_chip() {
    let (world, broker) = started().await;
    refused(&world, &broker, "endorsements", |_, challenge| {
        evidence(&Chip::new(Product::Milan, 2), &KEY, challenge)
    })
    .await;
}

/// Anybody who knows a workload can make up chips for it. The guest of a new chip that comes behind them may
/// come again with the same challenge.
#[tokio::test]
async fn a_new_chip_behind_too_many_others() {
    let (world, _) = started().await;
    let broker = world.paced_broker();
    for seed in 2..6 {
        let challenge = broker.challenge("a").await;
        let made_up = evidence(&Chip::new(Product::Milan, seed), &KEY, &challenge);
        assert!(matches!(broker.refused(&challenge, made_up).await, Error::Refused { .. }));
    }
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    // It waits in line for as long as anybody does.
    tokio::time::pause();
    let error = broker.refused(&challenge, evidence.clone()).await;
    tokio::time::resume();
    assert!(matches!(error, Error::Unavailable { retry_after: 21, .. }), "{error:?}");
    world.assert_recorded(&error, "new-chips", "more new chips came at once than AMD's KDS is asked for");
    world.hardware.clock.advance(seconds(20));
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
}

/// A version 2 report does not name its product, so a TCB floor can only be looked at once the certificate is
/// there.
#[tokio::test]
async fn a_floor_that_only_the_certificate_can_tell() {
    let world = World::new().await;
    let broker = world.broker();
    let floor = format!("milan:snp={}", world.hardware.chip.tcb.snp + 1);
    let mut policy = AppraisalPolicy::default();
    policy.platform.minimum_tcb = BySilicon::parse([floor.as_str()]).unwrap();
    broker.register.register(RegisterRequest { policy, ..request("a", PASSPHRASE) }).await.unwrap();
    let record = refused(&world, &broker, "minimum-tcb", |world, challenge| {
        evidence_with(&world.hardware.chip, &KEY, challenge, |fields| fields.version = 2)
    })
    .await;
    assert!(record.evidence.unwrap().verified, "the chip's word");
    assert!(!world.hardware.kds.requests().is_empty());
}

fn vlek_evidence(
    world: &World,
    challenge: &keybroker_common::challenge::Challenge,
    csp_id: &str,
) -> Evidence {
    let chip = &world.hardware.chip;
    let vlek = world.hardware.amd.vlek(csp_id, chip.tcb);
    let evidence = evidence_signed(chip, &vlek.key, &KEY, challenge, |fields| {
        fields.signing_key = SIGNED_BY_VLEK;
        fields.chip_id = [0; 64];
    });
    Evidence { certificates: vec![vlek.certificate], ..evidence }
}

#[tokio::test]
async fn a_provider_that_is_not_accepted() {
    let (world, broker) = started().await;
    refused(&world, &broker, "chip-or-provider", |world, challenge| {
        vlek_evidence(world, challenge, "CN=somebody.example.com")
    })
    .await;
    let challenge = broker.challenge("a").await;
    let accepted = vlek_evidence(&world, &challenge, CSP_ID);
    broker.attest.attest(&challenge.session_id, accepted).await.unwrap();
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
}

/// Certificates of the guest's own make, offered with the report that they would vouch for.
#[tokio::test]
async fn a_self_made_chip() {
    let (world, broker) = started().await;
    world.hardware.kds.otherwise(keybroker_simulator::kds::Behaviour::Status(429, Some(60)));
    let challenge = broker.challenge("a").await;
    let pem = world.hardware.self_made_chain(keybroker_simulator::pki::Ca::Ask);
    let mut certificates = keybroker_snp::anchors::pem_certificates(pem.as_bytes()).unwrap();
    certificates.push(world.hardware.self_made_vcek());
    let evidence = Evidence { certificates, ..evidence(&world.hardware.chip, &KEY, &challenge) };
    let error = broker.refused(&challenge, evidence).await;
    assert!(matches!(error, Error::Unavailable { retry_after: 60, .. }), "{error:?}");
}

/// No usable list, no release: and it is not the guest's fault.
#[tokio::test]
async fn no_revocation_list() {
    let (world, broker) = started().await;
    world.hardware.kds.serve_crl(Product::Milan, b"garbage".to_vec());
    let challenge = broker.challenge("a").await;
    let error = broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
    assert!(matches!(error, Error::Unavailable { .. }));
    world.assert_recorded(&error, "endorsements", "there is no revocation list that counts");
    assert!(world.decision(&challenge.session_id).await.is_none());
}

/// Known chips and a list in its grace carry a broker through an outage, restarts included.
#[tokio::test]
async fn a_known_chip_boots_through_an_outage() {
    let (world, broker) = started().await;
    broker.attested(&world.hardware, "a").await;
    assert!(world.store.endorsement("Milan/vcek/crl").await.unwrap().is_some());
    world.hardware.down();
    world.hardware.clock.set(BEGIN + days(187));
    for process in [broker, world.broker()] {
        let session = process.attested(&world.hardware, "a").await;
        assert_eq!(process.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    }
    world.hardware.clock.advance(seconds(1));
    let broker = world.broker();
    let challenge = broker.challenge("a").await;
    let error = broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
    assert!(matches!(error, Error::Unavailable { .. }));
    world.assert_announced(&error, "endorsements", "there is no revocation list that counts");
}

/// An endorser that takes every report for an answer to the challenge.
#[derive(Debug)]
struct Heedless(EndorsementSource);

struct Presentation<'a>(&'a EndorsementSource, Presented<'a>);

#[async_trait]
impl Endorser for Heedless {
    async fn at_hand<'a>(
        &'a self,
        presented: Presented<'a>,
    ) -> Result<Box<dyn AtHand<'a> + 'a>, NotVerified> {
        Ok(Box::new(Presentation(&self.0, presented)))
    }
}

impl<'a> AtHand<'a> for Presentation<'a> {
    fn product(&self) -> Option<product::Product> {
        None
    }

    fn refuse_early(
        self: Box<Self>,
        _: [u8; 64],
        _: Timestamp,
    ) -> Result<Box<dyn Plausible + 'a>, NotVerified> {
        Ok(self)
    }
}

#[async_trait]
impl Plausible for Presentation<'_> {
    async fn verify(self: Box<Self>, id: &WorkloadId, csp_ids: &[String]) -> Result<Verified, NotVerified> {
        let Self(source, presented) = *self;
        let endorsements = source.obtain(&presented, None, id).await?;
        let its_own = ReportData(*presented.report.report_data());
        let report = verify(presented.report, &endorsements, &its_own, csp_ids, BEGIN).unwrap();
        let under = VerifiedUnder { anchor: [0; 32], simulated: true, vek: [0; 32], crls: Vec::new() };
        Ok(Verified { report, under })
    }
}

/// The broker compares the binding itself, so that no mistake of an endorser's opens a session.
#[tokio::test]
async fn a_genuine_report_of_another_boot_is_refused() {
    let (world, mut broker) = started().await;
    let source = world.hardware.source_with(world.store.clone(), &world.hardware.settings());
    broker.attest.endorsements = Arc::new(Heedless(source.source));
    let record = refused(&world, &broker, "challenge", |world, challenge| {
        evidence_with(&world.hardware.chip, &KEY, challenge, |fields| fields.report_data[0] ^= 1)
    })
    .await;
    assert!(!record.evidence.unwrap().verified, "hearsay");
}
