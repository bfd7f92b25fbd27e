use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

/// As `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384` writes a key.
const PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDrC44ihAqajSeHoQP8
ohqvb/HhS/MOlIj4eyr2lvRm9yZN0mkM2lrIQy2E9lHKa8mhZANiAASR3m/iT2ew
KneUgMKIrDf4RygCCJbH1gz8x9GoTdsB00seH9kATUHdMZT+gunhUKn2W0F1uvLY
mocjjrMby4Nys3Ptp8OeH9ntBSVD0lLdKlQY/TfMPgo19pfB57Z5NMg=
-----END PRIVATE KEY-----
";
/// The point that `openssl ec -text` shows of it.
const POINT: &str = "0491de6fe24f67b02a779480c288ac37f84728020896c7d60cfcc7d1a84ddb01d34b1e1fd9004d41dd3194fe82e9e\
                     150a9f65b4175baf2d89a87238eb31bcb8372b373eda7c39e1fd9ed052543d252dd2a5418fd37cc3e0a35f697c1e7\
                     b67934c8";
/// The same key as `openssl ec` writes it.
const SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDDrC44ihAqajSeHoQP8ohqvb/HhS/MOlIj4eyr2lvRm9yZN0mkM2lrI
Qy2E9lHKa8mgBwYFK4EEACKhZANiAASR3m/iT2ewKneUgMKIrDf4RygCCJbH1gz8
x9GoTdsB00seH9kATUHdMZT+gunhUKn2W0F1uvLYmocjjrMby4Nys3Ptp8OeH9nt
BSVD0lLdKlQY/TfMPgo19pfB57Z5NMg=
-----END EC PRIVATE KEY-----
";
/// A key on P-256.
const P256: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7QHOLlrAcK74Mh23
yiFWKga5xQ6L8R1OMt0jBeQe3qahRANCAAT0DeZSNmjJOmwqSdMMinkoQmQ5Jqj5
ae08QHEZ4sONxNzVb5+J5UVnKztyqQ3d9lL4GYc55+AHrZ5hEo7p+/52
-----END PRIVATE KEY-----
";

/// Reads a file of these bytes and this mode; the point in hex, or the error.
fn imported(bytes: &[u8], mode: u32) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    let key = read(file.path()).map_err(|failure| failure.told().0)?;
    Ok(data_encoding::HEXLOWER.encode(key.broker_key().as_bytes()))
}

#[test]
fn a_key_of_openssl_is_read_in_pem_and_in_der() {
    let der = pkcs8(PEM.as_bytes()).unwrap();
    let text = format!("Key of two deployments\n{}", PEM.replace('\n', "\r\n"));
    for bytes in [PEM.as_bytes(), &der, text.as_bytes()] {
        assert_eq!(imported(bytes, 0o600), Ok(POINT.to_owned()));
    }
    assert_eq!(imported(PEM.as_bytes(), 0o400), Ok(POINT.to_owned()));
}

#[test]
fn a_file_that_others_may_read_or_write_is_refused() {
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        let refused = imported(PEM.as_bytes(), mode).unwrap_err();
        assert!(refused.contains(&format!("may read or write the file (mode {mode:04o})")), "{refused}");
    }
}

/// That user knows the key.
#[test]
fn a_file_of_another_user_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), PEM).unwrap();
    // Only root can make such a file.
    if std::os::unix::fs::chown(file.path(), Some(12345), None).is_ok() {
        let refused = read(file.path()).unwrap_err().told().0;
        assert!(refused.contains("belongs to another user (12345)"), "{refused}");
    }
}

#[test]
fn other_forms_are_refused() {
    let no_key = "not a private key on P-384";
    let der = pkcs8(PEM.as_bytes()).unwrap();
    let mut altered = der.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let cases: [(&[u8], &str); 9] = [
        (b"", no_key),
        (&der[..der.len() - 1], no_key),
        // The public half is not the private half's.
        (&altered, no_key),
        (P256.as_bytes(), no_key),
        (&[0; 20_000], no_key),
        (SEC1.as_bytes(), "it is not a private key in PKCS#8 without a passphrase"),
        (
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            "it is not a private key in PKCS#8 without a passphrase",
        ),
        (PEM.split("-----END").next().unwrap().as_bytes(), "the PEM is cut off"),
        (b"-----BEGIN PRIVATE KEY-----\nM*==\n-----END PRIVATE KEY-----", "the PEM is not base64"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(imported(bytes, 0o600), Err(expected.to_owned()), "{}", String::from_utf8_lossy(bytes));
    }
    assert!(read(Path::new("/")).unwrap_err().told().0.contains("it is no regular file"));
    assert!(read(Path::new("/nonexistent/key.pem")).is_err());
}
