//! The attacks: what each does, and which check must stop it.

use anyhow::{Context as _, bail, ensure};
use keybroker_common::audit::{AuditRecord, Decision};
use keybroker_simulator::{
    build::Buildah,
    guest::{Error, GuestKey, Machine, PoliteGuest, Said},
    pki::{Overrides, RsaKey},
};
use serde::Deserialize;

use super::{
    bound,
    world::{World, machine},
};

/// An attack on the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    OtherGuest,
    OtherDocument,
    CopiedHostData,
    OtherMeasurement,
    Debug,
    MigrationAgent,
    LowerPrivilege,
    Replay,
    HostsKey,
    FlippedBit,
    OtherChip,
    SelfMadeRoot,
    RevokedAsk,
    KeyBeforeAttest,
    OtherWorkload,
    Replacement,
}

impl Attack {
    pub(super) const ALL: [Self; 16] = [
        Self::OtherGuest,
        Self::OtherDocument,
        Self::CopiedHostData,
        Self::OtherMeasurement,
        Self::Debug,
        Self::MigrationAgent,
        Self::LowerPrivilege,
        Self::Replay,
        Self::HostsKey,
        Self::FlippedBit,
        Self::OtherChip,
        Self::SelfMadeRoot,
        Self::RevokedAsk,
        Self::KeyBeforeAttest,
        Self::OtherWorkload,
        Self::Replacement,
    ];

    /// The attack in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OtherGuest => "the same guest claims a workload that has a launch measurement of its own",
            Self::OtherDocument => {
                "the host gives the bound workload's guest a document and a disk of its own"
            }
            Self::CopiedHostData => "the same with the HOST_DATA of the workload's document",
            Self::OtherMeasurement => "another image is launched",
            Self::Debug => "the same image is launched with DEBUG set",
            Self::MigrationAgent => "the same image is launched with a migration agent allowed",
            Self::LowerPrivilege => "the report is asked for at VMPL 1",
            Self::Replay => "evidence of an earlier boot is sent again",
            Self::HostsKey => "the host puts its own key in place of the guest's",
            Self::FlippedBit => "one bit of the signature is flipped",
            Self::OtherChip => "another chip signs, under the first one's id and certificate",
            Self::SelfMadeRoot => "a self-made root certifies the chip",
            Self::RevokedAsk => "an ASK that AMD has revoked certifies the chip",
            Self::KeyBeforeAttest => "a guest asks for the key before it attests",
            Self::OtherWorkload => "an attested guest asks for another workload's key",
            Self::Replacement => "the registration is replaced after the first boot",
        }
    }

    /// The check that must stop the attack, as the audit record names it.
    pub(super) fn check(self) -> &'static str {
        match self {
            Self::OtherGuest | Self::OtherMeasurement => "measurement",
            Self::OtherDocument | Self::CopiedHostData => "init-data",
            Self::Debug => "guest-policy-debug",
            Self::MigrationAgent => "guest-policy-migrate-ma",
            Self::LowerPrivilege => "vmpl",
            Self::Replay | Self::HostsKey => "challenge",
            Self::FlippedBit | Self::OtherChip => "signature",
            Self::SelfMadeRoot => "endorsements",
            Self::RevokedAsk => "revocation",
            Self::KeyBeforeAttest => "session",
            Self::OtherWorkload => "session-workload",
            Self::Replacement => "replacement",
        }
    }

    /// Attacks, and reads the audit record about it.
    pub(super) async fn run(self, world: &World) -> anyhow::Result<AuditRecord> {
        let said = self.attempt(world).await?;
        let Body { id } = serde_json::from_str(&said.body).context("the refusal carries no audit id")?;
        let record = world.audit(id)?;
        ensure!(record.decision == Decision::Refused, "the record says {:?}", record.decision);
        let check = record.failed.as_ref().map(|failed| failed.check.as_str());
        ensure!(check == Some(self.check()), "refused for {check:?}, expected {:?}", self.check());
        Ok(record)
    }

    async fn attempt(self, world: &World) -> anyhow::Result<Said> {
        match self {
            Self::OtherGuest => other_guest(world).await,
            Self::OtherDocument => bound::claims(world, false).await,
            Self::CopiedHostData => bound::claims(world, true).await,
            Self::OtherMeasurement => boot(world, |machine| machine.fields.measurement = [0x66; 48]).await,
            Self::Debug => boot(world, |machine| machine.fields.policy |= 1 << 19).await,
            Self::MigrationAgent => boot(world, |machine| machine.fields.policy |= 1 << 18).await,
            Self::LowerPrivilege => boot(world, |machine| machine.fields.vmpl = 1).await,
            Self::OtherChip => boot(world, |machine| machine.vek = world.milan.vcek(&world.other_chip)).await,
            Self::SelfMadeRoot => self_made_root(world).await,
            Self::RevokedAsk => attest(&mut world.guest(machine(&world.genoa, &world.genoa_chip))?).await,
            Self::Replay => replay(world).await,
            Self::HostsKey => hosts_key(world).await,
            Self::FlippedBit => flipped_bit(world).await,
            Self::KeyBeforeAttest => {
                let mut guest = world.guest(world.machine())?;
                guest.auth().await?;
                refused(guest.key().await)
            }
            Self::OtherWorkload => other_workload(world).await,
            Self::Replacement => {
                let response = world.build(&world.workload_id, "another passphrase").register().await?;
                ensure!(!Buildah::accepts(&response), "the registration was replaced");
                Ok(Said::from(&response))
            }
        }
    }
}

/// The refusal's body.
#[derive(Deserialize)]
struct Body {
    /// Problem details have it as `decision`.
    #[serde(alias = "decision")]
    id: keybroker_common::ids::AuditId,
}

/// The refusal; anything else is the attacker's success, or no answer at all.
fn refused<T>(answer: Result<T, Error>) -> anyhow::Result<Said> {
    match answer {
        Err(Error::Refused(said)) => Ok(said),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it was let through"),
    }
}

async fn attest(guest: &mut PoliteGuest) -> anyhow::Result<Said> {
    guest.auth().await?;
    refused(guest.attest().await)
}

/// Boots on the story's machine, altered.
async fn boot(world: &World, alter: impl FnOnce(&mut Machine)) -> anyhow::Result<Said> {
    let mut machine = world.machine();
    alter(&mut machine);
    attest(&mut world.guest(machine)?).await
}

/// Another genuine guest, like the one that was let in, claims a workload that has a measurement of its own.
async fn other_guest(world: &World) -> anyhow::Result<Said> {
    const WORKLOAD: &str = "workload-with-its-own-measurement";
    let response = world.build_with_own_measurement(WORKLOAD, "a passphrase of its own").register().await?;
    ensure!(Buildah::accepts(&response), "the workload was not registered");
    let mut guest = world.guest(world.other_machine())?;
    guest.state.workload_id = WORKLOAD.to_owned();
    attest(&mut guest).await
}

async fn replay(world: &World) -> anyhow::Result<Said> {
    let mut guest = world.guest(world.machine())?;
    guest.auth().await?;
    let evidence = guest.state.attest_body()?;
    guest.attest_with(&evidence).await?;
    guest.auth().await?;
    refused(guest.attest_with(&evidence).await)
}

/// The host passes the guest's report on with a key of its own, with which it could decrypt.
async fn hosts_key(world: &World) -> anyhow::Result<Said> {
    let mut guest = world.guest(world.machine())?;
    guest.auth().await?;
    let report = guest.state.report()?;
    guest.state.key = GuestKey::generate();
    let evidence = guest.state.attest_body_with(&report);
    refused(guest.attest_with(&evidence).await)
}

async fn flipped_bit(world: &World) -> anyhow::Result<Said> {
    let mut guest = world.guest(world.machine())?;
    guest.auth().await?;
    let mut report = guest.state.report()?;
    if let Some(byte) = report.get_mut(0x2A0) {
        *byte ^= 1;
    }
    let evidence = guest.state.attest_body_with(&report);
    refused(guest.attest_with(&evidence).await)
}

/// A chip that AMD does not know sends a certificate that somebody else's key signed.
async fn self_made_root(world: &World) -> anyhow::Result<Said> {
    let chip = keybroker_simulator::pki::Chip::new(keybroker_simulator::Product::Milan, 9);
    let rogue = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
    let mut machine = machine(&world.milan, &chip);
    machine.vek = world.milan.vcek_with(&chip, &rogue);
    machine.certificates = vec![("VCEK".to_owned(), machine.vek.certificate.clone())];
    attest(&mut world.guest(machine)?).await
}

async fn other_workload(world: &World) -> anyhow::Result<Said> {
    let response = world.build("another-workload", "another passphrase").register().await?;
    ensure!(Buildah::accepts(&response), "the other workload was not registered");
    let mut guest = world.guest(world.machine())?;
    guest.auth().await?;
    guest.attest().await?;
    guest.state.workload_id = "another-workload".to_owned();
    refused(guest.key().await)
}
