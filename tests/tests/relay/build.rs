//! The build relay: it registers in its own name, and does nothing else.

use aws_lc_rs::{
    digest::{self, digest},
    hmac,
};
use data_encoding::HEXLOWER;
use keybroker_simulator::{build::Buildah, rvp::RvpCli};
use keybroker_tests::{
    connection::assert_short_refusal,
    passphrase,
    relay::{self, Relay, TOKEN, private_file},
    server::Server,
    upstream::{Upstream, field, response},
    world::{MEASUREMENT, World},
};

const REGISTER: &str = "/kbs/v0/register_workload";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A relay that registers with [`TOKEN`].
fn with_token(url: &str) -> Relay {
    let (_directory, token) = private_file(&format!("{TOKEN}\n"));
    // The relay reads the file once, at its start, so the file may be deleted.
    Relay::to(url, &["--token-file", token.to_str().unwrap()])
}

/// A relay that signs, with these variables in addition to the credentials.
fn signing(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
    let mut command = relay::command(url, arguments);
    command.arg("--sign").env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", SECRET);
    command.envs(variables.iter().copied());
    Server::start(command)
}

#[tokio::test]
async fn a_build_relay_registers_and_a_guest_relay_boots() {
    let world = World::start();
    let build = with_token_over_tls(&world);
    let guests = Relay::over_tls(&world, &[]);
    // buildah's default: 64 hexadecimal digits.
    let (id, secret) = (passphrase(), passphrase());
    let response = Buildah::new(build.url(), &id, &MEASUREMENT, &secret).register().await.unwrap();
    assert!(Buildah::accepts(&response), "{}", response.text());
    let registration = RvpCli::new(build.url(), &MEASUREMENT, "open sesame").register().await.unwrap();
    assert!(RvpCli::host_data(&registration).is_some(), "{}", registration.text());
    assert_eq!(guests.krun(&id, world.milan()).boot().await, Ok(secret.into_bytes()));
}

fn with_token_over_tls(world: &World) -> Relay {
    let (_directory, token) = private_file(TOKEN);
    Relay::over_tls(world, &["--token-file", token.to_str().unwrap()])
}

#[tokio::test]
async fn the_relay_sends_its_own_token_and_never_the_clients() {
    let upstream = Upstream::saying(response(200, "", ""));
    let relay = with_token(&upstream.url);
    // buildah sends the userinfo of its URL like this.
    let url = relay.url().replace("http://", "http://other:credentials@");
    let build = Buildah::new(&url, "w", &MEASUREMENT, "open sesame");
    assert!(Buildah::accepts(&build.register().await.unwrap()));
    let seen = upstream.seen();
    assert!(seen[0].starts_with("POST /kbs/v0/register_workload HTTP/1.1\r\n"), "{seen:?}");
    assert_eq!(field(&seen[0], "authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(field(&seen[0], "user-agent"), ["Go-http-client/1.1"]);
    assert!(seen[0].ends_with(&format!("\r\n\r\n{}", build.body())));
}

/// The HMAC that each step of the signature uses.
fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

/// The signature that AWS would compute over this POST, from the fields that its Authorization names.
fn recomputed(request: &str, region: &str) -> String {
    let hash = |text: &str| HEXLOWER.encode(digest(&digest::SHA256, text.as_bytes()).as_ref());
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let authorization = field(request, "authorization")[0];
    let signed = authorization.split_once("SignedHeaders=").unwrap().1.split(',').next().unwrap();
    let values = signed.split(';').map(|name| format!("{name}:{}\n", field(request, name).join(",")));
    let canonical = format!("POST\n{path}\n\n{}\n{signed}\n{}", values.collect::<String>(), hash(body));
    let time = field(request, "x-amz-date")[0];
    let scope = format!("{}/{region}/execute-api/aws4_request", &time[..8]);
    let key = hmac(format!("AWS4{SECRET}").as_bytes(), &time[..8]);
    let key = ["execute-api", "aws4_request"].iter().fold(hmac(&key, region), |key, part| hmac(&key, part));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&canonical));
    let signature = HEXLOWER.encode(&hmac(&key, &to_sign));
    format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={signed}, Signature={signature}")
}

#[tokio::test]
async fn the_relays_signature_is_the_one_that_aws_computes() {
    let upstream = Upstream::saying(response(200, "", ""));
    let region = ("AWS_REGION", "eu-central-1");
    let permanent = signing(&upstream.url, &[], &[region]);
    let temporary = signing(
        &format!("{}/prod", upstream.url),
        &["--region", "us-east-1"],
        &[region, ("AWS_SESSION_TOKEN", "t0ken")],
    );
    for relay in [&permanent, &temporary] {
        let url = relay.url.replace("http://", "http://other:credentials@");
        Buildah::new(&url, "w", &MEASUREMENT, "open sesame").register().await.unwrap();
        RvpCli::new(&url, &MEASUREMENT, &"x".repeat(3000)).register().await.unwrap();
    }
    let seen = upstream.seen();
    let (plain, basic) = (["host", "x-amz-date"], "Basic");
    for (request, (base, region, token)) in seen.iter().zip([
        ("/iam", "eu-central-1", None),
        ("/iam", "eu-central-1", None),
        ("/prod/iam", "us-east-1", Some("t0ken")),
        ("/prod/iam", "us-east-1", Some("t0ken")),
    ]) {
        assert!(request.starts_with(&format!("POST {base}/")), "{request}");
        let [authorization] = field(request, "authorization")[..] else { panic!("{request}") };
        assert_eq!(authorization, recomputed(request, region), "{request}");
        assert!(!authorization.contains(basic));
        assert_eq!(field(request, "x-amz-security-token"), token.into_iter().collect::<Vec<_>>());
        let signed = authorization.split_once("SignedHeaders=").unwrap().1.split(',').next().unwrap();
        let signed: Vec<_> = signed.split(';').collect();
        assert!(plain.iter().all(|name| signed.contains(name)), "{authorization}");
        assert_eq!(signed.contains(&"x-amz-security-token"), token.is_some(), "{authorization}");
    }
    let paths: Vec<_> = seen.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
    let expected = ["/iam/kbs/v0/register_workload", "/iam/rvp/register"];
    assert_eq!(paths, [expected.map(str::to_owned), expected.map(|path| format!("/prod{path}"))].concat());
    // Neither log holds a secret, and both name the principal that registers.
    for relay in [permanent, temporary] {
        let log = relay.terminate().log;
        assert!(log.contains("AWS principal") && !log.contains(SECRET) && !log.contains("t0ken"), "{log}");
    }
}

#[test]
fn credentials_may_come_from_an_aws_profile() {
    let (directory, file) = private_file(&format!(
        "[profile build]\nregion = eu-north-1\ncredential_process = echo '{{\"Version\":1,\
         \"AccessKeyId\":\"AKIDEXAMPLE\",\"SecretAccessKey\":\"{SECRET}\"}}'\n"
    ));
    let upstream = Upstream::saying(response(200, "", ""));
    let mut command = relay::command(&upstream.url, &["--sign"]);
    command.env("AWS_CONFIG_FILE", file).env("AWS_PROFILE", "build").env("HOME", directory.path());
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let relay = Server::start(command);
    let mut connection =
        keybroker_tests::connection::Connection::open(relay.url.strip_prefix("http://").unwrap());
    connection.send(format!("POST {REGISTER} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{{}}"));
    assert_eq!(connection.response().unwrap().status, 200);
    let seen = upstream.seen();
    assert_eq!(field(&seen[0], "authorization"), [recomputed(&seen[0], "eu-north-1")]);
}

#[test]
fn a_build_relay_serves_no_guest() {
    let upstream = Upstream::saying(response(200, "", ""));
    let (token, signer) = (with_token(&upstream.url), signing(&upstream.url, &[], &[("AWS_REGION", "x")]));
    for url in [token.url(), &signer.url] {
        for line in [
            "POST /kbs/v0/auth",
            "POST /kbs/v0/attest",
            "GET /kbs/v0/key/web",
            "GET /kbs/v0/resource/name",
            "POST /iam/kbs/v0/register_workload",
            "POST /iam/rvp/register",
            "GET /",
        ] {
            let mut connection =
                keybroker_tests::connection::Connection::open(url.strip_prefix("http://").unwrap());
            connection.send(format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"));
            let response = connection.response().unwrap();
            assert_short_refusal(&response);
            assert_eq!(response.status, 404, "{line}");
        }
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn reference_values_may_be_longer_than_other_bodies() {
    let upstream = Upstream::saying(response(200, "", "\"host data\""));
    let relay = with_token(&upstream.url);
    let ask = |path: &str, length: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n");
        relay.ask(head + &"x".repeat(length)).status
    };
    assert_eq!(ask("/rvp/register", 196_608), 200);
    assert_eq!(ask("/rvp/register", 196_609), 413);
    assert_eq!(ask(REGISTER, 65_536), 200);
    assert_eq!(ask(REGISTER, 65_537), 413);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn the_brokers_refusal_of_a_token_reaches_the_build() {
    let body = r#"{"error":"not yours to register","id":"01a20cf2-4b21-71e9-a90e-2c4a6a194b4b"}"#;
    let head = "WWW-Authenticate: Basic realm=\"keybroker\"\r\nContent-Type: application/json\r\n";
    let upstream = Upstream::saying(response(401, head, body));
    let relay = with_token(&upstream.url);
    let answer = Buildah::new(relay.url(), "w", &MEASUREMENT, "open sesame").register().await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (401, body));
    assert_eq!(answer.header("www-authenticate"), ["Basic realm=\"keybroker\""]);
    // The relay's log holds neither the token nor the passphrase.
    let log = relay.terminate().log;
    assert!(log.contains("its token") && !log.contains(TOKEN) && !log.contains("open sesame"), "{log}");
}

/// A web page in a browser on the build host can post to the relay if its host name resolves to the loopback.
/// Its Host field shows that it is foreign.
#[test]
fn a_foreign_host_name_cannot_register_through_the_relay() {
    let upstream = Upstream::saying(response(200, "", ""));
    let relay = signing(&upstream.url, &[], &[("AWS_REGION", "eu-central-1")]);
    let authority = relay.url.trim_start_matches("http://").to_owned();
    for path in ["/kbs/v0/register_workload", "//kbs/v0/register_workload"] {
        let mut connection = keybroker_tests::connection::Connection::open(&authority);
        connection.send(format!(
            "POST {path} HTTP/1.1\r\nHost: rebound.example.org:8000\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        let response = connection.response().unwrap();
        assert_eq!(response.status, 421, "{}", response.text());
        assert!((3..=199).contains(&response.body.len()));
    }
    assert!(upstream.seen().is_empty());
}
