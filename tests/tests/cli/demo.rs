//! `keybroker demo` and the program's help.

use std::collections::BTreeSet;

use keybroker_tests::program;
use serde_json::Value;

#[test]
fn the_demo_tells_its_story_in_words() {
    let ended = program::run(&["demo"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.log);
    assert!(
        !ended.out.contains('\u{1b}') && !ended.log.contains('\u{1b}'),
        "no colours in a pipe: {:?}",
        ended.out
    );
    for word in [
        "register",
        "auth",
        "attest",
        "key",
        "the passphrase is ",
        "the broker lets it in",
        "guest-policy-debug",
        "certificate-chain",
    ] {
        assert!(ended.out.contains(word), "{word:?} in {}", ended.out);
    }
    let attacks = ended.out.lines().filter(|line| line.trim_start().starts_with("refused")).count();
    assert!(attacks >= 8, "{}", ended.out);
    assert!(ended.out.contains(&format!("refused {attacks} attacks")), "{}", ended.out);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[test]
fn the_demo_tells_its_story_as_json() {
    let ended = program::run(&["demo", "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.log);
    let story: Value = serde_json::from_str(&ended.out).expect("one JSON document");
    assert_eq!((&story["ok"], &story["passphrase_arrived"]), (&true.into(), &true.into()));
    let steps: Vec<_> =
        story["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        ["hardware", "register", "auth", "attest", "key", "claim", "register", "release", "disk"]
    );
    assert_eq!(story["other_guest_let_in"], true, "{story}");
    let claim = &story["steps"][5];
    assert!(claim["what"].as_str().unwrap().ends_with("the broker lets it in"), "{claim}");
    assert_eq!(claim["checked"].as_array().unwrap().len(), 3, "it is said why: {claim}");
    let attacks = story["attacks"].as_array().unwrap();
    assert!(attacks.len() >= 8, "{story}");
    let own = "the same guest claims a workload that has a launch measurement of its own";
    assert_eq!((&attacks[0]["attack"], &attacks[0]["check"]), (&own.into(), &"measurement".into()));
    let mut ids = BTreeSet::new();
    for attack in attacks {
        for field in ["attack", "check", "cause"] {
            assert!(!attack[field].as_str().unwrap().is_empty(), "{attack}");
        }
        assert!(ids.insert(attack["audit_id"].as_str().unwrap()), "{attack}");
    }
    let checks: BTreeSet<_> = attacks.iter().map(|attack| attack["check"].as_str().unwrap()).collect();
    for check in [
        "measurement",
        "init-data",
        "guest-policy-debug",
        "vmpl",
        "challenge",
        "signature",
        "revocation",
        "session",
    ] {
        assert!(checks.contains(check), "{check} in {checks:?}");
    }
}

#[test]
fn the_help_of_each_command_has_examples_of_its_options() {
    for command in ["demo", "serve", "verify"] {
        let help = program::run(&[command, "--help"]);
        assert_eq!(help.code, Some(0));
        let (options, examples) = help.out.split_once("Examples:").expect("examples");
        let lines: Vec<_> =
            examples.lines().map(str::trim).filter(|line| line.starts_with("keybroker ")).collect();
        assert!(!lines.is_empty(), "{examples}");
        for line in lines {
            assert!(line.starts_with(&format!("keybroker {command}")), "{line}");
            for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
                assert!(options.contains(option), "{option} of {line} is no option");
            }
        }
    }
}

#[test]
fn an_unknown_argument_ends_with_2_and_goes_to_stderr() {
    let rows: [&[&str]; 5] =
        [&[], &["sirve"], &["demo", "--fast"], &["serve", "--insecure"], &["--frobnicate"]];
    for arguments in rows {
        let ended = program::run(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(!ended.log.is_empty(), "{arguments:?}");
    }
}
