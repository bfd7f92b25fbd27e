//! schemathesis compares `keybroker serve` with docs/openapi.yaml. Another test shows that the code generates
//! that file.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use keybroker_common::http::{ROUTES, Route};
use keybroker_simulator::{
    guest::{
        KeybrokerGuest,
        trustee::{Credential, KbsVersion, KeyForm, TrusteeGuest},
    },
    rvp::RvpCli,
};
use keybroker_tests::{
    program::{Ended, workspace},
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::native;

/// The JSON pointer to the example of an operation's parameter.
fn example(path: &str, parameter: usize) -> String {
    let method = if path.ends_with("/attest") { "post" } else { "get" };
    format!("/paths/{}/{method}/parameters/{parameter}/example", path.replace('/', "~1"))
}

/// The JSON pointer to the examples of an operation's body.
fn bodies(path: &str) -> String {
    format!("/paths/{}/post/requestBody/content/application~1json/examples", path.replace('/', "~1"))
}

/// Examples with which guests succeed: open sessions, and evidence for an open challenge.
async fn examples(world: &World) -> Value {
    let [attested, attesting] = ["attested", "attesting"].map(unique);
    for id in [&attested, &attesting] {
        world.register(id).await;
    }
    let mut libkrun = world.polite(&attested, world.milan());
    libkrun.boot().await.unwrap();
    let mut fresh = world.polite(&attesting, world.milan());
    fresh.auth().await.unwrap();
    let evidence: Value = serde_json::from_str(&fresh.state.attest_body().unwrap()).unwrap();

    let registered = RvpCli::new(&world.url, &MEASUREMENT, "p").register().await.unwrap();
    let mut machine = world.milan();
    machine.fields.host_data = RvpCli::host_data(&registered).unwrap();
    let mut keybroker = KeybrokerGuest::new(&world.url, machine).unwrap();
    keybroker.boot("passphrase").await.unwrap();

    let kata = unique("kata");
    register_kata(world, &kata);
    let [trustees, attesting] = [(); 2].map(|()| {
        let url = format!("{}/w/{kata}", world.url);
        TrusteeGuest::new(&url, KbsVersion::V0_4_0, KeyForm::P256, world.milan()).unwrap()
    });
    let (mut trustees, mut attesting) = (trustees, attesting);
    trustees.boot(TRUSTEES, Credential::Cookie).await.unwrap();
    attesting.auth().await.unwrap();
    let presented: Value = serde_json::from_str(&attesting.attestation().unwrap().body()).unwrap();

    let (key, resource, attest) = ("/kbs/v0/key/{workload_id}", "/kbs/v0/resource/{name}", "/kbs/v0/attest");
    let named = "/kbs/v0/resource/{repository}/{type}/{tag}";
    let (attest_of, named_of) = ("/w/{workload_id}/kbs/v0/attest", &format!("/w/{{workload_id}}{named}"));
    json!({
        example(key, 0): attested,
        example(key, 1): libkrun.state.session_id,
        example(resource, 1): keybroker.state.session_id,
        example(attest, 0): fresh.state.session_id,
        bodies(attest): { "libkrun": { "value": evidence } },
        example(attest_of, 0): kata,
        example(attest_of, 1): attesting.session_id,
        bodies(attest_of): { "trustee": { "value": presented } },
        example(named, 3): trustees.session_id,
        example(named_of, 0): kata,
        example(named_of, 4): trustees.session_id,
        bodies("/v1/release"): { "guest": { "value": native::Guest::register(world).request() } },
    })
}

/// The resource of Trustee's guests, as the description has it for an example.
const TRUSTEES: &str = "default/key/tls";

fn register_kata(world: &World, id: &str) {
    let body = json!({
        "workload_id": id,
        "dialects": ["trustee"],
        "measurements": [data_encoding::HEXLOWER.encode(&MEASUREMENT)],
        "resources": { TRUSTEES: "p" },
    });
    let response = world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
    assert_eq!(response.status, 200, "{}", response.text());
}

fn schemathesis(url: &str, examples: &Path, report: &Path) -> Ended {
    let mut command = Command::new(workspace().join("tests/schemathesis/run"));
    command.arg(url).arg(report).env("KEYBROKER_TEST_EXAMPLES", examples);
    command.output().expect("tests/schemathesis/run").into()
}

/// How often each route gave each status.
fn statuses(report: &Path, url: &str) -> BTreeMap<(&'static str, i64), usize> {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let mut statuses = BTreeMap::new();
    for entry in report["log"]["entries"].as_array().unwrap() {
        let (request, status) = (&entry["request"], entry["response"]["status"].as_i64().unwrap());
        let path = request["url"].as_str().unwrap().strip_prefix(url).unwrap();
        if let Some(route) = ROUTES.into_iter().find(|route| leads(route, path))
            && request["method"] == route.method.as_str()
        {
            *statuses.entry((route.path, status)).or_default() += 1;
        }
    }
    statuses
}

/// Whether a path belongs to a route, its parameters included.
fn leads(route: &Route, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (own, asked): (Vec<_>, Vec<_>) = (route.path.split('/').collect(), path.split('/').collect());
    own.len() == asked.len()
        && own.iter().zip(asked).all(|(own, asked)| own.starts_with('{') || *own == asked)
}

#[tokio::test]
async fn every_answer_of_serve_is_in_the_openapi_document() {
    // Sessions must last while schemathesis is set up, which takes a while the first time.
    let (world, directory) = (World::serve(&["--session-ttl", "3600"]), TempDir::new().unwrap());
    let [given, report] = ["examples.json", "report.har"].map(|name| directory.path().join(name));
    fs::write(&given, examples(&world).await.to_string()).unwrap();
    let ended = schemathesis(&world.url, &given, &report);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.log);

    let statuses = statuses(&report, &world.url);
    let count = |path, status| statuses.get(&(path, status)).copied().unwrap_or_default();
    for route in ROUTES {
        assert!(count(route.path, 200) > 0, "{} never succeeded: {statuses:?}", route.path);
        let amiss = if route.is_trustees() { 401 } else { 400 };
        // The two that take nothing cannot be asked amiss.
        if route.path != "/healthz" && route.path != "/kbs/v0/jwks" {
            assert!(count(route.path, amiss) > 0, "{} was never asked amiss: {statuses:?}", route.path);
        }
    }
    // The broker still works after all that.
    world.boots_a_guest(&unique("w")).await;
}
