//! For each route: its purpose, its body with the schemas, its answers and its refusals.

mod attest;
mod auth;
mod native;
mod register_reference_values;
mod register_workload;
mod released;

use keybroker_common::{broker::Error, problem::Problem};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form, told},
    operation::Operation,
    shared::object,
};

/// Every route's path with its description, in the order of the table.
pub(crate) fn operations() -> Vec<(&'static str, Operation)> {
    vec![
        ("/kbs/v0/register_workload", register_workload::register_workload()),
        ("/rvp/register", register_reference_values::register_reference_values()),
        ("/kbs/v0/auth", auth::auth()),
        ("/w/{workload_id}/kbs/v0/auth", auth::auth_of()),
        ("/kbs/v0/attest", attest::attest()),
        ("/w/{workload_id}/kbs/v0/attest", attest::attest_of()),
        ("/kbs/v0/key/{workload_id}", released::key()),
        ("/kbs/v0/resource/{name}", released::resource()),
        ("/kbs/v0/resource/{repository}/{type}/{tag}", released::named_resource()),
        ("/w/{workload_id}/kbs/v0/resource/{repository}/{type}/{tag}", released::named_resource_of()),
        ("/kbs/v0/jwks", released::result_keys()),
        ("/v1/challenge", native::challenge()),
        ("/v1/release", native::release()),
        ("/healthz", health()),
    ]
}

/// The ways in which a caller that registers may authenticate itself, and a guest beside its cookie.
pub(crate) fn security_schemes() -> Value {
    json!({
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "A token of `keybroker token create`, as user or as password: buildah sends this \
                            form for `https://x:TOKEN@host`.",
        },
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `keybroker token create`.",
        },
        "result": {
            "type": "http",
            "scheme": "bearer",
            "description": "The attestation result that `attest` gave to this guest.",
        },
    })
}

/// A token, or nothing where the broker takes registrations from anybody who reaches it.
fn token_or_nothing() -> Vec<Value> {
    vec![json!({}), json!({ "basic": [] }), json!({ "bearer": [] })]
}

fn health() -> Operation {
    let form = object(&[("status", json!({ "type": "string", "const": "ok" }))]);
    Operation {
        id: "health",
        summary: "Says whether the broker can serve",
        description: "`keybroker serve` checks its store: whether the last operation succeeded, or one does \
                      now, and whether there is room for more. It does not check wrapping keys or AMD's \
                      service."
            .to_owned(),
        parameters: Vec::new(),
        request: None,
        success: answers::success("It can serve.", &form, &json!({ "status": "ok" }), &[]),
        problems: told(Form::Text, vec![Error::Internal { id: None }.into(), Problem::Unhealthy]),
        security: Vec::new(),
        schemas: Map::new(),
    }
}
