//! A registration by ID key: it survives a rebuild, and refuses what the key did not sign.

use data_encoding::BASE64;
use keybroker_simulator::guest::{Error, KeybrokerGuest, Machine};
use keybroker_snp::id_block::SignedIdBlock;
use keybroker_tests::{operator::Operator, program, world::World};
use serde_json::Value;
use tempfile::TempDir;

/// A desk with keys, at which images are signed and registered.
struct Desk {
    world: World,
    operator: Operator,
    files: TempDir,
}

/// One image as it was built.
const FIRST: [u8; 48] = [0x4D; 48];
/// The same after a rebuild.
const REBUILT: [u8; 48] = [0x4E; 48];

impl Desk {
    fn new(keys: &[&str]) -> Self {
        let world = World::serve(&[]);
        let operator = Operator::of(&world);
        let desk = Self { world, operator, files: TempDir::new().unwrap() };
        let files: Vec<_> = keys.iter().map(|name| desk.file(name)).collect();
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        let ended = program::run(&[&["id-block", "generate"], files.as_slice()].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        std::fs::write(desk.file("secret"), "open sesame").unwrap();
        desk
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }

    /// Signs an image, and gives what QEMU is given.
    fn sign(&self, id_key: &str, image: [u8; 48], more: &[&str]) -> String {
        let measurement = data_encoding::HEXLOWER.encode(&image);
        let (id_key, sign) = (self.file(id_key), ["id-block", "sign", "--json"]);
        let rest = ["--id-key", &id_key, "--measurement", &measurement];
        let ended = program::run(&[&sign[..], &rest, more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let signed: Value = serde_json::from_str(&ended.out).unwrap();
        signed["blocks"][0]["qemu"].as_str().unwrap().to_owned()
    }

    /// Registers by these flags, and gives the HOST_DATA to launch with.
    fn register(&self, flags: &[&str]) -> [u8; 32] {
        let resource = format!("passphrase={}", self.file("secret"));
        let registered =
            self.operator.json(&[&["register", "--yes", "--resource", &resource], flags].concat());
        let host_data = registered["host_data"].as_str().unwrap();
        BASE64.decode(host_data.as_bytes()).unwrap().try_into().unwrap()
    }

    /// A guest of this image, launched with what QEMU was given. `None` if the firmware starts none.
    fn launch(&self, image: [u8; 48], qemu: &str, host_data: [u8; 32]) -> Option<KeybrokerGuest> {
        let mut machine = self.world.milan();
        machine.fields.measurement = image;
        machine.fields.host_data = host_data;
        finish(&mut machine, qemu)?;
        Some(KeybrokerGuest::new(&self.world.url, machine).unwrap())
    }

    async fn boot(&self, image: [u8; 48], qemu: &str, host_data: [u8; 32]) -> Result<Vec<u8>, Error> {
        self.launch(image, qemu, host_data).expect("the firmware starts it").boot("passphrase").await
    }

    async fn released(&self, image: [u8; 48], qemu: &str, host_data: [u8; 32]) {
        assert_eq!(self.boot(image, qemu, host_data).await, Ok(b"open sesame".to_vec()));
    }

    async fn refused(&self, image: [u8; 48], qemu: &str, host_data: [u8; 32], check: &str) {
        let answer = self.boot(image, qemu, host_data).await;
        let record = self.world.assert_refused(answer, (403, check)).unwrap();
        assert_eq!(record.pointer("/failed/check").unwrap(), check);
    }
}

/// Does with an ID block as the firmware does when the launch is finished (SNP_LAUNCH_FINISH): it compares
/// the block with the guest, verifies the signatures, and notes in the guest's reports what it found.
fn finish(machine: &mut Machine, qemu: &str) -> Option<()> {
    let property = |name: &str| qemu.split(',').find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    let bytes = |name: &str| BASE64.decode(property(name).unwrap().as_bytes()).unwrap();
    if property("id-block").is_none() {
        return Some(());
    }
    let signed = SignedIdBlock::verify(&bytes("id-block"), &bytes("id-auth")).ok()?;
    let (block, fields) = (signed.block(), &mut machine.fields);
    if block.measurement != fields.measurement || block.policy.bits() != fields.policy {
        return None;
    }
    fields.id_key_digest = signed.id_key().digest();
    (fields.family_id, fields.image_id) = (block.family_id, block.image_id);
    fields.guest_svn = block.guest_svn;
    fields.author_key_en = property("author-key-enabled") == Some("on");
    if fields.author_key_en {
        fields.author_key_digest = signed.author_key()?.digest();
    }
    Some(())
}

#[tokio::test]
async fn a_registration_by_id_key_survives_a_rebuild() {
    let desk = Desk::new(&["id", "next", "other"]);
    let (id, next) = (desk.file("id.pub"), desk.file("next.pub"));
    let host_data = desk.register(&["--id-key", &id, "--id-key", &next]);
    let first = desk.sign("id", FIRST, &[]);
    desk.released(FIRST, &first, host_data).await;
    // Another measurement, the same key, no new registration.
    let rebuilt = desk.sign("id", REBUILT, &["--guest-svn", "1"]);
    desk.released(REBUILT, &rebuilt, host_data).await;
    // The key is replaced by the one that was registered beside it.
    desk.released(REBUILT, &desk.sign("next", REBUILT, &[]), host_data).await;

    // The firmware starts no other image with a block, nor one under another guest policy.
    assert!(desk.launch(REBUILT, &first, host_data).is_none());
    let other_policy = desk.sign("id", FIRST, &["--policy", "0x20000"]);
    assert!(desk.launch(FIRST, &other_policy, host_data).is_none());
    // A key that nobody registered, and no block at all.
    let other = desk.sign("other", FIRST, &[]);
    desk.refused(FIRST, &other, host_data, "id-key-digest").await;
    desk.refused(FIRST, "policy=0x30000", host_data, "id-key-digest").await;
}

#[tokio::test]
async fn an_image_below_the_least_svn_is_refused() {
    let desk = Desk::new(&["id"]);
    let floor = ["--require", "minimum_guest_svn=2"];
    let host_data = desk.register(&[&["--id-key", &desk.file("id.pub")], &floor[..]].concat());
    for (svn, admitted) in [("0", false), ("1", false), ("2", true), ("3", true)] {
        let qemu = desk.sign("id", FIRST, &["--guest-svn", svn]);
        match admitted {
            true => desk.released(FIRST, &qemu, host_data).await,
            false => desk.refused(FIRST, &qemu, host_data, "guest-svn").await,
        }
    }
}

#[tokio::test]
async fn an_id_key_that_the_author_did_not_certify_is_refused() {
    let desk = Desk::new(&["id", "author", "other"]);
    let keys = ["--id-key", &desk.file("id.pub"), "--author-key", &desk.file("author.pub")];
    let host_data = desk.register(&keys);
    let by = |author: &str| desk.sign("id", FIRST, &["--author-key", &desk.file(author)]);
    let certified = by("author");
    desk.released(FIRST, &certified, host_data).await;
    desk.refused(FIRST, &by("other"), host_data, "author-key-digest").await;
    desk.refused(FIRST, &desk.sign("id", FIRST, &[]), host_data, "author-key-digest").await;
    // Certified, and the VMM was not told to have it verified.
    let unsaid = certified.replace(",author-key-enabled=on", "");
    desk.refused(FIRST, &unsaid, host_data, "author-key-digest").await;
    // The author's own key signs no images here.
    let own = desk.sign("author", FIRST, &["--author-key", &desk.file("author")]);
    desk.refused(FIRST, &own, host_data, "id-key-digest").await;
}
