//! Region, credentials and prefix, and where they come from.

use std::{fs, io::Write as _, path::Path, sync::mpsc};

use keybroker_tests::{
    program::{self, Ended},
    upstream::{Upstream, field, response},
};
use serde_json::json;

use super::{asking, closed, failing};

#[test]
fn the_clients_warnings_come_if_they_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| -> Ended {
        let mut command = asking(&closed(), arguments);
        command.env_remove("AWS_ACCESS_KEY_ID").env("HOME", directory.path());
        command.output().unwrap().into()
    };
    let quiet = run(&["workload", "list"]);
    assert_eq!(quiet.code, Some(5), "{quiet:?}");
    assert!(quiet.log.starts_with("error: there are no AWS credentials"), "{quiet:?}");
    assert!(quiet.log.contains("\nhint: give --profile"), "{quiet:?}");
    assert_eq!(quiet.log.lines().count(), 2, "{quiet:?}");
    let asked = run(&["workload", "list", "--log", "aws_config=debug"]);
    assert!(asked.log.contains("aws_config"), "{asked:?}");
}

/// A machine without a role may answer so, and so do the machines of other clouds.
#[test]
fn a_closed_service_of_roles_is_no_denial() {
    let roles = Upstream::saying(response(403, "", "forbidden"));
    let directory = tempfile::tempdir().unwrap();
    let mut command = asking(&closed(), &["workload", "list"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_EC2_METADATA_DISABLED");
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &roles.url).env("HOME", directory.path());
    let ended = Ended::from(command.output().unwrap());
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.log.starts_with("error: there are no AWS credentials"), "{ended:?}");
    assert!(!roles.seen().is_empty());
}

/// A directory with a profile `sso` of IAM Identity Center, and the token of somebody who has logged in until
/// `expires`.
fn logged_in(directory: &Path, expires: &str) {
    let cache = directory.join(".aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    let config = "[profile sso]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Operator\n\
                  region = eu-central-1\n\n[sso-session corp]\nsso_start_url = https://corp.example/start\n\
                  sso_region = eu-west-1\nsso_registration_scopes = sso:account:access\n";
    fs::write(directory.join(".aws/config"), config).unwrap();
    let token = json!({
        "startUrl": "https://corp.example/start", "region": "eu-west-1",
        "accessToken": "t0ken", "expiresAt": expires,
    });
    // The name is SHA-1 of the session's.
    fs::write(cache.join("ee0bfd2552fbd840c02cc48b6e823320543c450f.json"), token.to_string()).unwrap();
}

/// `workload list` by the profile `sso`. The keys in the environment are others.
fn by_profile(directory: &Path, portal: &str, dynamodb: &str, arguments: &[&str]) -> Ended {
    let mut command = asking(dynamodb, &["workload", "list", "--profile", "sso"]);
    command.args(arguments).env_remove("AWS_REGION").env("HOME", directory);
    command.env("AWS_ENDPOINT_URL_SSO", portal).env("AWS_ENDPOINT_URL_SSO_OIDC", portal);
    command.output().unwrap().into()
}

#[test]
fn a_profile_of_iam_identity_center_logs_in() {
    let (asked, questions) = mpsc::channel();
    let portal = Upstream::start(move |request, stream| {
        let _ = asked.send(request.to_owned());
        let credentials = json!({"roleCredentials": {
            "accessKeyId": "ASIASSO", "secretAccessKey": "s", "sessionToken": "session",
            "expiration": 4_102_444_800_000_u64,
        }});
        let _ = stream.write_all(&response(200, "", credentials.to_string()));
    });
    let dynamodb = Upstream::saying(response(200, "", r#"{"Items": [], "Count": 0, "ScannedCount": 0}"#));
    let directory = tempfile::tempdir().unwrap();
    logged_in(directory.path(), "2099-01-01T00:00:00Z");
    for (arguments, region) in [(&[][..], "eu-central-1"), (&["--region", "us-east-2"], "us-east-2")] {
        let ended = by_profile(directory.path(), &portal.url, &dynamodb.url, arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let question = questions.try_recv().unwrap();
        assert!(
            question.starts_with("GET /federation/credentials?role_name=Operator&account_id=123456789012")
        );
        assert_eq!(field(&question, "x-amz-sso_bearer_token"), ["t0ken"]);
        assert!(questions.try_recv().is_err(), "it is asked once");
        let seen = dynamodb.seen();
        let scan = seen.last().unwrap();
        let scope = format!("/{region}/dynamodb/aws4_request");
        let signed = field(scan, "authorization").concat();
        assert!(signed.contains("Credential=ASIASSO/") && signed.contains(&scope), "{signed}");
        assert_eq!(field(scan, "x-amz-security-token"), ["session"]);
    }

    let unauthorised = Upstream::saying(response(
        401,
        "x-amzn-errortype: UnauthorizedException\r\n",
        r#"{"message": "Session token not found or invalid"}"#,
    ));
    let broken = tempfile::tempdir().unwrap();
    logged_in(broken.path(), "2020-01-01T00:00:00Z");
    let nobody = tempfile::tempdir().unwrap();
    logged_in(nobody.path(), "2099-01-01T00:00:00Z");
    fs::remove_dir_all(nobody.path().join(".aws/sso")).unwrap();
    let unknown = tempfile::tempdir().unwrap();
    for (home, portal, code, said) in [
        (directory.path(), unauthorised.url.as_str(), 5, "have expired"),
        (broken.path(), &portal.url, 5, "have expired"),
        (nobody.path(), &portal.url, 5, "nobody has logged in"),
        (directory.path(), &closed(), 4, "cannot be reached"),
        (unknown.path(), &portal.url, 5, "the profile sso"),
    ] {
        let ended = by_profile(home, portal, &dynamodb.url, &["--region", "eu-west-1"]);
        assert_eq!(ended.code, Some(code), "{said}: {ended:?}");
        assert!(ended.log.contains(said), "{said}: {ended:?}");
        assert!(
            code == 4 || ended.log.contains("aws sso login") || said.starts_with("the profile"),
            "{ended:?}"
        );
    }
}

#[test]
fn two_places_of_a_store_are_refused() {
    let run = |arguments: &[&str], variable: &str| -> Ended {
        let mut command = program::keybroker();
        command.args(arguments).env("HOME", "/nonexistent");
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
        command.output().unwrap().into()
    };
    for (arguments, variable, said) in [
        (&["workload", "list", "--aws", "--data-dir", "/x"][..], "", "cannot be used with"),
        (&["workload", "list", "--aws"], "KEYBROKER_DATA_DIR=/x", "hint: KEYBROKER_DATA_DIR is set"),
        (&["doctor", "--aws"], "KEYBROKER_DATA_DIR=/x", "hint: KEYBROKER_DATA_DIR is set"),
        (&["workload", "list"], "KEYBROKER_PREFIX=prod", "hint: KEYBROKER_PREFIX is set"),
        (
            &["workload", "revoke", "x", "--data-dir", "/x"],
            "KEYBROKER_PREFIX=prod",
            "hint: KEYBROKER_PREFIX is set",
        ),
        (
            &["workload", "list", "--prefix", "prod"],
            "KEYBROKER_DATA_DIR=/x",
            "hint: KEYBROKER_DATA_DIR is set",
        ),
        (&["token", "create", "--region", "x", "--data-dir", "/x"], "", "cannot be used with"),
        (&["audit", "--since", "1h", "--profile", "x"], "KEYBROKER_DATA_DIR=/x", "cannot be used with"),
        (&["keys", "prepare", "--key-file", "/k"], "KEYBROKER_PREFIX=prod", "hint: KEYBROKER_PREFIX is set"),
        (&["doctor", "--health"], "KEYBROKER_PREFIX=prod", "hint: KEYBROKER_PREFIX is set"),
        (
            &["register", "--from", "r.json", "--url", "https://k.example.org"],
            "KEYBROKER_DATA_DIR=/x",
            "--url",
        ),
        (&["audit", "--since", "1h", "--profile", "x"], "", "--aws"),
        (&["token", "list", "--region", "x"], "", "--aws"),
    ] {
        let ended = run(arguments, variable);
        assert!(ended.code == Some(2) && ended.log.contains(said), "{arguments:?} {variable}: {ended:?}");
    }
}

#[test]
fn the_prefix_may_be_a_variable() {
    let aws = failing(400, "ResourceNotFoundException", "Requested resource not found");
    let mut command = asking(&aws.url, &["workload", "list"]);
    let ended: Ended = command.env("KEYBROKER_PREFIX", "prod").output().unwrap().into();
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(aws.seen().iter().any(|request| request.contains("prod-workloads")), "{:?}", aws.seen());
}
