//! The URL that `token create --url` prints, and its token, where they do not belong: the terminal, the
//! journal and tickets have what the program says.

use std::{fs, path::Path};

use keybroker_tests::program::{self, Ended};
use tempfile::TempDir;

const TOKEN: &str = "Zm9vYmFyYmF6-w";

/// Runs the program with these arguments. It says the token nowhere.
fn told(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let nowhere = TempDir::new().unwrap();
    let mut command = program::keybroker();
    command.args(arguments).envs(variables.iter().copied()).env("HOME", nowhere.path());
    let ended = Ended::from(command.output().unwrap());
    for said in [&ended.out, &ended.log] {
        assert!(!said.contains(TOKEN), "{arguments:?} {variables:?}: {ended:?}");
    }
    ended
}

#[test]
fn no_refusal_repeats_the_token_in_a_url() {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let resource = format!("default/key/a={}", secret.display());
    let digits = "4d".repeat(48);
    let trustee = ["register", "--dry-run", "--workload-id", "w", "--dialect", "trustee", "--measurement"];
    let trustee = [&trustee[..], &[&digits, "--resource", &resource, "--broker"]].concat();
    let url = format!("https://x:{TOKEN}@k.example.org");
    let without_scheme = format!("x:{TOKEN}@k.example.org");
    let as_user = format!("{TOKEN}@k.example.org");
    for option in [
        &["relay", "--to"][..],
        &["relay"],
        &["register", "--measurement", &digits, "--aws", "--url"],
        &["token", "create", "--url"],
        &["workload", "show"],
        &["certificates", "prefetch", "--vcek-url"],
        &trustee,
    ] {
        for given in [&url, &without_scheme, &as_user] {
            let ended = told(&[option, &[given]].concat(), &[]);
            let advised = ended.log.contains("…@k.example.org") && ended.log.contains("Revoke it");
            // An id of a workload may have this form.
            let is_id = option == ["workload", "show"] && given != &url;
            assert!(is_id || ended.code == Some(2) && advised, "{option:?}: {ended:?}");
        }
    }
    for (command, variable) in [("relay", "KEYBROKER_RELAY_TO"), ("serve", "KEYBROKER_KDS_URL")] {
        let ended = told(&[command], &[(variable, &format!("{url}?a"))]);
        assert!(ended.code == Some(2) && ended.log.contains("Revoke it"), "{ended:?}");
        // The help has the names of variables, and would have their values.
        let ended = told(&[command, "--help"], &[(variable, &url)]);
        assert!(ended.code == Some(0) && ended.out.contains(variable), "{ended:?}");
    }
    // The command that is suggested would have it.
    let kbs = directory.path().join("kbs/default/key");
    fs::create_dir_all(&kbs).unwrap();
    fs::write(kbs.join("a"), "secret").unwrap();
    let [kbs, document] = ["kbs", "web.json"].map(|name| directory.path().join(name).display().to_string());
    let import = ["import-trustee", &kbs, "--workload-id", "w", "--measurement", &digits];
    let ended = told(&[&import[..], &["--document", &document, "--broker", &url]].concat(), &[]);
    assert!(ended.code == Some(2) && !Path::new(&document).exists(), "{ended:?}");
}

#[test]
fn no_refusal_repeats_a_token_in_place_of_an_id() {
    for given in [TOKEN, &format!("https://x:{TOKEN}@k.example.org")] {
        for command in
            [&["audit"][..], &["token", "show"], &["token", "revoke"], &["audit", "--limit", "1", "--token"]]
        {
            let ended = told(&[command, &[given]].concat(), &[]);
            let advised = ended.log.contains("it looks like a token");
            assert!(ended.code == Some(2) && advised, "{command:?}: {ended:?}");
        }
    }
    let ended = told(&["audit", "yesterday"], &[]);
    assert!(ended.code == Some(2) && ended.log.contains("which is a UUID such as"), "{ended:?}");
}

/// A mirror of the KDS may want a password, and a build's URL has the token: both stay out of a report that
/// people pass on.
#[test]
fn doctor_reports_a_url_without_its_password() {
    let [url, kds] = ["k.example.org", "127.0.0.1:1"].map(|host| format!("https://x:{TOKEN}@{host}"));
    for form in [&[][..], &["--json"]] {
        let ended = told(&[&["doctor", "--url", &url, "--kds-url", &kds], form].concat(), &[]);
        for host in ["https://…@k.example.org leaves 49 ", "https://…@127.0.0.1:1: "] {
            assert!(ended.code == Some(1) && ended.out.contains(host), "{host}: {ended:?}");
        }
    }
}
