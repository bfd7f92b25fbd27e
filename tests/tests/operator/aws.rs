//! The operator's commands where AWS does not answer, or refuses: each kind of trouble has words and an exit
//! code of its own, and nobody waits for long.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use keybroker_tests::{
    operator::{self, Contents, Operator},
    program::{self, Ended},
    upstream::{Upstream, field, response},
    world::kds,
};
use serde_json::{Value, json};

/// A command that asks AWS at `url`, with a key in its environment.
fn asking(url: &str, arguments: &[&str]) -> Command {
    let mut command = program::keybroker();
    command.args(arguments).arg("--aws").env("HOME", "/nonexistent").env("AWS_ENDPOINT_URL", url);
    command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "s3cret");
    command.env("AWS_REGION", "eu-west-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// One command for each way to the store, and one for the key in KMS.
const COMMANDS: [&[&str]; 4] = [
    &["workload", "list"],
    &["audit", "--since", "1h"],
    &["token", "create", "--url", "https://k.example.org"],
    &["keys", "prepare"],
];

/// AWS, where every call but GetItem ends with this error. GetItem finds nothing.
fn failing(status: u16, code: &str, message: &str) -> Upstream {
    let error = json!({"__type": format!("com.amazon.coral#{code}"), "message": message}).to_string();
    Upstream::start(move |request, stream| {
        let found = field(request, "x-amz-target") == ["DynamoDB_20120810.GetItem"];
        let answer = if found { response(200, "", "{}") } else { response(status, "", &error) };
        let _ = stream.write_all(&answer);
    })
}

/// Runs each of `commands` at once, and returns how they ended, in their order.
fn at_once(commands: Vec<Command>) -> Vec<Ended> {
    let running: Vec<_> =
        commands.into_iter().map(|mut one| thread::spawn(move || one.output().unwrap())).collect();
    running.into_iter().map(|one| Ended::from(one.join().unwrap())).collect()
}

const DENIED: &str = "User: arn:aws:sts::123456789012:assumed-role/ops/eve is not authorized to perform: dynamodb:Scan on \
                      resource: arn:aws:dynamodb:eu-west-1:123456789012:table/keybroker-workloads because no \
                      identity-based policy allows the dynamodb:Scan action";

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
        for (command, ended) in COMMANDS.iter().zip(ended) {
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

/// A listener that accepts nothing. The system completes its connections, and nobody answers.
fn black_hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A port on which nothing listens.
fn closed() -> String {
    black_hole().1
}

/// The longest that a command may take where nobody answers.
const BOUND: Duration = Duration::from_secs(15);

#[test]
fn nobody_waits_long_for_a_dead_network() {
    program::path();
    let ((_listener, hole), kds) = (black_hole(), closed());
    let begun = Instant::now();
    let mut doctor = asking(&hole, &["doctor", "--kds-url", &kds]);
    let mut doctor = doctor.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(doctor.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("ok    configuration") && begun.elapsed() < BOUND / 5, "{first}");
    assert_eq!(doctor.try_wait().unwrap(), None, "the rest is under way");

    let silent = COMMANDS.map(|command| asking(&hole, command));
    let [nobody, no_name] = [closed(), format!("http://{}.example", "k".repeat(64))];
    let refused = COMMANDS.map(|command| asking(&nobody, command));
    let unnamed = COMMANDS.map(|command| asking(&no_name, command));
    let ended = at_once(silent.into_iter().chain(refused).chain(unnamed).collect());
    for (number, ended) in ended.iter().enumerate() {
        let said = [
            "DynamoDB did not answer in time",
            "cannot be reached: Connection refused",
            "cannot be reached: ",
        ];
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.log.contains(said[number / COMMANDS.len()]), "{ended:?}");
        assert_eq!(ended.log.lines().count(), 2, "the clients' own warnings are silent: {ended:?}");
    }
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(doctor.wait().unwrap().code(), Some(1));
    assert!(rest.last().unwrap().starts_with("1 ok, 0 warnings, "), "{rest:?}");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

/// The program's end after SIGINT, which comes when it has connected to `listener`.
fn interrupted(mut child: Child, listener: &TcpListener) -> (Option<i32>, Duration) {
    let _connection: TcpStream = listener.accept().unwrap().0;
    let begun = Instant::now();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    (child.wait().unwrap().code(), begun.elapsed())
}

#[test]
fn an_interrupt_ends_a_command_at_once() {
    program::path();
    for command in COMMANDS.iter().copied().chain([&["doctor", "--kds-url", &closed()][..]]) {
        let (listener, hole) = black_hole();
        let child = asking(&hole, command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (code, took) = interrupted(child, &listener);
        assert!(code.is_none() && took < Duration::from_secs(2), "{command:?}: {code:?} after {took:?}");
    }
}

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
        "startUrl": "https://corp.example/start", "region": "eu-west-1", "accessToken": "t0ken", "expiresAt": expires,
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
            "accessKeyId": "ASIASSO", "secretAccessKey": "s", "sessionToken": "session", "expiration": 4_102_444_800_000_u64,
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

/// CloudWatch, SNS and CloudWatch Logs, as they answer with these alarms, subscribers and groups.
fn watching(alarms: Value, subscribers: u32, groups: Value) -> Upstream {
    Upstream::start(move |request, stream| {
        let answer = match field(request, "x-amz-target").as_slice() {
            ["GraniteServiceVersion20100801.DescribeAlarms"] => json!({"MetricAlarms": alarms}).to_string(),
            ["Logs_20140328.DescribeLogGroups"] => json!({"logGroups": groups}).to_string(),
            _ if request.contains("Action=GetTopicAttributes") => format!(
                "<GetTopicAttributesResponse><GetTopicAttributesResult><Attributes><entry>\
                 <key>SubscriptionsConfirmed</key><value>{subscribers}</value></entry></Attributes>\
                 </GetTopicAttributesResult></GetTopicAttributesResponse>"
            ),
            _ => panic!("{request}"),
        };
        assert!(!field(request, "authorization").is_empty(), "it is signed");
        let _ = stream.write_all(&response(200, "", answer));
    })
}

/// The findings of one check: verdicts and texts.
fn found(operator: &Operator, watched: &Upstream, check: &str) -> Vec<(String, String)> {
    let kds = kds();
    let mut doctor = operator.command(&["doctor", "--json", "--kds-url", &kds.url()]);
    for service in ["CLOUDWATCH", "CLOUDWATCH_LOGS", "SNS"] {
        doctor.env(format!("AWS_ENDPOINT_URL_{service}"), &watched.url);
    }
    let ended: Ended = doctor.output().unwrap().into();
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let findings = document["findings"].as_array().unwrap().clone();
    let of_check = findings.into_iter().filter(|one| one["check"] == check);
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    of_check.map(|one| (text(&one, "verdict"), text(&one, "finding"))).collect()
}

#[tokio::test]
async fn doctor_finds_each_fault_of_a_deployment() {
    let operator = Operator::aws(&Contents::default()).await;
    let table = operator.table("decisions");
    let prefix = table.strip_suffix("-decisions").unwrap();
    let topic = "arn:aws:sns:eu-west-1:123456789012:on-call";
    let alarm = |name: &str, actions: &[&str]| json!({"AlarmName": format!("{prefix}-{name}"), "ActionsEnabled": true, "AlarmActions": actions});
    let groups =
        ["/aws/lambda/P/register", "/aws/lambda/P/auth", "/aws/lambda/P/attest", "/aws/vendedlogs/P/access"];
    let groups =
        groups.map(|name| json!({"logGroupName": name.replace('P', prefix), "retentionInDays": 400}));
    let well = watching(json!([alarm("a", &[topic])]), 1, json!(groups));
    let one = |check: &str, watched: &Upstream| {
        let found = found(&operator, watched, check);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    assert_eq!(one("alarms", &well), ("ok".to_owned(), "1 alarms, heard by 1 subscribers".to_owned()));
    assert_eq!(one("logs", &well), ("ok".to_owned(), "4 groups keep their lines for 400 days".to_owned()));

    let silent = watching(json!([alarm("a", &[topic]), alarm("b", &[])]), 1, json!(groups[..3]));
    let (verdict, text) = one("alarms", &silent);
    assert!(verdict == "warn" && text.contains(&format!("1 of 2 alarms tell nobody: {prefix}-b")), "{text}");
    let (verdict, text) = one("logs", &silent);
    assert!(
        verdict == "warn" && text.contains(&format!("missing: /aws/vendedlogs/{prefix}/access")),
        "{text}"
    );
    let unheard = watching(json!([alarm("a", &[topic])]), 0, json!([]));
    let (verdict, text) = one("alarms", &unheard);
    assert!(verdict == "warn" && text.contains("nobody has confirmed a subscription"), "{text}");
    assert!(one("alarms", &watching(json!([]), 0, json!([]))).1.starts_with("there are no alarms"));

    // The tables and the key.
    let dynamodb = operator::dynamodb();
    let of_table = |operator: &Operator| {
        let found = found(operator, &well, "table");
        found.into_iter().filter(|(_, text)| text.contains(&table)).collect::<Vec<_>>()
    };
    assert!(of_table(&operator).iter().all(|(verdict, _)| verdict != "fail"));
    use aws_sdk_dynamodb::types::{
        DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate, TimeToLiveSpecification,
    };
    let ttl = |attribute: &str, enabled| {
        let specification = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(enabled);
        dynamodb
            .update_time_to_live()
            .table_name(&table)
            .time_to_live_specification(specification.build().unwrap())
    };
    ttl("expires", false).send().await.unwrap();
    let off = of_table(&operator);
    assert!(off.iter().any(|(verdict, text)| verdict == "warn" && text.contains("TTL")), "{off:?}");
    ttl("time", true).send().await.unwrap();
    let delete = DeleteGlobalSecondaryIndexAction::builder().index_name("workload").build().unwrap();
    let update = GlobalSecondaryIndexUpdate::builder().delete(delete).build();
    dynamodb.update_table().table_name(&table).global_secondary_index_updates(update).send().await.unwrap();
    let faults = of_table(&operator);
    for (verdict, said) in [("fail", "by the attribute \"time\""), ("warn", "has no index \"workload\"")] {
        assert!(faults.iter().any(|(found, text)| found == verdict && text.contains(said)), "{faults:?}");
    }

    let (kms, key) = operator::kms().await;
    kms.delete_alias().alias_name(format!("alias/{prefix}")).send().await.unwrap();
    kms.create_alias().alias_name(format!("alias/{prefix}")).target_key_id(&key).send().await.unwrap();
    assert_eq!(one("key", &well).0, "ok");
    let (verdict, text) = one("key-rotation", &well);
    assert!(verdict == "warn" && text.ends_with("is not rotated"), "{text}");
    kms.enable_key_rotation().key_id(&key).send().await.unwrap();
    assert_eq!(one("key-rotation", &well).0, "ok");
    let id = key.rsplit('/').next().unwrap();
    kms.disable_key().key_id(id).send().await.unwrap();
    assert_eq!(one("key", &well).0, "fail");
    kms.schedule_key_deletion().key_id(id).send().await.unwrap();
    let (verdict, text) = one("key", &well);
    assert!(verdict == "fail" && text.contains("will be deleted on 20"), "{text}");
}
