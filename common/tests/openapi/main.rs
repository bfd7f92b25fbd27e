//! The description of the HTTP API in `docs/openapi.yaml`. It is made from the table of routes, the schemas
//! in [`routes`], the wire's answers and the map of problems. The schemas are written by hand: [`drift`]
//! compares them with what the wire reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may what it is made of"
)]

mod answers;
mod drift;
mod judge;
mod operation;
mod reference_values;
mod routes;
mod schema;
mod shared;
mod yaml;

use std::fs;

use answers::Form;
use keybroker_common::{
    http::ROUTES,
    problem::{Problem, TrusteeStage},
};
use serde_json::{Map, Value, json};

/// Where the documentation has it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");

const HEAD: &str = "\
# The key broker's HTTP API, generated from its code: do not edit. Generate it with
#
#   KEYBROKER_WRITE_DOCS=1 cargo test -p keybroker-common --test openapi
";

const DESCRIPTION: &str = "\
Registration of confidential workloads, and release of their secrets to guests that have proved their identity with an AMD
SEV-SNP report. `protocol.md` beside this file explains it, and describes how clients behave on the wire.

Every answer has a `Content-Length` and `Cache-Control: no-store`, and none redirects. Every refusal is a JSON object of 3 to
199 bytes, but for the words about a policy that is refused. Below `/v1/` refusals are problem details (RFC 9457) in place of
that. Clients that speak Trustee's protocol are told a type and a detail (`ErrorInformation`), with the status that makes
them attest anew (401) or give up. Bodies are read strictly: unknown and duplicate fields are refused by name. A path that is not described here is 404
(`NotFound`), another method than a path's own is 405 (`MethodNotAllowed`).

On AWS each route of registration exists a second time under `/iam`, for requests signed by AWS's Signature Version 4 (service
`execute-api`): the same bodies and answers, but no token.

Some answers do not come from the broker, and are not described. `keybroker serve` answers 400 or 431 without a body if a
request is not HTTP or has too many header fields. It answers 421 if anybody may register on the loopback, and a registration
names another host. API Gateway, in front of a deployment on AWS, answers requests that are not signed as they must be (403),
come too fast (429) or take too long (503, 504).
";

/// A refusal that is of no route, in every form: the path decides.
fn in_every_form(problem: &Problem) -> Value {
    let forms = [Form::Text, Form::Details, Form::Trustee(TrusteeStage::Attestation)];
    answers::refusal(&forms.map(|form| (form, problem.clone())))
}

/// The whole document.
fn document() -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for (path, operation) in routes::operations() {
        let route = ROUTES.into_iter().find(|route| route.path == path).expect("a route");
        paths.insert(path.to_owned(), json!({ route.method.as_str().to_lowercase(): operation.to_json() }));
        schemas.extend(operation.schemas);
    }
    schemas.extend(answers::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "keybroker",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "http://127.0.0.1:8080",
            "description": "`keybroker serve`, where it listens by default",
        }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "NotFound": in_every_form(&Problem::NotFound),
                "MethodNotAllowed": in_every_form(&Problem::MethodNotAllowed(http::Method::POST)),
            },
            "headers": answers::header_fields(),
            "securitySchemes": routes::security_schemes(),
        },
    })
}

/// `KEYBROKER_WRITE_DOCS=1` writes the file anew.
#[test]
fn the_description_in_the_documentation_is_that_of_the_code() {
    let generated = HEAD.to_owned() + &yaml::emit(&document());
    if std::env::var_os("KEYBROKER_WRITE_DOCS").is_some() {
        fs::write(FILE, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(FILE).expect("docs/openapi.yaml") == generated,
        "docs/openapi.yaml is not what the code generates: its first lines say how to write it"
    );
}

/// A number, a quote or a tag that YAML reads differently would show here.
#[test]
fn the_written_description_reads_as_it_was_meant() {
    assert_eq!(keybroker_testing::yaml::read(&yaml::emit(&document())), document());
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let described: Vec<_> = routes::operations().into_iter().map(|(path, _)| path).collect();
    assert_eq!(described, ROUTES.map(|route| route.path));
    assert_eq!(document()["paths"].as_object().unwrap().len(), ROUTES.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(document: &Value, value: &Value) -> usize {
        let nested =
            |values: &mut dyn Iterator<Item = &Value>| values.map(|value| follow(document, value)).sum();
        match value {
            Value::Object(object) => {
                let reference = object.get("$ref").and_then(Value::as_str);
                if let Some(reference) = reference {
                    assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
                }
                usize::from(reference.is_some()) + nested(&mut object.values())
            }
            Value::Array(array) => nested(&mut array.iter()),
            _ => 0,
        }
    }
    let document = document();
    assert!(follow(&document, &document) > 10);
}
