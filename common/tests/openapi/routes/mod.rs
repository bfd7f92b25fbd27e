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
    answers::{self, Form},
    operation::Operation,
    shared::object,
};

/// Every route's path with its description, in the order of the table.
pub(crate) fn operations() -> Vec<(&'static str, Operation)> {
    vec![
        ("/kbs/v0/register_workload", register_workload::register_workload()),
        ("/rvp/register", register_reference_values::register_reference_values()),
        ("/kbs/v0/auth", auth::auth()),
        ("/kbs/v0/attest", attest::attest()),
        ("/kbs/v0/key/{workload_id}", released::key()),
        ("/kbs/v0/resource/{name}", released::resource()),
        ("/v1/challenge", native::challenge()),
        ("/v1/release", native::release()),
        ("/healthz", health()),
    ]
}

/// The ways in which a caller that registers may authenticate itself.
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
        problems: vec![Error::Internal { id: None }.into(), Problem::Unhealthy],
        form: Form::Text,
        security: Vec::new(),
        schemas: Map::new(),
    }
}
