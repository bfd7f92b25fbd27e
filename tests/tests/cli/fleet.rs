//! The operator's requirements for every guest: `--minimum-tcb` and `--accept-product` of `serve` and
//! `verify`.

use keybroker_simulator::{
    Product,
    guest::{KeybrokerGuest, Machine},
    rvp::RvpCli,
};
use keybroker_tests::{
    genuine,
    program::{self, Ended},
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::Value;

/// The TCB that a simulated Milan reports.
const MILAN: &str = "milan-b1:bl=4,tee=0,snp=24,ucode=219";
/// The TCB that a simulated Turin reports.
const TURIN: &str = "turin-c1:fmc=1,bl=1,tee=1,snp=4,ucode=81";

#[tokio::test]
async fn a_guest_below_the_operators_floor_is_refused() {
    let floors = ["--minimum-tcb", "milan-b1:ucode=220", "--minimum-tcb", TURIN];
    let Some(world) = World::with(&floors, "a floor for every guest") else { return };
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let below = "the operator demands a reported TCB of at least ucode=220";
    let record = world
        .assert_refused(world.polite(&id, world.milan()).boot().await, (403, "fleet-minimum-tcb"))
        .unwrap();
    assert!(record["failed"]["cause"].as_str().unwrap().contains(below), "{record}");
    // A guest at the floor boots. One on silicon that no floor names does not.
    let turin = world.machine(Product::Turin, 1);
    assert_eq!(world.polite(&id, turin).boot().await, Ok(passphrase.into_bytes()));
    let genoa = world.polite(&id, world.machine(Product::Genoa, 1)).boot().await;
    let record = world.assert_refused(genoa, (403, "fleet-minimum-tcb")).unwrap();
    assert!(record["failed"]["cause"].as_str().unwrap().ends_with("nothing for genoa-b1"), "{record}");
    let mut milan_x = world.milan();
    milan_x.fields.cpuid = [0x19, 0x01, 2];
    let record = world.assert_refused(world.polite(&id, milan_x).boot().await, (403, "fleet-minimum-tcb"));
    assert!(record.unwrap()["failed"]["cause"].as_str().unwrap().ends_with("nothing for milan-x"));
    // A query cannot lift the floor.
    let cli = RvpCli { query: vec!["true".to_owned()], ..RvpCli::new(&world.url, &MEASUREMENT, "s") };
    let host_data = RvpCli::host_data(&cli.register().await.unwrap()).unwrap();
    let launched = |mut machine: Machine| {
        machine.fields.host_data = host_data;
        KeybrokerGuest::new(&world.url, machine).unwrap()
    };
    world.assert_refused(launched(world.milan()).boot("passphrase").await, (403, "fleet-minimum-tcb"));
    assert_eq!(launched(world.machine(Product::Turin, 1)).boot("passphrase").await, Ok(b"s".to_vec()));
}

#[tokio::test]
async fn a_product_that_the_operator_does_not_accept_is_refused() {
    let products = ["--accept-product", "genoa", "--accept-product", "Turin"];
    let Some(world) = World::with(&products, "products that are not accepted") else { return };
    let id = unique("w");
    let passphrase = world.register(&id).await;
    world.assert_refused(world.polite(&id, world.milan()).boot().await, (403, "fleet-product"));
    for product in [Product::Genoa, Product::Turin] {
        let machine = world.machine(product, 1);
        assert_eq!(world.polite(&id, machine).boot().await, Ok(passphrase.clone().into_bytes()), "{product}");
    }
}

/// The exit code, and the checks that failed, for the genuine sample: a Milan.
fn verify(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let (report, vcek) = genuine::sev_sample();
    let (report, vcek) = (report.to_str().unwrap(), vcek.to_str().unwrap());
    let sample =
        ["verify", "--report", report, "--endorsement", vcek, "--at", "2026-06-01T00:00:00Z", "--json"];
    let ended = program::run(&[&sample, arguments].concat());
    let verdict: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let failed = verdict["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "failed");
    (ended.code, failed.map(|check| check["check"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn verify_applies_the_operators_floor_and_products() {
    let fails = |check: &str| (Some(3), vec![check.to_owned()]);
    assert_eq!(verify(&["--minimum-tcb", "milan:bl=0,tee=0,snp=0,ucode=0"]), (Some(0), vec![]));
    for component in ["bl", "tee", "snp", "ucode"] {
        let floor =
            "milan:bl=0,tee=0,snp=0,ucode=0".replace(&format!("{component}=0"), &format!("{component}=255"));
        assert_eq!(verify(&["--minimum-tcb", &floor]), fails("fleet-minimum-tcb"), "{floor}");
    }
    // The sample is of version 2, which names no stepping: its product's floor holds.
    assert_eq!(verify(&["--minimum-tcb", "genoa:snp=0"]), fails("fleet-minimum-tcb"));
    assert_eq!(verify(&["--minimum-tcb", "milan-b1:snp=0"]), fails("fleet-minimum-tcb"));
    assert_eq!(
        verify(&["--minimum-tcb", "milan:snp=0", "--minimum-tcb", "genoa:snp=255"]),
        (Some(0), vec![])
    );
    assert_eq!(verify(&["--accept-product", "genoa"]), fails("fleet-product"));
    assert_eq!(verify(&["--accept-product", "genoa", "--accept-product", "MILAN"]), (Some(0), vec![]));
}

#[test]
fn the_environment_sets_the_same_floor_and_products() {
    let (report, vcek) = genuine::sev_sample();
    let with = |name: &str, value: &str| -> Ended {
        let mut command = program::keybroker();
        command.env(name, value).args(["verify", "--at", "2026-06-01T00:00:00Z", "--report"]);
        command.arg(&report).arg("--endorsement").arg(&vcek).output().unwrap().into()
    };
    for (name, value, code) in [
        ("KEYBROKER_MINIMUM_TCB", format!("{TURIN};milan:bl=0,tee=0,snp=0,ucode=0"), 0),
        ("KEYBROKER_MINIMUM_TCB", format!("{TURIN};milan:bl=0,tee=0,snp=255,ucode=0"), 3),
        ("KEYBROKER_MINIMUM_TCB", format!("{MILAN};{MILAN}"), 2),
        ("KEYBROKER_MINIMUM_TCB", "milan".to_owned(), 2),
        ("KEYBROKER_MINIMUM_COMMITTED_TCB", "milan:snp=255".to_owned(), 3),
        ("KEYBROKER_MINIMUM_CURRENT_TCB", "milan:snp=255".to_owned(), 3),
        ("KEYBROKER_MINIMUM_LAUNCH_TCB", "milan:snp=255".to_owned(), 3),
        ("KEYBROKER_CURRENT_MITIGATIONS", "milan:none".to_owned(), 3),
        ("KEYBROKER_LAUNCH_MITIGATIONS", "milan:1".to_owned(), 3),
        ("KEYBROKER_REQUIRE_PLATFORM", "alias-check".to_owned(), 3),
        ("KEYBROKER_MINIMUM_FIRMWARE", "255.0.0".to_owned(), 3),
        ("KEYBROKER_ACCEPT_CHIPS", "07".repeat(64), 3),
        ("KEYBROKER_ACCEPT_PRODUCTS", "genoa;milan".to_owned(), 0),
        ("KEYBROKER_ACCEPT_PRODUCTS", "genoa;turin".to_owned(), 3),
        ("KEYBROKER_ACCEPT_PRODUCTS", "genoa;rome".to_owned(), 2),
    ] {
        let ended = with(name, &value);
        assert_eq!(ended.code, Some(code), "{name}={value}: {ended:?}");
    }
}

/// A floor with a typing error must not be accepted: it would be another floor than the operator means.
#[test]
fn a_malformed_floor_or_product_ends_serve_with_2() {
    let table: [(&[&str], &str); 16] = [
        (&["--minimum-tcb", "milan"], "is not of the form"),
        (&["--minimum-tcb", ""], "is not of the form"),
        (&["--minimum-tcb", "rome:bl=4,tee=0,snp=24,ucode=219"], "names neither a product"),
        (&["--minimum-tcb", "milan:"], "is not of the form"),
        (&["--minimum-tcb", "milan:snp=+24"], "from 0 to 255"),
        (&["--minimum-tcb", "milan:bl=4,tee=0,snp=24,ucode=256"], "from 0 to 255"),
        (&["--minimum-tcb", "milan:fmc=1,bl=4,tee=0,snp=24,ucode=219"], "fmc (Turin)"),
        (&["--minimum-tcb", "turin:bl=4,bl=5"], "once each"),
        (&["--current-mitigations", "milan-b1:64"], "bits from 0 to 63"),
        (&["--require-platform", "smt"], "none of the platform's conditions"),
        (&["--minimum-firmware", "1.55"], "MAJOR.MINOR.BUILD"),
        (&["--accept-chip", "07"], "must be a chip id"),
        (&["--minimum-tcb", MILAN, "--minimum-tcb", MILAN], "names the same silicon twice"),
        (&["--accept-product", "rome"], "must be milan, genoa or turin"),
        (&["--accept-product", ""], "--accept-product"),
        (&["--accept-product"], "--accept-product"),
    ];
    let (report, vcek) = genuine::sev_sample();
    let (report, vcek) = (report.to_str().unwrap(), vcek.to_str().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let key = directory.path().join("key");
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
        "--key-file",
        key.to_str().unwrap(),
    ];
    for (arguments, says) in table {
        for command in [&serve[..], &["verify", "--report", report, "--endorsement", vcek]] {
            let ended = program::run(&[command, arguments].concat());
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
            assert!(ended.log.contains(says), "{says}: {ended:?}");
        }
    }
    assert!(!data.exists() && !key.exists());
}
