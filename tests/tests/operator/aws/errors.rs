//! Each kind of trouble with AWS has words and an exit code of its own.

use keybroker_tests::{
    program::{self, Ended},
    world::kds,
};
use serde_json::Value;

use super::{COMMANDS, DENIED, asking, at_once, failing};

#[test]
fn each_error_of_aws_has_words_and_an_exit_code() {
    program::path();
    let rows = [
        (
            400,
            "AccessDeniedException",
            DENIED,
            1,
            "AWS denies dynamodb:Scan to arn:aws:sts::123456789012:assumed-role/ops/eve on arn:aws:dynamodb:",
            "docs/aws.md",
        ),
        (
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            5,
            "the AWS credentials have expired",
            "aws sso login",
        ),
        (
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            5,
            "AWS does not accept these credentials",
            "aws sts get-caller-identity",
        ),
        (
            403,
            "InvalidSignatureException",
            "Signature expired: 20261129T100000Z is now earlier than 20261129T101500Z",
            5,
            "clock is wrong",
            "timedatectl",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            "Signature not yet current: 20261129T120000Z is still later than 20261129T101500Z",
            5,
            "clock is wrong",
            "timedatectl",
        ),
        (400, "RequestExpired", "Request has expired.", 5, "clock is wrong", "timedatectl"),
        (
            403,
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
            5,
            "AWS does not accept these credentials",
            "secret key",
        ),
        (
            400,
            "ResourceNotFoundException",
            "Requested resource not found",
            5,
            "does not have what this command needs",
            "--region",
        ),
        (400, "ThrottlingException", "Rate exceeded", 4, "asks for fewer calls", "wait a minute"),
        (
            400,
            "OptInRequired",
            "The AWS Access Key Id needs a subscription for the service",
            5,
            "not enabled",
            "enable the region",
        ),
        (500, "InternalServerError", "", 4, "itself failed", "repeat"),
    ];
    let rows = rows.map(|(status, code, message, exit, words, hint)| {
        let aws = failing(status, code, message);
        let ended = at_once(COMMANDS.map(|command| asking(&aws.url, command)).into());
        (code, exit, words, hint, ended)
    });
    for (code, exit, words, hint, ended) in rows {
        for (command, (ended, _)) in COMMANDS.iter().zip(ended) {
            assert_eq!(ended.code, Some(exit), "{command:?} {code}: {ended:?}");
            assert!(ended.log.contains(words), "{command:?} {code}, {words:?}: {ended:?}");
            let lines: Vec<_> = ended.log.lines().collect();
            let [error, helps] = lines.as_slice() else { panic!("{command:?} {code}: {ended:?}") };
            assert!(error.starts_with("error: ") && helps.starts_with("hint: "), "{code}: {ended:?}");
            assert!(helps.contains(hint), "{code}, {hint:?}: {ended:?}");
            assert!(!error.contains("Error {") && !error.contains("Some("), "it is for people: {error}");
            assert_eq!(ended.out, "", "{command:?} {code}");
        }
    }
}

/// The findings of `doctor` about AWS at `url`.
fn examined(url: &str) -> (Option<i32>, Vec<Value>) {
    let kds = kds();
    let mut doctor = asking(url, &["doctor", "--json", "--kds-url", &kds.url()]);
    let ended: Ended = doctor.output().unwrap().into();
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    (ended.code, document["findings"].as_array().unwrap().clone())
}

#[test]
fn doctor_says_which_permission_it_lacks_and_goes_on() {
    let aws = failing(400, "AccessDeniedException", DENIED);
    let (code, findings) = examined(&aws.url);
    assert_eq!(code, Some(0), "{findings:?}");
    let unseen: Vec<_> =
        findings.iter().filter_map(|one| one["finding"].as_str()?.strip_prefix("not seen: needs ")).collect();
    let mut needs: Vec<_> = unseen.iter().map(|said| said.split(' ').next().unwrap()).collect();
    needs.sort_unstable();
    needs.dedup();
    let expected = [
        "cloudwatch:DescribeAlarms",
        "dynamodb:DescribeTable",
        "dynamodb:Scan",
        "kms:DescribeKey",
        "logs:DescribeLogGroups",
    ];
    assert_eq!(needs, expected, "{findings:?}");
    assert!(findings.iter().all(|one| one["verdict"] != "fail"), "{findings:?}");

    let (code, findings) = examined(&failing(400, "ExpiredTokenException", "over").url);
    assert_eq!(code, Some(1), "{findings:?}");
    let expired = findings.iter().filter(|one| one["finding"].as_str().unwrap().contains("have expired"));
    assert!(expired.count() >= 5, "{findings:?}");
}
