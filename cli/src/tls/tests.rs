use std::{
    fs::{self, Permissions},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use jiff::SignedDuration;
use keybroker_simulator::tls::{Authority, Identity, ServerName};
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::*;

fn issued(authority: &Authority) -> Identity {
    authority.issue(ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// With another end of its time, which may be in the year 9999: a GeneralizedTime, two bytes longer.
fn ending(identity: &Identity, end: &str) -> Identity {
    let mut der = identity.certificate.clone();
    let validity = der.windows(4).position(|bytes| bytes == [0x30, 0x1e, 0x17, 0x0d]).unwrap();
    der.splice(validity + 17..validity + 32, [0x18, 0x0f].into_iter().chain(end.bytes()));
    der[validity + 1] += 2;
    // The certificate is longer, and what is signed of it.
    assert_eq!((&der[..2], &der[4..6]), (&[0x30, 0x82][..], &[0x30, 0x81][..]));
    let longer = u16::from_be_bytes([der[2], der[3]]) + 2;
    der[2..4].copy_from_slice(&longer.to_be_bytes());
    der[6] += 2;
    Identity { certificate: der, ..identity.clone() }
}

/// The files of a pair in a directory.
fn written(directory: &Path, certificate: &str, key: &str, mode: u32) -> Files {
    let files = Files { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    fs::write(&files.certificate, certificate).unwrap();
    fs::write(&files.key, key).unwrap();
    fs::set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
    files
}

fn refused(files: &Files) -> (String, Option<String>) {
    let failure = files.read().unwrap_err();
    assert_eq!(failure.exit(), Exit::Configuration);
    let (error, hint) = failure.told();
    (error, hint.map(str::to_owned))
}

#[test]
fn a_pair_that_cannot_be_used_is_told_with_the_file_at_fault() {
    let authority = Authority::new();
    let (server, other) = (issued(&authority), issued(&authority));
    let (certificate, key) = (server.certificate_pem(), server.key_pem());
    let broken = certificate.replace("MII", "!!!");
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let under_passphrase = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let no_key = key.replace("MI", "AA");
    let rows = [
        ("", key.as_str(), 0o600, "cert.pem: there is no certificate in PEM"),
        ("no PEM", &key, 0o600, "cert.pem: there is no certificate in PEM"),
        (&broken, &key, 0o600, "cert.pem: there is no certificate in PEM"),
        (&not_der, &key, 0o600, "cert.pem: the first certificate in it is none of X.509"),
        (&certificate, "", 0o600, "key.pem: there is no private key in PEM"),
        (&certificate, &certificate, 0o600, "key.pem: there is no private key in PEM"),
        (
            &certificate,
            &under_passphrase,
            0o600,
            "key.pem: there is no private key in PEM in it, or one under",
        ),
        (&certificate, &no_key, 0o600, "key.pem: TLS cannot use the key"),
        (&certificate, &other.key_pem(), 0o600, "key.pem: the private key is not that of the certificate"),
        // The chain begins with the authority.
        (&(authority.pem() + &certificate), &key, 0o600, "key.pem: the private key is not that of"),
    ];
    for (certificate, key, mode, said) in rows {
        let directory = TempDir::new().unwrap();
        let (error, hint) = refused(&written(directory.path(), certificate, key, mode));
        assert!(error.contains(said) && hint.is_some(), "{said}: {error}");
        assert!(!error.contains(key) || key.is_empty());
    }
}

#[test]
fn a_key_that_others_may_use_is_refused_and_its_group_may_read_it() {
    let server = issued(&Authority::new());
    for mode in 0o600..=0o777 {
        let directory = TempDir::new().unwrap();
        let files = written(directory.path(), &server.certificate_pem(), &server.key_pem(), mode);
        assert_eq!(files.read().is_ok(), mode & 0o037 == 0, "{mode:04o}");
        if mode & 0o037 != 0 {
            assert!(refused(&files).0.contains(&format!("(mode {mode:04o})")));
        }
    }
}

#[test]
fn a_file_that_is_missing_or_none_is_refused() {
    let directory = TempDir::new().unwrap();
    let server = issued(&Authority::new());
    let files = written(directory.path(), &server.certificate_pem(), &server.key_pem(), 0o600);
    // Nobody writes to it.
    let pipe = directory.path().join("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    for path in [directory.path().join("nowhere"), directory.path().to_owned(), "/dev/zero".into(), pipe] {
        let (error, _) = refused(&Files { certificate: path.clone(), ..files.clone() });
        assert!(error.contains("the certificate's file cannot be read"), "{error}");
        let (error, _) = refused(&Files { key: path, ..files.clone() });
        assert!(error.contains("the key's file cannot be read"), "{error}");
    }
}

#[test]
fn a_certificate_is_warned_of_before_it_ends() {
    let directory = TempDir::new().unwrap();
    let server = issued(&Authority::new());
    let pair = written(directory.path(), &server.certificate_pem(), &server.key_pem(), 0o640).read().unwrap();
    // It is valid for two days, from yesterday on: a sixth of that are eight hours.
    let warned = |hours| pair.warning(pair.not_after + SignedDuration::from_hours(hours));
    assert_eq!(warned(-24), None);
    assert_eq!(warned(-9), None);
    assert!(warned(-7).unwrap().ends_with("in 7 hours"), "{:?}", warned(-7));
    assert!(warned(0).unwrap().ends_with("clients refuse it"));
    assert!(warned(-49).unwrap().starts_with("is not valid before"));
    let endless = ending(&server, "99991231235959Z");
    let pair =
        written(directory.path(), &endless.certificate_pem(), &server.key_pem(), 0o640).read().unwrap();
    assert_eq!((pair.not_after, pair.warning(Timestamp::now())), (Timestamp::MAX, None));
}

/// A pair that cannot be used changes nothing, and is told until one that can be used comes.
#[tokio::test]
async fn a_bad_pair_leaves_the_earlier_one_in_place() {
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let (first, second) = (issued(&authority), issued(&authority));
    let write = |one: &Identity, key: &Identity| {
        written(directory.path(), &one.certificate_pem(), &key.key_pem(), 0o600)
    };
    let tls = Tls::start(write(&first, &first)).unwrap();
    let before = tls.presentation();
    assert!(before.refused.is_none());
    write(&second, &first);
    tls.reload();
    let kept = tls.presentation();
    assert_eq!(kept.certificate, before.certificate);
    assert!(kept.refused.unwrap().cause.contains("not that of the certificate"));
    write(&second, &second);
    tls.reload();
    let after = tls.presentation();
    assert!(after.refused.is_none() && after.certificate != before.certificate);
    // Clients refuse a certificate that has ended: the one that they take stays.
    let over = ending(&second, "20240201000000Z");
    write(&over, &over);
    tls.reload();
    let kept = tls.presentation();
    assert_eq!(kept.certificate, after.certificate);
    assert!(kept.refused.unwrap().cause.contains("ended at 2024-02-01T00:00:00Z"));
    // Where none holds, the files' own is presented.
    let started = Tls::start(write(&over, &over)).unwrap();
    let earlier = ending(&first, "20240101000000Z");
    write(&earlier, &earlier);
    started.reload();
    assert!(started.presentation().refused.is_none());
}
