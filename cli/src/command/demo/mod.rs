//! `keybroker demo`: the whole story in one process, over real HTTP on the loopback: a build, a boot, a
//! release, and attacks.

mod attack;
mod bound;
mod narrator;
mod world;

use std::{fmt::Display, time::Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use keybroker_common::appraisal;
use keybroker_initdata::luks::DiskRefused;
use keybroker_simulator::{build::Buildah, guest::KrunGuest};
use keybroker_snp::verify;

use self::{attack::Attack, narrator::Narrator, world::World};
use crate::exit::Exit;

/// Show the whole story: build, boot, release, and attacks refused
///
/// The command runs a broker on the loopback over a temporary store, with a simulated chip and a simulated
/// AMD KDS. It registers a workload as buildah does, boots a guest as krun does, and then attacks the broker.
/// It succeeds only if everything went as told.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  keybroker demo
  keybroker demo --json | jq .attacks

Exit status: 0 if everything went as told, 1 otherwise.")]
pub(crate) struct DemoArgs {
    /// Print one JSON document in place of the story
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut narrator = Narrator::new(args.json);
    runtime.block_on(tell(&mut narrator))?;
    let well = narrator.finish()?;
    Ok(if well { Exit::Ok } else { Exit::Failure })
}

async fn tell(narrator: &mut Narrator) -> anyhow::Result<()> {
    let start = Instant::now();
    let world = World::start().await?;
    narrator.title("A build, a boot, a release")?;
    narrator.step(
        "hardware",
        start,
        format!("a simulated EPYC, its PKI and AMD's KDS; broker at {}", world.url),
        &["none of it is genuine: this broker was told to trust the simulated root"],
    )?;
    register(narrator, &world).await?;
    boot(narrator, &world).await?;
    narrator.title("Another guest, let in")?;
    claim(narrator, &world).await?;
    narrator.title("A workload that is bound to its disk")?;
    bind(narrator, &world).await?;
    narrator.title("Attacks")?;
    for attack in Attack::ALL {
        let start = Instant::now();
        let refusal = attack.run(&world).await.with_context(|| format!("attack {:?}", attack.name()))?;
        narrator.attack(&attack, start, &refusal)?;
    }
    Ok(())
}

/// Registers a workload as buildah does.
async fn register(narrator: &mut Narrator, world: &World) -> anyhow::Result<()> {
    let start = Instant::now();
    let response = world.build(&world.workload_id, &world.passphrase).register().await?;
    ensure!(Buildah::accepts(&response), "the registration was refused: {}", response.text());
    narrator.step(
        "register",
        start,
        format!("buildah: workload {}…, its launch measurement, its passphrase", short(&world.workload_id)),
        &[
            "the broker checked that the measurement is SEV-SNP's and that the passphrase fits libkrun's \
             guest",
            "it wrapped the passphrase, bound to the registration's bytes",
        ],
    )
}

/// Gets the passphrase as libkrun's guest does, in three requests.
async fn boot(narrator: &mut Narrator, world: &World) -> anyhow::Result<()> {
    let mut guest = KrunGuest::new(&world.url, &world.workload_id, world.machine())?;
    let start = Instant::now();
    guest.auth().await?;
    narrator.step(
        "auth",
        start,
        "krun's guest: a nonce and a session".to_owned(),
        &["the broker looked nothing up: a challenge tells nobody what is registered"],
    )?;

    let start = Instant::now();
    guest.attest().await?;
    let checks: Vec<String> = checks().collect();
    narrator.step(
        "attest",
        start,
        "krun's guest: the chip's report, bound to its key".to_owned(),
        &checks,
    )?;

    let start = Instant::now();
    let passphrase = String::from_utf8(guest.key().await?)?;
    ensure!(passphrase == world.passphrase, "the guest got another passphrase than was registered");
    narrator.step(
        "key",
        start,
        format!("krun's guest: the passphrase is {passphrase}"),
        &[
            "the session is this workload's, and the registration is unchanged and not revoked",
            "the broker wrote the audit record first, then encrypted the passphrase to the guest's key",
        ],
    )?;
    narrator.passphrase_arrived();
    Ok(())
}

/// Another image with the same launch measurement claims the workload. No check keeps the passphrase from it,
/// and the story must say so.
async fn claim(narrator: &mut Narrator, world: &World) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut guest = KrunGuest::new(&world.url, &world.workload_id, world.other_machine())?;
    guest.auth().await?;
    guest.attest().await?;
    let passphrase = String::from_utf8(guest.key().await?)?;
    ensure!(passphrase == world.passphrase, "the guest got another passphrase than was registered");
    narrator.step(
        "claim",
        start,
        "a genuine guest with other code and the same launch measurement claims the workload: the broker \
         lets it in"
            .to_owned(),
        &[
            "libkrun's images with the same firmware, vCPUs and memory share a launch measurement: it does \
             not cover the disk",
            "the workload id is only a claim: the image contains it in clear, and the report does not",
            "a launch measurement of its own binds a workload: the first attack below is the same guest \
             claiming such a workload",
        ],
    )?;
    narrator.let_in();
    Ok(())
}

/// Registers a workload that is bound to its disk, boots its guest, and shows that the guest takes no other
/// disk.
async fn bind(narrator: &mut Narrator, world: &World) -> anyhow::Result<()> {
    let start = Instant::now();
    let response = bound::register(world).await?;
    ensure!(response.is_success(), "the registration was refused: {}", response.text());
    narrator.step(
        "register",
        start,
        "a workload of the same launch measurement, with the document of its guest".to_owned(),
        &[
            "the document names the disk's volume key and the broker's key",
            "HOST_DATA of the guest must be the document's digest",
        ],
    )?;

    let start = Instant::now();
    let opened = bound::boot(world).await?;
    let secrets: Vec<_> = opened.secrets.iter().map(|secret| secret.as_slice()).collect();
    ensure!(secrets == [bound::PASSPHRASE.as_bytes()], "the guest got something else than was registered");
    narrator.step(
        "release",
        start,
        format!("keybroker-guest: the passphrase is {}", bound::PASSPHRASE),
        &["one request: evidence and secrets", "the guest opened nothing before the broker's signature held"],
    )?;

    let start = Instant::now();
    let judged = bound::judges(world)?;
    ensure!(judged == [Ok(()), Err(DiskRefused::VolumeKey)], "the guest takes {judged:?}");
    narrator.step(
        "disk",
        start,
        "the host copies HOST_DATA and the document, and swaps the disk: the measured guest refuses it"
            .to_owned(),
        &["another volume key than the document's: nobody is asked, and nothing is opened"],
    )
}

/// Every check that the broker made between the report and the session.
fn checks() -> impl Iterator<Item = String> {
    let verification = verify::VerificationCheck::all().map(verify::VerificationCheck::name);
    let appraisal = appraisal::AppraisalCheck::all().map(appraisal::AppraisalCheck::name);
    [line("verified", verification), line("appraised", appraisal)].into_iter()
}

fn line(word: &str, checks: impl Iterator<Item = &'static str>) -> String {
    format!("{word}: {}", checks.collect::<Vec<_>>().join(", "))
}

/// The first characters of an id.
fn short(id: &impl Display) -> String {
    id.to_string().chars().take(12).collect()
}
