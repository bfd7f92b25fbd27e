//! The options `--region` and `--profile` of the scripts in `infra`. `infra/account.py` has them for all.

use std::{env, fs, path::Path, process::Command};

use keybroker_tests::{
    local_aws::dynamodb,
    program::{Ended, script, workspace},
    upstream::{Upstream, field, response},
};

/// Keys that are in the environment, in the place of the profile's.
const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"),
    ("AWS_SECRET_ACCESS_KEY", "s"),
    ("AWS_SESSION_TOKEN", "session"),
];

/// Runs a script with AWS's configuration in `home`. The Python that has boto3 is the local AWS's.
fn run(script: &str, home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = match script {
        "smoke" => Command::new("bash"),
        "import" => Command::new("python3"),
        _ => {
            dynamodb();
            Command::new(workspace().join("target/localstack/venv/bin/python"))
        }
    };
    command.arg(workspace().join("infra").join(script)).args(arguments);
    let path = env::var("PATH").unwrap();
    command.env_clear().env("HOME", home).env("PATH", format!("{}:{path}", home.display()));
    command.envs(environment.iter().copied()).output().unwrap().into()
}

#[test]
fn a_wrong_region_or_profile_is_named() {
    let home = tempfile::tempdir().unwrap();
    for (script, arguments) in [
        ("smoke", &[][..]),
        ("restore", &["drop", "copy"]),
        ("import", &["--key", "0a9f5c1e-2b7d-4c3f-8e6a-1b2c3d4e5f60"]),
    ] {
        for (option, value, said) in [
            ("--region", "frankfurt", "argument --region: 'frankfurt' is no region of AWS"),
            ("--region", "eu-central-1a", "argument --region: 'eu-central-1a' is no region of AWS"),
            ("--region", "", "argument --region: '' is no region of AWS"),
            ("--profile", "", "argument --profile: '' is no name of a profile"),
        ] {
            let ended = run(script, home.path(), &[arguments, &[option, value]].concat(), &[]);
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{script} {option}: {ended:?}");
            assert!(ended.log.contains(said), "{script} {option}: {ended:?}");
            assert!(ended.log.contains(script), "{script}: {ended:?}");
        }
        let ended = run(script, home.path(), &[arguments, &["--profile"]].concat(), &[]);
        assert_eq!(ended.code, Some(2), "{script}: {ended:?}");
        assert!(ended.log.contains("argument --profile: "), "{script}: {ended:?}");
    }
}

/// By the header that signs a request: boto3 takes the profile's keys, though others are in the environment.
#[test]
fn restore_works_in_the_region_and_by_the_profile_that_are_named() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let config =
        "[profile team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = s\nregion = eu-west-1\n";
    fs::write(home.path().join(".aws/config"), config).unwrap();
    let dynamodb = Upstream::saying(response(
        400,
        "",
        r#"{"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}"#,
    ));
    let endpoint = ("AWS_ENDPOINT_URL", dynamodb.url.as_str());
    let elsewhere = ("AWS_REGION", "ap-south-1");
    for (options, environment, signed) in [
        (&[][..], &[elsewhere][..], "AKIAENVIRONMENT/ap-south-1"),
        (&["--region", "eu-central-1"], &[elsewhere], "AKIAENVIRONMENT/eu-central-1"),
        (&["--profile", "team"], &[], "AKIATEAM/eu-west-1"),
        (&["--profile", "team", "--region", "us-gov-west-1"], &[elsewhere], "AKIATEAM/us-gov-west-1"),
    ] {
        let environment = [&[endpoint], environment, &KEYS].concat();
        let ended =
            run("restore", home.path(), &[&["settings", "workloads"], options].concat(), &environment);
        assert_eq!(ended.code, Some(1), "{options:?}: {ended:?}");
        assert!(ended.log.contains("there is no keybroker-workloads"), "{options:?}: {ended:?}");
        let found = field(dynamodb.seen().last().unwrap(), "authorization").concat();
        let (key, region) = signed.split_once('/').unwrap();
        let right = found.contains(&format!("Credential={key}/")) && found.contains(&format!("/{region}/"));
        assert!(right, "{options:?}: {found}");
    }
    let ended = run("restore", home.path(), &["drop", "copy", "--profile", "other"], &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.log.contains("The config profile (other) could not be found"), "{ended:?}");
}

/// AWS's command line gets both by its variables. If it has no account, nothing is tried.
#[test]
fn smoke_works_in_the_region_and_by_the_profile_that_are_named() {
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join("aws");
    let said =
        "echo \"$AWS_REGION $AWS_DEFAULT_REGION $AWS_PROFILE ${AWS_ACCESS_KEY_ID-none}: $*\" >&2; exit 253";
    let version = "[ \"$1\" = --version ] && { echo aws-cli/2.0.0; exit; }";
    script(&aws, &format!("#!/bin/sh\n{version}\n{said}\n"));
    let options = ["--prefix", "second", "--region", "eu-west-1", "--profile", "of a team"];
    let ended = run("smoke", home.path(), &options, &KEYS);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let question = "eu-west-1 eu-west-1 of a team none: --no-cli-pager --output text kms describe-key --key-id \
                    alias/second --query KeyMetadata.Arn";
    let lines: Vec<_> = ended.log.lines().collect();
    assert!(lines.len() == 2 && lines[0] == question, "{ended:?}");
}
