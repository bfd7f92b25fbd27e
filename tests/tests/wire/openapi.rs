//! schemathesis compares `keybroker serve` with docs/openapi.yaml. Another test shows that the code generates
//! that file.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use keybroker_common::http::{ROUTES, Route};
use keybroker_simulator::{guest::KeybrokerGuest, rvp::RvpCli};
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
    let method = if path == "/kbs/v0/attest" { "post" } else { "get" };
    format!("/paths/{}/{method}/parameters/{parameter}/example", path.replace('/', "~1"))
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

    let (key, resource, attest) = ("/kbs/v0/key/{workload_id}", "/kbs/v0/resource/{name}", "/kbs/v0/attest");
    let release = "/paths/~1v1~1release/post/requestBody/content/application~1json/examples";
    let body = "/paths/~1kbs~1v0~1attest/post/requestBody/content/application~1json/examples";
    json!({
        example(key, 0): attested,
        example(key, 1): libkrun.state.session_id,
        example(resource, 1): keybroker.state.session_id,
        example(attest, 0): fresh.state.session_id,
        body: { "libkrun": { "value": evidence } },
        release: { "guest": { "value": native::Guest::register(world).request() } },
    })
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

/// Whether a path belongs to a route, its parameter included.
fn leads(route: &Route, path: &str) -> bool {
    match route.path.split_once('{') {
        None => path == route.path,
        Some((before, _)) => path.starts_with(before),
    }
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
        if route.path != "/healthz" {
            assert!(count(route.path, 400) > 0, "{} was never asked amiss: {statuses:?}", route.path);
        }
    }
    // The broker still works after all that.
    world.boots_a_guest(&unique("w")).await;
}
