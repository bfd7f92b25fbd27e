//! Files and directories that arguments name and that cannot be used, and an output that nobody reads.

use std::{fs, io, process::Command};

use keybroker_tests::program::{self, Ended};
use tempfile::TempDir;

/// A script tells a file that it must mend from a failure of the command by the code alone.
#[test]
fn what_cannot_be_used_is_named_and_ends_with_5() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (name, bytes) in [("empty", &b""[..]), ("latin", b"caf\xe9"), ("data", b"no directory"), ("s", b"s")]
    {
        fs::write(at(name), bytes).unwrap();
    }
    let (gone, empty, latin, file) = (&*at("gone"), &*at("empty"), &*at("latin"), &*at("data"));
    let (below, report) = (&*at("data/below"), &*at("s"));
    let (store, digits) = (&*at("no-store"), &*"4d".repeat(48));
    let [secret, no_secret] = [report, empty].map(|file| format!("a={file}"));
    let (secret, no_secret) = (&*secret, &*no_secret);
    let register = ["register", "--dry-run", "--data-dir", store];
    let by_value = ["--measurement", digits, "--resource", secret];
    let as_buildah = ["--workload-id", "w", "--measurement", digits, "--passphrase-file"];
    let rows: [(&str, Vec<&str>); 21] = [
        (gone, vec!["verify", "--report", gone]),
        (empty, vec!["verify", "--report", empty]),
        (gone, vec!["tcb", "explain", gone]),
        (gone, vec!["certificates", "prefetch", "--data-dir", store, "--report", gone]),
        (gone, vec!["certificates", "prefetch", "--data-dir", store, "--from", gone]),
        (file, vec!["certificates", "prefetch", "--data-dir", store, "--from", file]),
        (below, vec!["man", "--dir", below]),
        (file, vec!["workload", "list", "--data-dir", file]),
        (below, vec!["workload", "list", "--data-dir", below]),
        (file, vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", file, "--key-file", gone]),
        (empty, vec!["resource", "set", "w", "a", empty, "--data-dir", store]),
        (gone, [&register[..], &["--from", gone]].concat()),
        (empty, [&register[..], &["--from", empty]].concat()),
        (file, [&register[..], &["--from", file, "--resource", secret]].concat()),
        (empty, [&register[..], &["--measurement", digits, "--resource", no_secret]].concat()),
        (latin, [&register[..], &by_value, &["--query", "true", "--policy", latin]].concat()),
        (file, [&register[..], &by_value, &["--query", "true", "--reference-values", file]].concat()),
        (gone, [&register[..], &as_buildah, &[gone]].concat()),
        (latin, [&register[..], &as_buildah, &[latin]].concat()),
        (gone, [&register[..], &["--measurements", gone, "--resource", secret]].concat()),
        (empty, [&register[..], &["--measurements", empty, "--resource", secret]].concat()),
    ];
    for (named, arguments) in rows {
        let ended = program::run(&arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{arguments:?}: {ended:?}");
        assert!(ended.log.contains(named), "{arguments:?}: {ended:?}");
    }
}

/// The policy of a registration is in up to three files, in arguments or in one document.
#[test]
fn a_registration_names_the_file_that_a_fault_of_its_policy_is_in() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (digits, secret) = ("4d".repeat(48), format!("a={}", file("secret", "s")));
    let document = |name: &str, rest: &str| {
        file(name, &format!(r#"{{"resources": {{"a": "b"}}, "measurements": ["{digits}"], {rest}}}"#))
    };
    let (module, twice) = (&*file("p.rego", "package p\n"), &*file("twice.json", r#"{"a": 1, "a": 2}"#));
    let (array, chips) = (&*file("array.json", "[1]"), "ab".repeat(8));
    let chips = &*file("chips.json", &format!(r#"{{"c": ["{chips}", "{chips:0<128}"]}}"#));
    let open = &*document("query.json", r#""query": ["true", "data.x["]"#);
    let valued = &*document("values.json", r#""query": ["true"], "reference_values": {"a": 1, "a": 2}"#);
    let by_value = ["--measurement", &digits, "--resource", &secret, "--query"];
    let policy = [&by_value[..], &["data.p.allow", "--policy", module]].concat();
    let rows: [(&str, &[&[&str]]); 8] = [
        (twice, &[&policy, &["--reference-values", twice]]),
        (twice, &[&by_value, &["true", "--reference-values", twice]]),
        (array, &[&policy, &["--reference-values", array]]),
        (array, &[&by_value, &["true", "--reference-values", array]]),
        (chips, &[&by_value, &["true", "--reference-values", chips]]),
        (chips, &[&policy, &["--reference-values", chips]]),
        (open, &[&["--from", open]]),
        (valued, &[&["--from", valued]]),
    ];
    for (named, arguments) in rows {
        let ended = program::run(&[&["register", "--dry-run"], arguments.concat().as_slice()].concat());
        assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{arguments:?}: {ended:?}");
        assert!(ended.log.contains(&format!("error: {named}: ")), "{arguments:?}: {ended:?}");
    }
    for query in ["data.x[", "1 +"] {
        let ended = program::run(&[&["register", "--dry-run"], &by_value[..], &[query]].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.log.contains(&format!("error: --query {query:?}: query 0, ")), "{ended:?}");
    }
}

/// As a shell reports it of git or jq: neither a success, nor a failure that a person must hear of.
#[test]
fn a_command_whose_output_nobody_reads_ends_with_141_and_silently() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command: Command = program::keybroker();
    let ended: Ended = command.args(["man", "serve"]).stdout(writer).output().unwrap().into();
    assert_eq!((ended.code, ended.log.as_str()), (Some(141), ""), "{ended:?}");
}
