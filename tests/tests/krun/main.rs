//! krun: `keybroker measure krun`, `keybroker krun-initrd`, and guests of the libraries that it links.
//!
//! The distribution's library is a stand-in with the same exports: its qboot and kernel run nothing. No
//! SEV-SNP machine was at hand, so a guest is a simulated report with the measurement that its library has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod image;

use std::{fs, num::NonZeroU8, path::Path};

use keybroker_initdata::{BrokerKey, Document};
use keybroker_krun::Library;
use keybroker_native::{
    Evidence, Suite,
    client::{Challenge, Pending, Problem},
};
use keybroker_simulator::Product;
use keybroker_snp::measurement::krun::{Fpu, measure};
use keybroker_testing::krunfw::Krunfw;
use keybroker_tests::{
    operator::Operator,
    passphrase,
    program::{self, Ended},
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};

use image::Image;

/// A broker with a signing key, and an operator beside it.
fn broker() -> (World, Operator) {
    let world = World::serve(&["--registration", "open;token"]);
    let key_file = world.home().key_file();
    let operator = Operator::of(&world).with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap());
    operator.out(&["keys", "prepare"]);
    (world, operator)
}

/// A guest of the broker's own protocol, as `/init` asks for the passphrase of its document's workload.
fn asks(world: &World, text: &str, measurement: [u8; 48]) -> Result<String, Problem> {
    let document = Document::parse(text).unwrap();
    let settings = document.keybroker();
    let challenge = world.ask("POST", "/v1/challenge", &[], Some("{}"));
    let challenge = Challenge::from_json(&challenge.body).unwrap();
    let keys: Vec<&BrokerKey> = settings.broker_keys.iter().map(|key| &key.key).collect();
    let ids = keys.iter().map(|key| key.id()).collect();
    let (workload, secrets) = (&settings.workload, vec!["passphrase".to_owned()]);
    let pending = Pending::new(Suite::P384, &challenge, workload, secrets, document.digest(), ids).unwrap();
    let mut machine = world.machine(Product::Milan, 1);
    machine.fields.measurement = measurement;
    let report = machine.report(pending.report_data()).to_vec();
    let body = String::from_utf8(pending.request(&Evidence::of_report(report, Vec::new()))).unwrap();
    let response = world.ask("POST", "/v1/release", &[], Some(&body));
    match response.status {
        200 => {
            let opened = pending.open(&response.body, &keys).unwrap();
            Ok(String::from_utf8(opened.secrets[0].to_vec()).unwrap())
        }
        _ => Err(Problem::from_json(&response.body).unwrap()),
    }
}

/// The measurement of a guest from the library in `directory`.
fn launched(directory: &Path, fpu: Fpu) -> [u8; 48] {
    let bytes = fs::read(directory.join("libkrunfw-sev.so.4")).unwrap();
    let library = Library::parse(&bytes).unwrap();
    measure(&library.firmware, NonZeroU8::new(2).unwrap(), 512, fpu).unwrap()
}

fn of_hex(value: &Value) -> [u8; 48] {
    data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap()
}

fn said(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.log.contains(words), "{words}: {ended:?}");
}

#[test]
fn a_library_is_measured_without_running_it() {
    let image = Image::new("w", "secret");
    let library = image.library.to_str().unwrap();
    let measure = ["measure", "krun", "--library", library];
    let run = |arguments: &[&str]| program::run(&[&measure[..], arguments].concat());
    let ended = run(&["--vcpus", "1,2", "--memory", "512,1024", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let output: Value = serde_json::from_str(&ended.out).unwrap();
    let measured = output["measurements"].as_array().unwrap();
    let sizes: Vec<_> = measured.iter().map(|one| (&one["vcpus"], &one["memory"], &one["fpu"])).collect();
    let of = |vcpus: u8, memory: u32| [false, true].map(|fpu| json!([vcpus, memory, fpu]));
    let expected = [of(1, 512), of(1, 1024), of(2, 512), of(2, 1024)].concat();
    assert_eq!(sizes.iter().map(|(a, b, c)| json!([a, b, c])).collect::<Vec<_>>(), expected);
    let directory = image.library.parent().unwrap();
    let of_two = |fpu: bool| {
        let this = |one: &&Value| {
            **one
                == json!({
                    "measurement": one["measurement"], "vmm": "krun", "vcpus": 2, "memory": 512, "fpu": fpu,
                    "library": { "file": library, "sha256": one["library"]["sha256"] },
                })
        };
        of_hex(&measured.iter().find(this).unwrap()["measurement"])
    };
    assert_eq!(of_two(false), launched(directory, Fpu::Zero));
    assert_eq!(of_two(true), launched(directory, Fpu::Initial));
    let lines = run(&["--cpus", "2", "--memory", "512"]);
    assert!(lines.out.contains(&data_encoding::HEXLOWER.encode(&of_two(true))), "{lines:?}");

    said(
        &run(&["--cpus", "2", "--memory", "8"]),
        1,
        "libkrun cannot launch this guest: kernel and initrd end at",
    );
    let other = ["measure", "krun", "--library", "/proc/self/exe", "--cpus", "2", "--memory", "512"];
    said(&program::run(&other), 5, "the library does not export krunfw_get_qboot: it is not libkrunfw-sev");
    let none = ["measure", "krun", "--library", "/nowhere", "--cpus", "2", "--memory", "512"];
    said(&program::run(&none), 5, "reading /nowhere: No such file");
}

/// The measurement of a guest of two vCPUs and 512 MiB, told of from other sizes and another library.
#[test]
fn a_guest_of_another_size_or_library_is_told_apart() {
    let (image, directory) = (Image::new("w", "secret"), tempfile::tempdir().unwrap());
    let other = Krunfw { initrd: vec![7; 4096], ..Krunfw::default() }.build(directory.path());
    let [library, other] = [&image.library, &other].map(|path| path.to_str().unwrap());
    let directory = image.library.parent().unwrap();
    for fpu in Fpu::ALL {
        let digest = data_encoding::HEXLOWER.encode(&launched(directory, fpu));
        let said = |arguments: &[&str], words: &str| {
            let ended = program::run(&[&["measure", "krun", "--explain", &digest], arguments].concat());
            assert_eq!((ended.code, ended.out.trim_end()), (Some(0), words), "{ended:?}");
        };
        let expected = "The guest was launched as you say: 2 vCPUs, and 512 MiB of RAM.";
        said(&["--library", library, "--vcpus", "1,2", "--memory", "512"], expected);
        let more = "The guest was launched with 2 vCPUs, not 4: give --vcpus 2.";
        said(&["--library", library, "--vcpus", "4", "--memory", "512"], more);
        let both = "The guest was launched with 2 vCPUs, not 1 or 4, and with 512 MiB of RAM, not 1024: give \
                    --vcpus 2 --memory 512.";
        said(&["--library", library, "--vcpus", "1,4", "--memory", "1024"], both);
        let unknown =
            "The guest was launched with 2 vCPUs, and with 512 MiB of RAM: give --vcpus 2 --memory 512.";
        said(&["--library", library], unknown);
        let named = format!(
            "The guest was launched with the library {library}, not {other}: give --library {library}."
        );
        said(&["--library", other, "--firmware", library, "--vcpus", "2", "--memory", "512"], &named);
    }
    let digest = "66".repeat(48);
    let ended = program::run(&["measure", "krun", "--library", library, "--explain", &digest]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.starts_with("No likely neighbour of this launch has the measurement: "), "{ended:?}");
}

/// buildah registers the measurement that every image shares. After krun-initrd that registration is gone,
/// and only the workload's own library gets the passphrase. Images that were made before go on booting.
#[tokio::test]
async fn a_workload_gets_a_measurement_of_its_own_and_buildahs_registration_ends() {
    let (world, operator) = broker();
    let earlier = unique("earlier");
    let earlier_passphrase = world.register(&earlier).await;
    let (id, secret) = (unique("web"), passphrase());
    world.build(&id, &secret).register().await.unwrap();
    let stock = world.krun(&id, world.milan()).boot().await;
    assert_eq!(stock, Ok(secret.clone().into_bytes()), "any guest of the stock measurement gets it");

    // The host of that guest may know the disk's key: the operator has to say that this is taken into
    // account.
    let image = Image::new(&id, &secret);
    said(&image.run(&operator, &[]), 1, &format!("a guest has had the passphrase of {id} since"));
    let output = image.bind(&operator, &["--yes-released"]);
    assert_eq!(output["workload_id"], id.as_str());
    assert!(output.get("revoked").is_none(), "{output}");
    let text = image.document();
    for (fpu, name) in [(Fpu::Zero, "measurement"), (Fpu::Initial, "measurement_with_fpu")] {
        assert_eq!(of_hex(&output[name]), launched(&image.out(), fpu), "{name}");
        assert_eq!(asks(&world, &text, launched(&image.out(), fpu)), Ok(secret.clone()), "{name}");
    }
    let refused = asks(&world, &text, MEASUREMENT).unwrap_err();
    assert_eq!(refused.status, 403, "{refused:?}");
    // The registration lists the broker's own protocol alone.
    world.assert_refused(world.krun(&id, world.milan()).boot().await, (403, "workload"));
    let shown = operator.json(&["workload", "show", &id]);
    assert!(shown.to_string().contains("v1") && !shown.to_string().contains("libkrun"), "{shown}");

    let v0 = world.krun(&earlier, world.milan()).boot().await;
    assert_eq!(v0, Ok(earlier_passphrase.into_bytes()), "images that were made before go on booting");
}

#[tokio::test]
async fn two_workloads_on_one_host_have_two_libraries_and_neither_gets_the_others_passphrase() {
    let (world, operator) = broker();
    let images = ["web", "db"].map(|name| {
        let image = Image::new(&unique(name), &passphrase());
        image.bind(&operator, &[]);
        image
    });
    let [web, db] = &images;
    let [of_web, of_db] = [web, db].map(|image| launched(&image.out(), Fpu::Zero));
    assert_ne!(of_web, of_db);
    let [text_of_web, text_of_db] = [web, db].map(Image::document);
    assert_eq!(asks(&world, &text_of_web, of_web), Ok(web.passphrase.clone()));
    assert_eq!(asks(&world, &text_of_db, of_db), Ok(db.passphrase.clone()));
    // A guest of the one library that claims to be the other workload.
    assert_eq!(asks(&world, &text_of_db, of_web).unwrap_err().status, 403);
    assert_eq!(asks(&world, &text_of_web, of_db).unwrap_err().status, 403);
}

#[tokio::test]
async fn under_another_id_buildahs_workload_is_revoked_if_it_is_named() {
    let (world, operator) = broker();
    let (buildahs, id, secret) = (unique("buildah"), unique("web"), passphrase());
    world.build(&buildahs, &secret).register().await.unwrap();
    let image = Image::new(&buildahs, &secret);
    let output = image.bind(&operator, &["--workload-id", &id, "--revoke", &buildahs]);
    assert_eq!(
        (&output["workload_id"], &output["revoked"]),
        (&id.as_str().into(), &buildahs.as_str().into())
    );
    assert_eq!(asks(&world, &image.document(), launched(&image.out(), Fpu::Zero)), Ok(secret));
    world.assert_refused(world.krun(&buildahs, world.milan()).boot().await, (403, "workload"));
    let shown = operator.json(&["workload", "show", &buildahs]);
    assert!(shown["revoked_at"].is_string(), "{shown}");
}

/// A library that a guest runs from is not written over, nor is the file behind a link.
#[tokio::test]
async fn a_library_of_before_is_replaced() {
    let (_world, operator) = broker();
    let image = Image::new(&unique("web"), &passphrase());
    fs::create_dir(image.out()).unwrap();
    let (library, before) = (image.out().join("libkrunfw-sev.so.4"), image.out().join("before"));
    fs::write(&before, "in use").unwrap();
    std::os::unix::fs::symlink(&before, &library).unwrap();
    image.bind(&operator, &[]);
    assert_eq!(fs::read_to_string(before).unwrap(), "in use");
    assert!(library.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_dir(image.out()).unwrap().count(), 4, "nothing else is left");
}

/// Nothing binds a trailer: the maker of an image can write any workload's id into it.
#[tokio::test]
async fn the_word_of_a_trailer_ends_nobody_elses_registration() {
    let (world, operator) = broker();
    let (bound, builds, mine) = (unique("bound"), unique("builds"), unique("mine"));
    let victim = Image::new(&bound, &passphrase());
    victim.bind(&operator, &[]);
    let secret = world.register(&builds).await;

    // The id of a workload that is not buildah's.
    let image = Image::new(&bound, &passphrase());
    said(&image.run(&operator, &[]), 1, "which is not registered as buildah does");
    assert!(!image.out().exists());
    let named = image.run(&operator, &["--workload-id", &mine, "--revoke", &bound]);
    said(&named, 1, "is not registered as buildah does");
    let text = victim.document();
    assert_eq!(asks(&world, &text, launched(&victim.out(), Fpu::Zero)), Ok(victim.passphrase.clone()));

    // The id of another build: it is named, and not ended.
    let image = Image::new(&builds, &passphrase());
    let ended = image.run(&operator, &["--workload-id", &mine]);
    said(&ended, 0, &format!("to end that registration: --revoke {builds}"));
    assert_eq!(world.krun(&builds, world.milan()).boot().await, Ok(secret.into_bytes()));

    // The operator may replace a registration by its name, and sees whose it was.
    let again = victim.run(&operator, &["--workload-id", &bound]);
    said(&again, 0, &format!("replaces     {bound}, registered by"));
}

#[test]
fn a_dry_run_writes_and_registers_nothing() {
    let (_world, operator) = broker();
    let id = unique("web");
    let image = Image::new(&id, &passphrase());
    let arguments = image.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--dry-run", "--json"]);
    let ended = operator.run(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!image.out().exists());
    assert!(!format!("{ended:?}").contains(&image.passphrase), "{ended:?}");
    assert_eq!(operator.run(&["workload", "show", &id]).code, Some(1));
}

/// A person agrees to what was shown: a passphrase that a build registers meanwhile is not deleted.
#[tokio::test]
async fn what_is_registered_while_a_person_reads_is_not_replaced() {
    let (world, operator) = broker();
    let id = unique("web");
    let image = Image::new(&id, &passphrase());
    let arguments = image.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut terminal = operator.at_terminal(&arguments);
    terminal.wait_for("Register it? [y/N] ");
    let secret = world.register(&id).await;
    let (code, screen) = terminal.typed("y\n");
    assert!(code == Some(1) && screen.contains(&format!("{id} changed a moment ago")), "{screen}");
    assert!(!image.out().exists());
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(secret.into_bytes()));
}

#[test]
fn what_cannot_be_bound_is_refused_before_anything_is_registered() {
    let (_world, operator) = broker();
    let id = unique("web");
    let refused = |change: &dyn Fn(&mut Image), code: i32, words: &str| {
        let mut image = Image::new(&id, "secret");
        change(&mut image);
        let ended = image.run(&operator, &[]);
        said(&ended, code, words);
        assert_eq!(operator.run(&["workload", "show", &id]).code, Some(1), "{words}");
    };
    refused(&|image| image.alter(|disk| disk[0] = 0), 5, "reading the header of");
    refused(&|image| image.alter(|disk| disk.truncate(8192)), 5, "the image has no trailer of buildah");
    refused(&|image| image.alter(|disk| disk[8..19].copy_from_slice(b"cipher_null")), 5, "null cipher");
    refused(&|image| image.guest = "/bin/sh".into(), 5, "the program is not static");
    refused(&|image| image.guest = "/nowhere".into(), 5, "/nowhere");
    refused(&|image| image.library = image.guest.clone(), 5, "linking");
    // An initrd that reaches into the kernel.
    refused(&|image| image.enlarge_guest(8 << 20), 1, "and the library has room for 6291456");
}
