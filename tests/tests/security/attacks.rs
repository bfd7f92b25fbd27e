//! Attacks through HTTP: the broker refuses each. The refusal carries the id of an audit record, and that
//! record names the check that stopped the attack.

use keybroker_simulator::{
    Product,
    build::{Buildah, tee_config},
    guest::{Error, GuestKey, Machine, PoliteGuest, Said},
    pki::{Ca, Chip, CrlOptions, Overrides, RsaKey, SubjectKey},
};
use keybroker_tests::{
    altered::REPORTS,
    passphrase, unique,
    world::{World, amd},
};

/// A world with one workload that no guest has used yet.
struct Scene {
    world: World,
    id: String,
    passphrase: String,
}

impl Scene {
    async fn new() -> Self {
        Self::of(World::start()).await
    }

    async fn of(world: World) -> Self {
        let id = unique("w");
        let passphrase = world.register(&id).await;
        Self { world, id, passphrase }
    }

    fn guest(&self, machine: Machine) -> PoliteGuest {
        self.world.polite(&self.id, machine)
    }

    /// A genuine guest with a challenge.
    async fn challenged(&self) -> PoliteGuest {
        let mut guest = self.guest(self.world.milan());
        guest.auth().await.unwrap();
        guest
    }

    /// A genuine guest that attested.
    async fn attested(&self) -> PoliteGuest {
        let guest = self.challenged().await;
        guest.attest().await.unwrap();
        guest
    }

    /// A genuine guest still boots.
    async fn still_boots(&self) {
        let booted = self.guest(self.world.milan()).boot().await;
        assert_eq!(booted, Ok(self.passphrase.clone().into_bytes()));
    }
}

#[tokio::test]
async fn altered_reports_are_refused_for_the_check_they_fail() {
    let scene = Scene::new().await;
    for (name, check, alter) in REPORTS {
        let mut machine = scene.world.milan();
        alter(&mut machine);
        let mut guest = scene.guest(machine);
        guest.auth().await.unwrap();
        println!("{name}");
        scene.world.assert_refused(guest.attest().await, (403, check));
        // The session opens nothing, and the challenge is used up.
        scene.world.assert_refused(guest.key().await, (401, "session"));
        scene.world.assert_refused(guest.attest().await, (401, "session"));
    }
    scene.still_boots().await;
}

#[tokio::test]
async fn a_cpu_of_an_unknown_or_another_product_is_refused() {
    let scene = Scene::new().await;
    for (cpuid, check) in [([0x19, 0x21, 0], "product"), (Product::Genoa.cpuid(), "endorsements")] {
        let mut machine = scene.world.milan();
        machine.fields.cpuid = cpuid;
        scene.world.assert_refused(scene.guest(machine).boot().await, (403, check));
    }
}

#[tokio::test]
async fn evidence_of_an_earlier_boot_is_refused() {
    let scene = Scene::new().await;
    let mut guest = scene.challenged().await;
    let evidence = guest.state.attest_body().unwrap();
    guest.attest_with(&evidence).await.unwrap();
    guest.auth().await.unwrap();
    scene.world.assert_refused(guest.attest_with(&evidence).await, (403, "challenge"));
}

/// The answer may have been lost, so the broker answers the same bytes again. It refuses any other bytes.
#[tokio::test]
async fn other_evidence_in_the_same_session_is_refused() {
    let scene = Scene::new().await;
    let guest = scene.challenged().await;
    let evidence = guest.state.attest_body().unwrap();
    guest.attest_with(&evidence).await.unwrap();
    guest.attest_with(&evidence).await.unwrap();
    scene.world.assert_refused(guest.attest_with(&format!("{evidence} ")).await, (401, "session"));
    scene.world.assert_refused(guest.attest().await, (401, "session"));
    // The second attempt does not take the session from the first.
    assert_eq!(guest.key().await, Ok(scene.passphrase.into_bytes()));
}

#[tokio::test]
async fn a_bit_flipped_anywhere_in_a_report_is_found() {
    let scene = Scene::new().await;
    // Offset, and the check that fails. Reserved areas of the report are signed like the rest.
    let rows = [
        (0x2A0, "signature"),
        (0x2A0 + 47, "signature"),
        (0x2E8, "signature"),
        (0x2A0 + 48, "report"),
        (0x330, "report"),
        (0x49F, "report"),
        (0x004, "signature"),
        (0x040, "signature"),
        (0x04C, "signature"),
        (0x050, "challenge"),
        (0x08F, "challenge"),
        (0x090, "measurement"),
        (0x0C0, "signature"),
        (0x140, "signature"),
        (0x18B, "signature"),
        (0x29F, "signature"),
    ];
    for (offset, check) in rows {
        let guest = scene.challenged().await;
        let mut report = guest.state.report().unwrap();
        report[offset] ^= 1;
        println!("{offset:#x}");
        let evidence = guest.state.attest_body_with(&report);
        scene.world.assert_refused(guest.attest_with(&evidence).await, (403, check));
    }
    scene.still_boots().await;
}

#[tokio::test]
async fn a_report_signed_by_another_chip_is_refused() {
    let scene = Scene::new().await;
    let mut machine = scene.world.milan();
    machine.vek = scene.world.machine(Product::Milan, 2).vek;
    scene.world.assert_refused(scene.guest(machine).boot().await, (403, "signature"));
}

#[tokio::test]
async fn a_certificate_of_another_chip_does_not_help() {
    let scene = Scene::new().await;
    // AMD does not know the chip that signs. A sound certificate of another chip does not help.
    let mut machine = Machine::new(amd(Product::Milan), &Chip::new(Product::Milan, 66));
    let other = scene.world.machine(Product::Milan, 2).vek.certificate;
    machine.certificates = vec![("VCEK".to_owned(), other)];
    scene.world.assert_refused(scene.guest(machine).boot().await, (403, "endorsements"));
}

/// A machine whose chip AMD's KDS does not know. The guest sends its own, altered certificate along with
/// others.
fn certified(seed: u8, certificate: &Overrides, others: &[(&str, Vec<u8>)]) -> Machine {
    let chip = Chip::new(Product::Milan, seed);
    let mut machine = Machine::new(amd(Product::Milan), &chip);
    machine.vek = amd(Product::Milan).vcek_with(&chip, certificate);
    let others = others.iter().map(|(kind, der)| ((*kind).to_owned(), der.clone()));
    machine.certificates =
        [("VCEK".to_owned(), machine.vek.certificate.clone())].into_iter().chain(others).collect();
    machine
}

#[tokio::test]
async fn a_self_made_root_is_refused() {
    let scene = Scene::new().await;
    let amd = amd(Product::Milan);
    let rogue = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
    // First without AMD's signature, then with a complete chain of its own up to a root of the same name.
    let rogue_key = Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rogue)), ..rogue.clone() };
    let chain = [("ASK", amd.ca(Ca::Ask, &rogue_key)), ("ARK", amd.ca(Ca::Ark, &rogue_key))];
    for others in [&[("ASK", amd.ask().to_vec())][..], &chain] {
        let machine = certified(67, &rogue, others);
        scene.world.assert_refused(scene.guest(machine).boot().await, (403, "endorsements"));
    }
    // Only the signer makes the difference.
    let machine = certified(67, &Overrides::default(), &[("ASK", amd.ask().to_vec())]);
    assert_eq!(scene.guest(machine).boot().await, Ok(scene.passphrase.into_bytes()));
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let scene = Scene::new().await;
    let amd = amd(Product::Milan);
    let yesterday = amd.now() - jiff::SignedDuration::from_hours(12);
    let expired = Overrides { not_after: Some(yesterday), ..Overrides::default() };
    let machine = certified(68, &expired, &[("ASK", amd.ask().to_vec())]);
    scene.world.assert_refused(scene.guest(machine).boot().await, (403, "certificate-validity"));
}

#[tokio::test]
async fn a_revoked_ask_is_refused() {
    let Some(world) = World::with(&[], "an ASK revoked from the start") else { return };
    let revoked = vec![Ca::Ask.serial(Product::Genoa)];
    world
        .kds
        .serve_crl(Product::Genoa, amd(Product::Genoa).crl(&CrlOptions { revoked, ..CrlOptions::default() }));
    let scene = Scene::of(world).await;
    let genoa = scene.world.machine(Product::Genoa, 1);
    scene.world.assert_refused(scene.guest(genoa).boot().await, (403, "revocation"));
    scene.still_boots().await;
}

#[tokio::test]
async fn a_key_before_attesting_is_refused() {
    let scene = Scene::new().await;
    let guest = scene.challenged().await;
    scene.world.assert_refused(guest.key().await, (401, "session"));
    // The challenge can still be used.
    guest.attest().await.unwrap();
    assert_eq!(guest.key().await, Ok(scene.passphrase.into_bytes()));
}

#[tokio::test]
async fn a_key_for_a_made_up_session_is_refused() {
    let scene = Scene::new().await;
    let mut guest = scene.guest(scene.world.milan());
    // Its form is right, and the broker did not make it: there is nothing that a record could be about.
    guest.state.session_id = Some(format!("EQAzqgABAgMEBQYHCAkKCwwNDg8QERITFBU{}", scene.id));
    let Err(Error::Refused(said)) = guest.key().await else { panic!("it was given a key") };
    assert_eq!((said.status, said.body.as_str()), (401, r#"{"error":"no such session"}"#));
}

#[tokio::test]
async fn the_key_of_another_workload_is_refused() {
    let scene = Scene::new().await;
    let other = unique("w");
    scene.world.register(&other).await;
    let mut guest = scene.attested().await;
    guest.state.workload_id = other;
    scene.world.assert_refused(guest.key().await, (403, "session-workload"));
    // A workload that does not exist gets the same answer, so the answer reveals nothing.
    guest.state.workload_id = unique("w");
    scene.world.assert_refused(guest.key().await, (403, "session-workload"));
    guest.state.workload_id = scene.id.clone();
    assert_eq!(guest.key().await, Ok(scene.passphrase.into_bytes()));
}

#[tokio::test]
async fn a_stolen_cookie_opens_nothing_without_the_guests_key() {
    let scene = Scene::new().await;
    let victim = scene.attested().await;
    let mut thief = scene.guest(scene.world.milan());
    thief.state.session_id.clone_from(&victim.state.session_id);
    assert_eq!(thief.key().await, Err(Error::Decrypt), "it is sealed to the victim's key");
    // A genuine report over the victim's nonce and the thief's key comes too late: the session is taken.
    thief.state.nonce.clone_from(&victim.state.nonce);
    scene.world.assert_refused(thief.attest().await, (401, "session"));
    assert_eq!(thief.key().await, Err(Error::Decrypt));
    assert_eq!(victim.key().await, Ok(scene.passphrase.into_bytes()));
}

#[tokio::test]
async fn the_hosts_key_in_place_of_the_guests_is_refused() {
    let scene = Scene::new().await;
    let mut guest = scene.challenged().await;
    let report = guest.state.report().unwrap();
    guest.state.key = GuestKey::generate();
    let evidence = guest.state.attest_body_with(&report);
    scene.world.assert_refused(guest.attest_with(&evidence).await, (403, "challenge"));
}

#[tokio::test]
async fn the_nonce_of_another_session_is_refused() {
    let scene = Scene::new().await;
    let (one, mut other) = (scene.challenged().await, scene.challenged().await);
    other.state.nonce.clone_from(&one.state.nonce);
    scene.world.assert_refused(other.attest().await, (403, "challenge"));
    one.attest().await.unwrap();
}

#[tokio::test]
async fn a_workload_that_nobody_registered_is_refused() {
    let world = World::start();
    let mut guest = world.polite(&unique("w"), world.milan());
    let response = guest.auth().await.unwrap();
    assert_eq!(response.status, 200, "a challenge does not reveal what is registered");
    world.assert_refused(guest.attest().await, (403, "workload"));
}

#[tokio::test]
async fn a_registration_cannot_be_replaced_after_an_attestation() {
    let scene = Scene::new().await;
    let guest = scene.attested().await;
    // Between attest and key, and after the key.
    for _ in 0..2 {
        let response = scene.world.build(&scene.id, &passphrase()).register().await.unwrap();
        let record = scene.world.assert_said(&Said::from(&response), (409, "replacement"));
        assert!(record.is_none_or(|record| record["workload_id"] == scene.id.as_str()));
        assert_eq!(guest.key().await, Ok(scene.passphrase.clone().into_bytes()));
    }
    scene.still_boots().await;
}

#[tokio::test]
async fn another_measurement_in_the_build_window_is_refused() {
    let scene = Scene::new().await;
    let build = || scene.world.build(&scene.id, "the attacker's");
    let builds = [
        Buildah { launch_measurement: "66".repeat(48), ..build() },
        Buildah { tee_config: tee_config(14), ..build() },
    ];
    for build in builds {
        let response = build.register().await.unwrap();
        scene.world.assert_said(&Said::from(&response), (409, "replacement"));
    }
    scene.still_boots().await;
}
