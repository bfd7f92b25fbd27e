//! The hook of an ACME client: it takes the certificate of the broker's name, and no other site's.

use std::{
    fs,
    process::{Command, Output},
};

use keybroker_simulator::tls::{Authority, ServerName};
use keybroker_tests::{program, tls::NAME};
use tempfile::TempDir;

/// The hook, for a directory that needs no root.
fn hook(directory: &TempDir) -> impl Fn() -> Output {
    let script = fs::read_to_string(program::workspace().join("cli/debian/deploy-hook")).unwrap();
    let tls = directory.path().join("tls");
    let script = script.replace("/etc/keybroker/tls", tls.to_str().unwrap());
    let script = script.replace("-o root -g keybroker", "");
    let lineage = directory.path().to_owned();
    move || {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env("RENEWED_LINEAGE", &lineage).output().unwrap()
    }
}

#[test]
fn the_certificate_of_another_site_stays_out_of_the_broker() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let directory = TempDir::new().unwrap();
    let (ca, deploy) = (Authority::new(), hook(&directory));
    let renew = |name| {
        let identity = ca.issue(name);
        fs::write(directory.path().join("fullchain.pem"), identity.certificate_pem()).unwrap();
        fs::write(directory.path().join("privkey.pem"), identity.key_pem()).unwrap();
        identity.certificate_pem()
    };
    let installed = || fs::read_to_string(directory.path().join("tls/cert.pem")).unwrap();
    let mut presented = String::new();
    for _ in ["first", "renewed"] {
        presented = renew(NAME);
        let ended = deploy();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(installed(), presented);
    }
    renew(ServerName::Dns("www.example.org"));
    let ended = deploy();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && told.contains("stays out of the broker"), "{ended:?}");
    assert_eq!(installed(), presented);
    let key = fs::read_to_string(directory.path().join("tls/key.pem")).unwrap();
    assert_ne!(key, fs::read_to_string(directory.path().join("privkey.pem")).unwrap());
}

/// With `certbot renew` the hook would be called for every certificate that certbot renews.
#[test]
fn the_ways_that_are_shown_name_the_broker() {
    for file in ["cli/debian/deploy-hook", "docs/packages.md"] {
        let text = fs::read_to_string(program::workspace().join(file)).unwrap().replace("\\\n", "");
        let lines: Vec<_> = text.lines().map(|line| line.trim_start_matches(['#', ' '])).collect();
        for client in ["certbot ", "lego "] {
            let line = lines.iter().find(|line| line.starts_with(client)).expect(file);
            assert!(line.contains("-hook /usr/share") && line.contains("--domain"), "{file}: {line}");
        }
    }
}
