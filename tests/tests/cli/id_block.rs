//! `keybroker id-block`, and beside it the tool that others make ID blocks with.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use data_encoding::{BASE64, HEXLOWER};
use keybroker_tests::program::{self, Ended, workspace};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Keys in files.
struct Keys(TempDir);

impl Keys {
    /// Makes keys of these names.
    fn new(names: &[&str]) -> Self {
        let keys = Self(TempDir::new().unwrap());
        let files: Vec<_> = names.iter().map(|name| keys.file(name)).collect();
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        let ended = program::run(&[&["id-block", "generate"], files.as_slice()].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        keys
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn public(&self, name: &str) -> String {
        self.file(name) + ".pub"
    }

    fn digest(&self, name: &str) -> String {
        let ended = program::run(&["id-block", "digest", &self.public(name)]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out.trim().to_owned()
    }

    fn sign(&self, id_key: &str, more: &[&str]) -> Value {
        let ended =
            program::run(&[&["id-block", "sign", "--json", "--id-key", &self.file(id_key)], more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// The other tool's finding about a block.
    fn peer(&self, block: &Value, names: &[&str]) -> Value {
        let keys: Vec<_> = names.iter().map(|name| self.public(name)).collect();
        let asked = json!({ "id_block": block["id_block"], "id_auth": block["id_auth"], "keys": keys });
        let mut peer = Command::new(workspace().join("tests/id-block/run"));
        peer.arg("verify").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = peer.spawn().unwrap();
        child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn inspect(id_block: &str, id_auth: &str) -> Ended {
    program::run(&["id-block", "inspect", "--json", "--id-block", id_block, "--id-auth", id_auth])
}

fn inspected(block: &Value) -> Value {
    let text = |name: &str| block[name].as_str().unwrap();
    let ended = inspect(text("id_block"), text("id_auth"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// The authentication information without the numbers of its signatures, which are drawn anew each time.
fn fixed(id_auth: &str) -> Vec<u8> {
    let mut auth = BASE64.decode(id_auth.as_bytes()).unwrap();
    auth[0x40..0xD0].fill(0);
    auth[0x680..0x710].fill(0);
    auth
}

#[test]
fn keys_are_their_owners_never_printed_and_never_overwritten() {
    let keys = Keys::new(&["id"]);
    let (file, public) = (keys.file("id"), keys.public("id"));
    let secret = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (again, digest) = (
        program::run(&["id-block", "generate", &file]),
        program::run(&["id-block", "digest", &file, &public]),
    );
    assert_eq!(again.code, Some(5), "{again:?}");
    assert!(again.log.contains("no file is overwritten"), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), secret);
    let digests: Vec<_> = digest.out.lines().collect();
    assert_eq!(digests, [digests[0], digests[0]]);
    let measurement = "4d".repeat(48);
    let signed = program::run(&["id-block", "sign", "--id-key", &file, "--measurement", &measurement]);
    assert_eq!(signed.code, Some(0), "{signed:?}");
    for ended in [again, digest, signed] {
        for line in secret.lines().filter(|line| !line.starts_with('-')) {
            assert!(!ended.out.contains(line) && !ended.log.contains(line), "{ended:?}");
        }
    }
    // Others can read it: told, and used.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let told = program::run(&["id-block", "digest", &file]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.log.contains("chmod 600"), "{told:?}");
}

#[test]
fn what_is_signed_is_what_others_read_and_verify() {
    let keys = Keys::new(&["id", "author", "other"]);
    let certificate = keys.file("id.cert");
    let certify =
        ["id-block", "certify", "--author-key", &keys.file("author"), "--id-key", &keys.public("id")];
    let ended = program::run(&[&certify[..], &["--out", &certificate]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (one, other) = ("4d".repeat(48), BASE64.encode(&[0x4E; 48]));
    let (family, image) = ("fa".repeat(16), "1a".repeat(16));
    let more = [
        "--certificate",
        &certificate,
        "--measurement",
        &one,
        "--measurement",
        &other,
        "--guest-svn",
        "3",
        "--policy",
        "0x1030000",
        "--family-id",
        &family,
        "--image-id",
        &image,
    ];
    let signed = keys.sign("id", &more);
    assert_eq!(
        (signed["id_key_digest"].as_str(), signed["author_key_digest"].as_str()),
        (Some(keys.digest("id").as_str()), Some(keys.digest("author").as_str()))
    );
    let register = signed["register"].as_str().unwrap();
    assert!(register.contains(&keys.digest("id")) && register.contains("minimum_guest_svn=3"), "{register}");
    let blocks = signed["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 2);
    for (block, measurement) in blocks.iter().zip(["4d", "4e"]) {
        assert_eq!(block["measurement"], measurement.repeat(48));
        let qemu = block["qemu"].as_str().unwrap();
        assert!(qemu.starts_with("policy=0x1030000,id-block=") && qemu.ends_with(",author-key-enabled=on"));
        let read = inspected(block);
        assert_eq!(read["measurement"], block["measurement"]);
        assert_eq!((&read["guest_svn"], &read["policy"]), (&json!(3), &json!("0x1030000")));
        assert_eq!((&read["family_id"], &read["image_id"]), (&json!(family), &json!(image)));
        assert_eq!(read["author_key_digest"], signed["author_key_digest"]);
        let peer = keys.peer(block, &["other", "author", "id"]);
        assert_eq!(
            peer,
            json!({
                "measurement": block["measurement"],
                "ids": format!("{family}{image}"),
                "version": 1,
                "guest_svn": 3,
                "policy": 0x1030000,
                "block_signed_by": keys.public("id"),
                "id_key": keys.public("id"),
                "id_key_signed_by": keys.public("author"),
                "author_key": keys.public("author"),
                "id_key_digest": keys.digest("id"),
            })
        );
    }
    // Without an author.
    let alone = keys.sign("id", &["--measurement", &one]);
    let block = &alone["blocks"][0];
    assert!(!block["qemu"].as_str().unwrap().contains("author-key-enabled"));
    assert_eq!(inspected(block)["author_key_digest"], Value::Null);
    let peer = keys.peer(block, &["other", "author", "id"]);
    assert_eq!((&peer["block_signed_by"], &peer["author_key"]), (&json!(keys.public("id")), &Value::Null));
    // The certificate is that of one ID key.
    let wrong = program::run(&[
        "id-block",
        "sign",
        "--id-key",
        &keys.file("other"),
        "--certificate",
        &certificate,
        "--measurement",
        &one,
    ]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""), "{wrong:?}");
    assert!(wrong.log.contains("the author key did not sign this ID key"), "{wrong:?}");
}

#[test]
fn what_others_sign_is_the_same_and_verifies() {
    let keys = Keys::new(&["id", "author"]);
    let created = Command::new(workspace().join("tests/id-block/run"))
        .args(["create", "--measurement", &BASE64.encode(&[0x4D; 48])])
        .args(["--idkey", &keys.file("id"), "--authorkey", &keys.file("author")])
        .output()
        .unwrap();
    let text = String::from_utf8(created.stdout).unwrap();
    let after = |mark: &str| text.split(mark).nth(1).unwrap().split([',', '\n']).next().unwrap().to_owned();
    let (id_block, id_auth) = (after("id-block="), after("id-auth="));
    for (mark, name) in [("id_key_hash: ", "id"), ("author_key: ", "author")] {
        assert_eq!(HEXLOWER.encode(&BASE64.decode(after(mark).as_bytes()).unwrap()), keys.digest(name));
    }
    let theirs = json!({ "id_block": id_block, "id_auth": id_auth });
    let read = inspected(&theirs);
    assert_eq!((&read["id_key_digest"], &read["guest_svn"]), (&json!(keys.digest("id")), &json!(0)));

    let author = keys.file("author");
    let ours = keys.sign("id", &["--author-key", &author, "--measurement", &"4d".repeat(48)]);
    let ours = &ours["blocks"][0];
    assert_eq!(ours["id_block"], theirs["id_block"]);
    assert_eq!(fixed(ours["id_auth"].as_str().unwrap()), fixed(&id_auth));
    // Files do as well as arguments, with the bytes or their base64.
    let (raw, encoded) = (keys.file("block"), keys.file("auth"));
    fs::write(&raw, BASE64.decode(id_block.as_bytes()).unwrap()).unwrap();
    fs::write(&encoded, format!("{id_auth}\n")).unwrap();
    assert_eq!(inspect(&raw, &encoded).code, Some(0));
}

#[test]
fn what_does_not_verify_is_denied_and_what_is_no_block_is_not_read() {
    let keys = Keys::new(&["id"]);
    let signed = keys.sign("id", &["--measurement", &"4d".repeat(48)]);
    let [block, auth] = ["id_block", "id_auth"]
        .map(|name| BASE64.decode(signed["blocks"][0][name].as_str().unwrap().as_bytes()).unwrap());
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut altered = bytes.to_vec();
        altered[at] = byte;
        BASE64.encode(&altered)
    };
    let (block64, auth64) = (BASE64.encode(&block), BASE64.encode(&auth));
    for (block, auth, code, said) in [
        (with(&block, 0, 0x4E), auth64.clone(), 3, "did not sign this ID block"),
        (with(&block, 0x54, 9), auth64.clone(), 3, "did not sign this ID block"),
        (with(&block, 0x50, 2), auth64.clone(), 5, "version"),
        (block64.clone(), with(&auth, 0, 0), 5, "algorithm"),
        (block64.clone(), with(&auth, 9, 1), 5, "reserved"),
        (auth64.clone(), auth64.clone(), 5, "96 bytes"),
        (block64.clone(), block64.clone(), 5, "4096 bytes"),
        ("/nonexistent".to_owned(), auth64.clone(), 5, "/nonexistent"),
    ] {
        let ended = inspect(&block, &auth);
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.log.contains(said), "{said}: {ended:?}");
    }
}

#[test]
fn what_the_broker_would_refuse_is_not_signed() {
    let keys = Keys::new(&["id"]);
    let (id, public) = (keys.file("id"), keys.public("id"));
    let (measurement, zeros) = ("4d".repeat(48), "0".repeat(96));
    let rows: [(&[&str], i32, &str); 7] = [
        (&["--id-key", &id], 2, "--measurement"),
        (&["--id-key", &id, "--measurement", &zeros], 2, "all zeros"),
        (&["--id-key", &id, "--measurement", "4d"], 2, "96 hex digits"),
        (&["--id-key", &id, "--measurement", &measurement, "--policy", "0xB0000"], 2, "DEBUG"),
        (&["--id-key", &id, "--measurement", &measurement, "--policy", "0x70000"], 2, "migration agent"),
        (&["--id-key", &public, "--measurement", &measurement], 5, "secret half is needed"),
        (&["--id-key", "/nonexistent", "--measurement", &measurement], 5, "/nonexistent"),
    ];
    for (arguments, code, said) in rows {
        let ended = program::run(&[&["id-block", "sign"], arguments].concat());
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.log.contains(said), "{said}: {ended:?}");
    }
    assert!(Path::new(&id).exists());
}
