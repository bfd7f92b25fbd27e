//! `keybroker certificates` as an operator uses it, on each kind of store.

use std::{fs, path::PathBuf};

use jiff::{SignedDuration, Timestamp};
use keybroker_simulator::{
    Product,
    guest::Machine,
    kds::{Behaviour, Kds, Kind},
    pki::{Ca, Chip, CrlOptions, Overrides, RsaKey, SubjectKey, pem},
};
use keybroker_tests::{
    operator::{Contents, Operator},
    program::{self, Ended},
    unique,
    world::{World, amd, anchors, kds},
};
use serde_json::Value;
use tempfile::TempDir;

/// An operator's files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("anchors.pem", anchors());
        files
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn run(operator: &Operator, files: &Files, arguments: &[&str]) -> Ended {
    let anchors = files.text("anchors.pem");
    operator.run(&[&["certificates"], arguments, &["--trust-anchor", &anchors]].concat())
}

/// The exit code, and the document.
fn json(operator: &Operator, files: &Files, arguments: &[&str]) -> (Option<i32>, Value) {
    let ended = run(operator, files, &[arguments, &["--json"]].concat());
    let document: Value =
        serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}: {ended:?}", operator.kind));
    assert_eq!(document["schema"], 1);
    (ended.code, document)
}

fn strings(document: &Value, list: &str, field: &str) -> Vec<String> {
    let rows = document[list].as_array().unwrap();
    rows.iter().map(|row| row[field].as_str().unwrap_or("-").to_owned()).collect()
}

/// The rows of `list`: kinds and states, in the order of the keys.
fn listed(operator: &Operator, files: &Files) -> Vec<(String, String)> {
    let (code, document) = json(operator, files, &["list"]);
    assert_eq!(code, Some(0), "{document}");
    strings(&document, "rows", "kind").into_iter().zip(strings(&document, "rows", "state")).collect()
}

fn hex(chip: &Chip) -> String {
    data_encoding::HEXLOWER.encode(&chip.chip_id())
}

fn levels(chip: &Chip) -> String {
    let tcb = chip.tcb;
    let fmc = if chip.product() == Product::Turin { format!("fmc={},", tcb.fmc) } else { String::new() };
    format!("{fmc}bl={},tee={},snp={},ucode={}", tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode)
}

/// The exit code, and the outcome for each chip.
fn prefetch(operator: &Operator, files: &Files, kds: &Kds, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let url = kds.url();
    let arguments = [&["prefetch", "--kds-url", &url], arguments].concat();
    let (code, document) = json(operator, files, &arguments);
    (code, strings(&document, "certificates", "result"))
}

#[tokio::test]
async fn prefetch_asks_amd_once_per_chip_and_fills_any_store() {
    for operator in Operator::everywhere(&Contents::default()).await {
        let (files, kds) = (Files::new(), kds());
        let (milan, turin) = (Chip::new(Product::Milan, 1), Chip::new(Product::Turin, 2));
        kds.add(&milan);
        kds.add(&turin);
        let report = Machine::new(amd(Product::Milan), &milan).report([0; 64]);
        let hexed: String = report.iter().map(|byte| format!("{byte:02X}")).collect();
        let (raw, hexed) = (files.write("raw.bin", report), files.write("report.hex", hexed + "\n"));
        files
            .write("fleet.txt", format!("# all\nreport raw.bin\nturin {} {}\n", hex(&turin), levels(&turin)));
        let fleet = files.text("fleet.txt");

        assert_eq!(
            prefetch(&operator, &files, &kds, &["--report", &raw]),
            (Some(0), vec!["fetched".to_owned()])
        );
        assert_eq!(prefetch(&operator, &files, &kds, &["--report", &hexed]).1, ["held"]);
        let named = ["--product", "milan", "--chip-id", &hex(&milan), "--tcb", &levels(&milan)];
        assert_eq!(prefetch(&operator, &files, &kds, &named).1, ["held"]);
        assert_eq!(prefetch(&operator, &files, &kds, &["--from", &fleet]).1, ["held", "fetched"]);
        assert_eq!(kds.count(Kind::Vcek), 2, "{}", operator.kind);

        let unknown = hex(&Chip::new(Product::Milan, 9));
        let unknown = ["--product", "milan", "--chip-id", &unknown, "--tcb", &levels(&milan)];
        assert_eq!(prefetch(&operator, &files, &kds, &unknown), (Some(1), vec!["unknown_to_amd".to_owned()]));

        let list = listed(&operator, &files);
        let of = |kind: &str, state: &str| {
            list.iter().filter(|(one, other)| one == kind && other == state).count()
        };
        let counts =
            [of("certificate", "ok"), of("certificate", "unknown_to_amd"), of("revocation-list", "ok")];
        assert_eq!(counts, [2, 1, 2], "{}: {list:?}", operator.kind);
        // Without the simulated roots, no certificate is valid.
        let bare = operator.json(&["certificates", "list"]);
        assert!(!strings(&bare, "rows", "state").contains(&"ok".to_owned()), "{bare}");
        let table = run(&operator, &files, &["list", "--product", "turin"]).out;
        assert!(table.starts_with("KIND") && table.contains("Turin") && !table.contains("Milan"), "{table}");
    }
}

#[tokio::test]
async fn a_prefetched_chip_boots_while_amd_is_down() {
    let world = World::serve(&[]);
    let (operator, files) = (Operator::of(&world), Files::new());
    let machine = world.milan();
    let report = files.write("report.bin", machine.report([0; 64]));
    assert_eq!(prefetch(&operator, &files, &world.kds, &["--report", &report]).0, Some(0));
    let asked = world.kds.requests().len();
    world.kds.otherwise(Behaviour::Status(503, None));
    world.boots_a_guest(&unique("w")).await;
    assert_eq!(world.kds.requests().len(), asked, "AMD was asked: {:?}", world.kds.requests());
}

#[tokio::test]
async fn prefetch_waits_for_amds_pauses_and_ends_at_its_silence() {
    let operator = Operator::file(&Contents::default()).await;
    let (files, kds) = (Files::new(), kds());
    let chip = Chip::new(Product::Milan, 1);
    kds.add(&chip);
    let named = ["--product", "milan", "--chip-id", &hex(&chip), "--tcb", &levels(&chip)];
    // The client sends a request up to three times.
    kds.script(Kind::Vcek, vec![Behaviour::Status(429, Some(1)); 3]);
    assert_eq!(prefetch(&operator, &files, &kds, &named), (Some(0), vec!["fetched".to_owned()]));

    kds.otherwise(Behaviour::Reset);
    let lines: String = [2, 3]
        .map(|seed| {
            let chip = Chip::new(Product::Milan, seed);
            format!("milan {} {}\n", hex(&chip), levels(&chip))
        })
        .concat();
    let fleet = files.write("fleet.txt", lines);
    let (code, results) = prefetch(&operator, &files, &kds, &["--from", &fleet]);
    assert_eq!((code, results), (Some(4), vec!["failed".to_owned(), "not_asked_for".to_owned()]));
}

#[tokio::test]
async fn imported_certificates_serve_a_guest_without_amd() {
    let world = World::serve(&[]);
    let (operator, files) = (Operator::of(&world), Files::new());
    world.kds.otherwise(Behaviour::Status(503, None));
    let machine = world.milan();
    let vcek = files.write("vcek.der", &machine.vek.certificate);
    let chain = files.write("cert_chain.pem", amd(Product::Milan).chain_pem(Ca::Ask));
    let crl = files.write("crl.der", amd(Product::Milan).crl(&CrlOptions::default()));
    let (code, document) = json(&operator, &files, &["import", "--list-for", "vcek", &vcek, &crl, &chain]);
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(strings(&document, "imported", "result"), ["imported"; 3]);
    world.boots_a_guest(&unique("w")).await;
    assert_eq!(world.kds.count(Kind::Vcek), 0);
}

#[tokio::test]
async fn a_file_that_amd_did_not_sign_stops_the_whole_import() {
    for operator in Operator::everywhere(&Contents::default()).await {
        let files = Files::new();
        let sound = amd(Product::Milan).crl(&CrlOptions::default());
        let crl = files.write("crl.der", &sound);
        let chain = files.write("chain.pem", amd(Product::Milan).chain_pem(Ca::Ask));
        let mut vcek = amd(Product::Milan).vcek(&Chip::new(Product::Milan, 1)).certificate;
        *vcek.last_mut().unwrap() ^= 1;
        let forged = files.write("forged.der", vcek);
        let corrupt = CrlOptions { corrupt_signature: true, ..CrlOptions::default() };
        let corrupt = files.write("corrupt.der", amd(Product::Milan).crl(&corrupt));
        let day = SignedDuration::from_hours(24);
        let old = CrlOptions {
            this_update: Some(Timestamp::now() - day * 100),
            next_update: Some(Timestamp::now() - day * 8),
            ..CrlOptions::default()
        };
        let old = files.write("old.der", amd(Product::Milan).crl(&old));
        let junk = files.write("junk", "no certificate");
        for (bad, said) in [
            (&forged, "was not signed by its issuer"),
            (&corrupt, "was not signed by the ARK"),
            (&old, "counted until"),
        ] {
            let for_simulated = bad != &old;
            let ended = run(&operator, &files, &["import", "--list-for", "vcek", &crl, &chain, bad]);
            assert_eq!((ended.code, ended.out.as_str()), (Some(3), ""), "{}: {ended:?}", operator.kind);
            assert!(ended.log.contains(said), "{ended:?}");
            // No root helps a list whose time is over.
            assert_eq!(ended.log.contains("--trust-anchor"), for_simulated, "{ended:?}");
        }
        // A file that cannot be read was not verified, so it is no denial.
        let unread = run(&operator, &files, &["import", "--list-for", "vcek", &crl, &chain, &junk]);
        assert_eq!((unread.code, unread.out.as_str()), (Some(5), ""), "{}: {unread:?}", operator.kind);
        assert!(unread.log.contains("neither PEM"), "{unread:?}");
        // A revocation list does not name a kind of key.
        let unsaid = run(&operator, &files, &["import", &crl]);
        assert_eq!(unsaid.code, Some(2), "{unsaid:?}");
        assert!(unsaid.log.contains("--list-for"), "{unsaid:?}");
        let untrusted = operator.run(&["certificates", "import", "--list-for", "vcek", &crl]);
        assert_eq!(untrusted.code, Some(3), "{untrusted:?}");
        assert!(listed(&operator, &files).is_empty(), "{}", operator.kind);
    }
}

/// A command that has nothing to do does not say that it is done.
#[tokio::test]
async fn files_that_bring_nothing_are_no_success() {
    for operator in Operator::everywhere(&Contents::default()).await {
        let files = Files::new();
        let roots = run(&operator, &files, &["import", &files.text("anchors.pem"), "--json"]);
        assert_eq!((roots.code, roots.out.as_str()), (Some(5), ""), "{}: {roots:?}", operator.kind);
        assert!(roots.log.contains("nothing was imported"), "{roots:?}");
        let list = files.write("fleet.txt", "# to come\n\n");
        let none = run(&operator, &files, &["prefetch", "--from", &list]);
        assert_eq!((none.code, none.out.as_str()), (Some(5), ""), "{}: {none:?}", operator.kind);
        assert!(none.log.contains("fleet.txt: the list names no chip"), "{none:?}");
        // One list of a fleet may be empty: it is the next that cannot be used.
        let [other, both] = [files.write("other.txt", "no chip"), files.write("fleet.txt", "")];
        let next = run(&operator, &files, &["prefetch", "--from", &both, "--from", &other]);
        assert!(next.code == Some(5) && next.log.contains("line 1 of"), "{next:?}");
    }
}

#[test]
fn a_product_alone_names_no_chip_and_the_answer_names_every_way_to_do_so() {
    let ended = program::run(&["certificates", "prefetch", "--product", "milan"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for way in ["--report", "--vcek-url", "--from", "--chip-id"] {
        assert!(ended.log.contains(way), "{way}: {ended:?}");
    }
}

#[tokio::test]
async fn an_older_revocation_list_never_replaces_a_later_one() {
    for operator in Operator::everywhere(&Contents::default()).await {
        let files = Files::new();
        let ago = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
        let list = |days| {
            let options = CrlOptions { this_update: Some(ago(days)), ..CrlOptions::default() };
            amd(Product::Milan).crl(&options)
        };
        let (older, later) = (files.write("older.der", list(20)), files.write("later.der", list(2)));
        let result = |file: &str| {
            let (code, document) = json(&operator, &files, &["import", "--list-for", "vcek", file]);
            assert_eq!(code, Some(0), "{document}");
            strings(&document, "imported", "result").concat()
        };
        assert_eq!([&older, &later, &older].map(|file| result(file)), ["imported", "imported", "later_held"]);
        let (_, document) = json(&operator, &files, &["list"]);
        let age = document["rows"][0]["age"].as_i64().unwrap();
        assert_eq!(age / 86_400, 2, "{document}");
    }
}

#[tokio::test]
async fn purge_deletes_named_certificates_and_keeps_the_lists() {
    for operator in Operator::everywhere(&Contents::default()).await {
        let files = Files::new();
        let mut vceks = Vec::new();
        for seed in [1, 2] {
            let vek = amd(Product::Milan).vcek(&Chip::new(Product::Milan, seed));
            vceks.push(files.write(&format!("{seed}.der"), vek.certificate));
        }
        let turin = amd(Product::Turin).vcek(&Chip::new(Product::Turin, 3));
        vceks.push(files.write("3.der", turin.certificate));
        let asks: Vec<_> = [Product::Milan, Product::Turin]
            .iter()
            .map(|one| files.write(&format!("{one}.pem"), amd(*one).chain_pem(Ca::Ask)))
            .collect();
        let crl = files.write("crl.der", amd(Product::Milan).crl(&CrlOptions::default()));
        let all: Vec<&str> = ["import", "--list-for", "vcek"]
            .into_iter()
            .chain(vceks.iter().chain(&asks).map(String::as_str))
            .chain([crl.as_str()])
            .collect();
        assert_eq!(run(&operator, &files, &all).code, Some(0));
        let count = || listed(&operator, &files).len();
        let deleted = |arguments: &[&str]| {
            let (code, document) = json(&operator, &files, &[&["purge"], arguments].concat());
            assert_eq!(code, Some(0), "{document}");
            document["deleted"].as_array().unwrap().len()
        };
        assert_eq!(count(), 6, "{}", operator.kind);

        let nobody = run(&operator, &files, &["purge", "--product", "milan"]);
        assert_eq!(nobody.code, Some(2), "{nobody:?}");
        assert!(nobody.log.contains("no terminal to ask at"), "{nobody:?}");
        assert_eq!(run(&operator, &files, &["purge", "--yes"]).code, Some(2), "purge needs a filter");
        assert_eq!(deleted(&["--product", "milan", "--dry-run"]), 3);
        assert_eq!(deleted(&["--older-than", "1d", "--yes"]), 0);
        assert_eq!(count(), 6);
        let chip = hex(&Chip::new(Product::Milan, 2));
        assert_eq!(deleted(&["--chip-id", &chip, "--yes"]), 1);
        assert_eq!(deleted(&["--chip-id", &hex(&Chip::new(Product::Turin, 3))[..16], "--yes"]), 1);
        assert_eq!(deleted(&["--product", "milan", "--yes"]), 2);
        let left: Vec<_> = listed(&operator, &files).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(left, ["revocation-list", "chain"], "{}", operator.kind);
        assert_eq!(deleted(&["--product", "milan", "--revocation-lists", "--yes"]), 1);
        assert_eq!(count(), 1);
    }
}

/// A running broker uses what the store holds, and no copy in its memory.
#[tokio::test]
async fn a_running_broker_sees_a_purge_or_an_import_at_once() {
    let world = World::serve(&[]);
    let (operator, files) = (Operator::of(&world), Files::new());
    let machine = world.milan();
    world.boots_a_guest(&unique("w")).await;
    let asked = |kind| world.kds.count(kind);
    assert_eq!((asked(Kind::Vcek), asked(Kind::Chain), asked(Kind::Crl)), (1, 1, 1));
    world.boots_a_guest(&unique("w")).await;
    assert_eq!((asked(Kind::Vcek), asked(Kind::Chain), asked(Kind::Crl)), (1, 1, 1));

    let chip = data_encoding::HEXLOWER.encode(&machine.report([0; 64])[0x1A0..0x1E0]);
    let (code, purged) = json(&operator, &files, &["purge", "--chip-id", &chip, "--yes"]);
    assert_eq!((code, purged["deleted"].as_array().unwrap().len()), (Some(0), 1));
    world.boots_a_guest(&unique("w")).await;
    assert_eq!((asked(Kind::Vcek), asked(Kind::Chain), asked(Kind::Crl)), (2, 1, 1));
    let arguments = ["purge", "--product", "milan", "--revocation-lists", "--yes"];
    assert_eq!(run(&operator, &files, &arguments).code, Some(0));
    world.boots_a_guest(&unique("w")).await;
    assert_eq!((asked(Kind::Vcek), asked(Kind::Chain), asked(Kind::Crl)), (3, 2, 2));

    // An imported list revokes the ASK before the broker asks AMD for another list.
    let revoked = vec![Ca::Ask.serial(Product::Milan)];
    let this_update = Some(Timestamp::now() - SignedDuration::from_mins(1));
    let crl = amd(Product::Milan).crl(&CrlOptions { revoked, this_update, ..CrlOptions::default() });
    let crl = files.write("crl.der", crl);
    assert_eq!(run(&operator, &files, &["import", "--list-for", "vcek", &crl]).code, Some(0));
    let id = unique("w");
    world.register(&id).await;
    world.assert_refused(world.krun(&id, machine).boot().await, (403, "revocation"));
}

/// The store keeps an ASK that AMD has replaced beside the new one: chips of both boot without AMD.
#[tokio::test]
async fn an_imported_ask_stays_beside_the_earlier_one() {
    let operator = Operator::file(&Contents::default()).await;
    let files = Files::new();
    let amd = amd(Product::Milan);
    let anew = Overrides { serial: Some(vec![7]), ..Overrides::default() };
    let rogue = Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rogue)), ..anew };
    let later = files.write("later.pem", pem(&amd.ca(Ca::Ask, &rogue)));
    let earlier = files.write("earlier.pem", pem(amd.ask()));
    let by_later = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
    let one = files.write("1.der", amd.vcek(&Chip::new(Product::Milan, 1)).certificate);
    let other = files.write("2.der", amd.vcek_with(&Chip::new(Product::Milan, 2), &by_later).certificate);
    for file in [&earlier, &one, &later, &other] {
        let ended = run(&operator, &files, &["import", file]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let states: Vec<_> =
        listed(&operator, &files).into_iter().map(|(kind, state)| kind + " " + &state).collect();
    assert_eq!(states, ["certificate ok", "certificate ok", "chain ok"]);
}

#[tokio::test]
async fn an_impossible_chip_is_refused_before_amd_is_asked() {
    let operator = Operator::file(&Contents::default()).await;
    let (files, kds) = (Files::new(), kds());
    let url = kds.url();
    let mut masked = Machine::new(amd(Product::Milan), &Chip::new(Product::Milan, 1));
    masked.fields.chip_id = [0; 64];
    let masked = files.write("masked.bin", masked.report([0; 64]));
    let broken = files.write("broken.txt", "milan 00 bl=1\n");
    for (arguments, code) in [
        (vec![], 2),
        (vec!["--product", "milan"], 2),
        (vec!["--chip-id", "ab"], 2),
        (vec!["--vcek-url", "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain"], 2),
        (vec!["--report", "/nowhere"], 5),
        (vec!["--report", &masked], 5),
        (vec!["--from", &broken], 5),
    ] {
        let ended =
            run(&operator, &files, &[&["prefetch", "--kds-url", &url], arguments.as_slice()].concat());
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{arguments:?}: {ended:?}");
    }
    assert!(kds.requests().is_empty());
}
