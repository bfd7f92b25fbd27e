//! The Debian package `keybroker`, installed in a Debian whose own systemd runs its units.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod bench;
mod hook;

use std::fs;

use keybroker_boots::system::System;
use keybroker_common::{
    dialect::Dialect,
    ids::{RegistrationDigest, WorkloadId},
    requirements::{AppraisalPolicy, Measurement, ReferenceValues},
    secret::{EncryptionContext, Secret, Wrap as _},
    workload::Registration,
};
use keybroker_embedded::key::LocalKey;
use keybroker_simulator::{
    guest::{KeybrokerGuest, KrunGuest},
    http::Endpoint,
    rvp::RvpCli,
    tls::Authority,
};
use keybroker_testing::earlier;
use keybroker_tests::{
    passphrase, program,
    tls::{NAME, Tunnel},
    world::{MEASUREMENT, World},
};
use uuid::Uuid;

use self::bench::{EARLIER, PACKAGE, Package, package, systemd};

/// The passphrase of a workload of release 0.1.
const OF_0_1: &str = "sealed by release 0.1";

/// One system, from its first installation to its last: what is true after each step depends on those before.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_installed_started_upgraded_removed_and_purged_and_no_secret_is_lost() {
    let Some(system) = systemd() else { return };
    let broker = Package::in_system(&system);

    installed_and_silent(&system);
    left_by_0_1(&system).await;
    let world = broker.serves(&system, &[]);
    confined(&system);
    upgraded_from_0_1(&system, &world).await;
    world.boots_a_guest("through-serve").await;
    under_a_policy(&world).await;
    relayed(&system, &world).await;

    let world = over_tls(&system, &broker).await;
    let before = main_pid(&system);
    system.run(&format!("dpkg --install {PACKAGE}"));
    assert_ne!(main_pid(&system), before, "what runs goes on as the new version");
    assert_eq!(
        system.run("dpkg-query --show --showformat '${Version}' keybroker"),
        env!("CARGO_PKG_VERSION")
    );
    system.run("grep --quiet '^# of the test' /etc/keybroker/serve.conf && systemctl enable keybroker");
    drop(world);

    let removed = system.run("dpkg --remove keybroker");
    assert!(!removed.contains("is kept"), "{removed}");
    assert_eq!(system.try_run("systemctl is-active keybroker").status.code(), Some(3));
    system.run("test -e /etc/keybroker/serve.conf && test -e /var/lib/keybroker/keybroker.redb");
    system.run(&format!("dpkg --install {PACKAGE}"));
    let world = broker.serves(&system, &[]);
    world.boots_a_guest("after-removal").await;
    drop(world);

    let purged = system.run("dpkg --purge keybroker");
    for kept in ["/var/lib/keybroker is kept", "/var/lib/keybroker-key is kept"] {
        assert!(purged.contains(kept), "{purged}");
    }
    system.run("test ! -e /etc/keybroker/serve.conf && test ! -e /usr/bin/keybroker");
    assert_eq!(system.run("find /etc/systemd -name 'keybroker*'"), "", "another installation starts nothing");
    system.run("test -e /var/lib/keybroker/keybroker.redb && test -e /var/lib/keybroker-key/key");
    system.run(&format!("dpkg --install {PACKAGE}"));
    let world = broker.serves(&system, &[]);
    let listed = operate(&system, "workload list");
    for id in ["w ", "through-serve", "after-removal"] {
        assert!(listed.contains(id), "{id}: {listed}");
    }
    drop(world);
}

/// Nothing runs because it was installed, and the units are sound and tight.
fn installed_and_silent(system: &System) {
    system.run(&format!("dpkg --install {EARLIER}"));
    for unit in ["keybroker", "keybroker-relay"] {
        assert_eq!(system.try_run(&format!("systemctl is-active {unit}")).status.code(), Some(3), "{unit}");
        assert_eq!(system.run(&format!("systemctl is-enabled {unit} || true")), "disabled\n");
        let file = format!("/usr/lib/systemd/system/{unit}.service");
        assert_eq!(system.run(&format!("systemd-analyze verify --man=no {file}")), "");
        // In tenths: exposure 2.0 at most.
        let security =
            system.run(&format!("systemd-analyze security --offline=true --threshold=20 --no-pager {file}"));
        println!("{unit}: {}", security.lines().last().unwrap_or_default());
    }
    // A relay that knows no broker says so, and is not started again and again.
    assert!(!system.try_run("systemctl start keybroker-relay").status.success());
    let said =
        system.run("systemctl show -p ExecMainStatus,NRestarts keybroker-relay; systemctl reset-failed");
    assert!(said.contains("ExecMainStatus=2") && said.contains("NRestarts=0"), "{said}");
}

/// A store of release 0.1 and its key, where the unit looks for them.
async fn left_by_0_1(system: &System) {
    system.run("install -d -m 0700 -o keybroker -g keybroker /var/lib/keybroker /var/lib/keybroker-key");
    let key = LocalKey::create(&system.files.path("/var/lib/keybroker-key/key")).unwrap();
    let registration = Registration {
        serial: Uuid::new_v4(),
        dialects: Dialect::Libkrun.into(),
        owner: None,
        reference_values: ReferenceValues { measurements: vec![Measurement(MEASUREMENT)] },
        policy: AppraisalPolicy::default(),
        rego: None,
    };
    let registration = registration.to_bytes().unwrap();
    let context = EncryptionContext {
        workload_id: WorkloadId::new("w").unwrap(),
        secret: "passphrase".to_owned(),
        registration: RegistrationDigest::of(&registration),
    };
    let sealed = key.wrap_secret(&context, &Secret::new(OF_0_1.into())).await.unwrap();
    earlier::store_of_0_1(&system.files.path("/var/lib/keybroker/keybroker.redb"), &registration, &sealed);
    system.run("chown --recursive keybroker: /var/lib/keybroker*");
}

/// The store was changed and a copy kept, and a guest gets what 0.1 sealed.
async fn upgraded_from_0_1(system: &System, world: &World) {
    system.run("test -e /var/lib/keybroker/keybroker.redb.format-1");
    let listed = operate(system, "workload list --json");
    assert!(listed.contains(r#""id": "w""#), "{listed}");
    assert_eq!(world.krun("w", world.milan()).boot().await, Ok(OF_0_1.into()));
    let explained = operate(system, &format!("audit {}", earlier::RECORD));
    assert!(explained.contains("attested"), "{explained}");
    let doctor = system.run(
        "systemd-run --pipe --wait --quiet --uid=keybroker --property=EnvironmentFile=/etc/keybroker/serve.conf \
         keybroker doctor || true",
    );
    assert!(
        doctor.contains("the running broker has the store") && !doctor.contains("fail  key "),
        "{doctor}"
    );
}

/// The process has the user, and no more than the unit leaves it.
fn confined(system: &System) {
    let process = main_pid(system);
    let status = system.run(&format!("cat /proc/{process}/status"));
    let field = |name: &str| {
        let line =
            status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {status}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("Uid:"), system.run("id --user keybroker").trim());
    for (name, value) in [("CapBnd:", "0000000000000000"), ("NoNewPrivs:", "1"), ("Seccomp:", "2")] {
        assert_eq!(field(name), value, "{name}");
    }
    let limits = system.run(&format!("grep 'core file' /proc/{process}/limits"));
    assert!(limits.split_whitespace().filter(|word| *word == "0").count() == 2, "{limits}");
    let modes = system.run("stat --format '%a %U %n' /var/lib/keybroker* /var/lib/keybroker-key/key");
    let expected = "700 keybroker /var/lib/keybroker\n700 keybroker /var/lib/keybroker-key\n\
                    600 keybroker /var/lib/keybroker-key/key\n";
    assert_eq!(modes, expected);
}

/// The interpreter of policies needs no memory that is writable and executable at once.
async fn under_a_policy(world: &World) {
    let passphrase = passphrase();
    let cli = RvpCli::new(&world.url, &MEASUREMENT, &passphrase);
    let mut machine = world.milan();
    machine.fields.host_data = RvpCli::host_data(&cli.register().await.unwrap()).unwrap();
    let mut guest = KeybrokerGuest::new(&world.url, machine).unwrap();
    assert_eq!(guest.boot("passphrase").await, Ok(passphrase.into_bytes()));
}

async fn relayed(system: &System, world: &World) {
    let authority = Endpoint::parse(&world.url).unwrap().authority;
    let conf = format!("KEYBROKER_RELAY_TO=http://{authority}\nKEYBROKER_RELAY_LISTEN=127.0.0.1:0\n");
    system.files.write("/etc/keybroker/relay.conf", conf);
    system.run("systemctl start keybroker-relay");
    let url = bench::listening(system, "keybroker-relay");
    let passphrase = world.register("through-relay").await;
    let mut guest = KrunGuest::new(&url, "through-relay", world.milan()).unwrap();
    assert_eq!(guest.boot().await, Ok(passphrase.into_bytes()));
    // One of the users that systemd makes for as long as a unit runs.
    let user = system.run("stat --format %u /proc/$(systemctl show -P MainPID keybroker-relay)");
    assert!((61_184..=65_519).contains(&user.trim().parse::<u32>().unwrap()), "{user}");
    system.run("systemctl stop keybroker-relay");
}

#[test]
fn the_settings_that_stand_as_comments_are_understood() {
    let settings = fs::read_to_string(program::workspace().join("cli/debian/serve.conf")).unwrap();
    let settings: Vec<_> = settings
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .filter(|(name, _)| name.starts_with("KEYBROKER_"))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    assert!(settings.len() > 5, "{settings:?}");
    let nothing = tempfile::tempdir().unwrap();
    let mut serve = program::keybroker();
    serve.arg("serve").envs(settings).env("KEYBROKER_DATA_DIR", nothing.path());
    serve.env("KEYBROKER_TLS_CERT", nothing.path().join("cert.pem"));
    let ended = serve.output().unwrap();
    // Not a wrong usage: it has come to the certificate, which is not there.
    assert_eq!(ended.status.code(), Some(5), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// The pair comes by the hook of an ACME client, and so does the next one, which interrupts nothing.
async fn over_tls(system: &System, broker: &Package) -> World {
    let ca = Authority::new();
    let hook = program::workspace().join("cli/debian/deploy-hook");
    fs::copy(hook, system.files.path("/deploy-hook")).unwrap();
    let deploy = || {
        let identity = ca.issue(NAME);
        for (name, pem) in [("fullchain", identity.certificate_pem()), ("privkey", identity.key_pem())] {
            system.files.write(&format!("/etc/acme/{name}.pem"), pem);
        }
        system.run("RENEWED_LINEAGE=/etc/acme sh /deploy-hook");
    };
    deploy();
    let modes = system.run("stat --format '%a %U:%G' /etc/keybroker/tls /etc/keybroker/tls/*");
    assert_eq!(modes, "750 root:keybroker\n640 root:keybroker\n640 root:keybroker\n");
    let world = broker.serves(
        system,
        &["KEYBROKER_TLS_CERT=/etc/keybroker/tls/cert.pem", "KEYBROKER_TLS_KEY=/etc/keybroker/tls/key.pem"],
    );
    let tunnel = Tunnel::to(&ca, world.url.strip_prefix("https://").unwrap());
    let world = world.through(tunnel);
    world.boots_a_guest("over-tls").await;
    let process = main_pid(system);
    deploy();
    bench::logged(system, "keybroker", "presenting a TLS certificate", 2);
    world.boots_a_guest("after-renewal").await;
    assert_eq!(main_pid(system), process);
    world
}

fn main_pid(system: &System) -> String {
    system.run("systemctl show -P MainPID keybroker").trim().to_owned()
}

/// An operator's command.
fn operate(system: &System, command: &str) -> String {
    system.run(&format!("KEYBROKER_DATA_DIR=/var/lib/keybroker keybroker {command}"))
}

/// The package's files, and the verdict of Debian's own judge.
#[test]
fn it_has_what_debian_expects() {
    let Some(package) = package() else { return };
    bench::contents(&package);
    bench::judged(&package);
}
