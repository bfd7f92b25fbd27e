//! Answers: successes as they are described, refusals as the map of problems makes them.

use std::collections::BTreeMap;

use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, header};
use serde_json::{Map, Value, json};

use super::{
    schema::{described, reference},
    shared::object,
};
use keybroker_common::{
    broker::Error,
    problem::{Problem, TrusteeStage},
    wire::Invalid,
};

/// The answer 200 with this body and these further header fields.
pub(crate) fn success(
    description: &str,
    schema: &Value,
    example: &Value,
    headers: &[(&str, Value)],
) -> Value {
    let mut answer = empty(description);
    answer["content"] = json!({ "application/json": { "schema": schema, "example": example } });
    for (name, value) in headers {
        answer["headers"][name] = value.clone();
    }
    answer
}

/// The answer 200 without a body.
pub(crate) fn empty(description: &str) -> Value {
    let (name, cache_control) = header_field(&header::CACHE_CONTROL);
    json!({ "description": description, "headers": { name: cache_control } })
}

/// The form of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An object of a text and an id, which suits the buffers of libkrun's guest.
    Text,
    /// Problem details (RFC 9457), in the broker's own protocol.
    Details,
    /// A type and a detail, as Trustee's clients read them.
    Trustee(TrusteeStage),
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Text | Self::Trustee(_) => "application/json",
            Self::Details => "application/problem+json",
        }
    }

    fn status(self, problem: &Problem) -> u16 {
        match self {
            Self::Text | Self::Details => problem.status(),
            Self::Trustee(_) => problem.trustee_status(),
        }
        .as_u16()
    }

    fn body(self, problem: &Problem) -> Vec<u8> {
        match self {
            Self::Text => problem.body(),
            Self::Details => problem.details(),
            Self::Trustee(stage) => problem.trustee_body(stage),
        }
    }

    /// The schema of a refusal with a record, or of one without.
    fn schema(self, recorded: bool) -> Value {
        reference(match (self, recorded) {
            (Self::Text, false) => "Refusal",
            (Self::Text, true) => "RecordedRefusal",
            (Self::Details, false) => "Problem",
            (Self::Details, true) => "RecordedProblem",
            (Self::Trustee(_), _) => "ErrorInformation",
        })
    }

    /// The names of examples in this form begin with it.
    fn prefix(self) -> &'static str {
        if matches!(self, Self::Trustee(_)) { "trustee-" } else { "" }
    }
}

/// A problem, and the form in which the client is told.
pub(crate) type Told = (Form, Problem);

/// These problems in this form.
pub(crate) fn told(form: Form, problems: Vec<Problem>) -> Vec<Told> {
    problems.into_iter().map(|problem| (form, problem)).collect()
}

/// The answers to `problems`, by status.
pub(crate) fn refusals(problems: &[Told]) -> Map<String, Value> {
    let mut by_status = BTreeMap::<u16, Vec<Told>>::new();
    for (form, problem) in problems {
        by_status.entry(form.status(problem)).or_default().push((*form, problem.clone()));
    }
    by_status.into_iter().map(|(status, problems)| (status.to_string(), refusal(&problems))).collect()
}

/// The answer that these problems of one status have in common.
pub(crate) fn refusal(problems: &[Told]) -> Value {
    let mut described: Vec<&str> = Vec::new();
    let mut schemas = BTreeMap::<&str, Vec<Value>>::new();
    let mut examples = BTreeMap::<&str, Map<String, Value>>::new();
    for (form, problem) in problems {
        let text = when(*form, problem);
        if !described.contains(&text) {
            described.push(text);
        }
        let schemas = schemas.entry(form.media_type()).or_default();
        let schema = form.schema(problem.id().is_some());
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
        let value: Value = serde_json::from_slice(&form.body(problem)).unwrap();
        let name = form.prefix().to_owned() + &name_of(problem);
        examples.entry(form.media_type()).or_default().insert(name, json!({ "value": value }));
    }
    let content = schemas.into_iter().map(|(media_type, mut schemas)| {
        let schema = if schemas.len() > 1 { json!({ "anyOf": schemas }) } else { schemas.remove(0) };
        (media_type.to_owned(), json!({ "schema": schema, "examples": examples.remove(media_type) }))
    });
    let headers = problems.iter().flat_map(|(_, problem)| headers(problem.clone().into_response().headers()));
    json!({
        "description": described.join(" Or: "),
        "headers": headers.collect::<Map<_, _>>(),
        "content": content.collect::<Map<_, _>>(),
    })
}

/// The schemas of refusals.
pub(crate) fn schemas() -> Map<String, Value> {
    let error = json!({
        "description": "The fault, for people.", "type": "string", "minLength": 1, "maxLength": 600,
    });
    let id = json!({
        "description": "The audit record, which holds the cause.", "type": "string", "format": "uuid",
    });
    let refusal = |description, properties, required| {
        json!({
            "description": description,
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    };
    let bare = refusal("A refusal without an audit record.", json!({ "error": &error }), json!(["error"]));
    let recorded = refusal(
        "A refusal with an audit record.",
        json!({ "error": &error, "id": id }),
        json!(["error", "id"]),
    );
    let member = |(name, schema): (&str, Value)| (name.to_owned(), schema);
    let text = [("Refusal", bare), ("RecordedRefusal", recorded)].map(member);
    let trustees = [("ErrorInformation", error_information())].map(member);
    text.into_iter().chain(details().map(member)).chain(trustees).collect()
}

/// The schema of a refusal as Trustee's clients read it.
fn error_information() -> Value {
    let kind = json!({
        "description": "The kind of the fault, by Trustee's own names.",
        "type": "string",
        "pattern": "^https://github\\.com/confidential-containers/kbs/errors/[A-Za-z]+$",
    });
    let detail = json!({
        "description": "The fault, for people, with the id of the audit record, where there is one.",
        "type": "string",
        "minLength": 1,
        "maxLength": 240,
    });
    described(
        "A refusal as Trustee's clients read it. After 401 they attest anew, and every other status is final.",
        object(&[("type", kind), ("detail", detail)]),
    )
}

/// The schemas of problem details.
fn details() -> [(&'static str, Value); 2] {
    let members = || {
        vec![
            (
                "type",
                json!({ "description": "The status says all.", "type": "string", "const": "about:blank" }),
            ),
            ("title", json!({ "description": "The status in words.", "type": "string", "minLength": 1 })),
            (
                "status",
                json!({ "description": "The status.", "type": "integer", "minimum": 400, "maximum": 599 }),
            ),
            (
                "detail",
                json!({
                    "description": "The fault, for people.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 120,
                }),
            ),
        ]
    };
    let decision = json!({
        "description": "The audit record, which holds the cause: `keybroker audit` takes this id.",
        "type": "string", "format": "uuid",
    });
    let bare = described("Problem details (RFC 9457) without an audit record.", object(&members()));
    let mut recorded = members();
    recorded.push(("decision", decision));
    let recorded = described("Problem details (RFC 9457) with an audit record.", object(&recorded));
    [("Problem", bare), ("RecordedProblem", recorded)]
}

/// When it happens. Exhaustive, so that no problem goes without a word.
fn when(form: Form, problem: &Problem) -> &'static str {
    let details = form == Form::Details;
    let trustees = matches!(form, Form::Trustee(_));
    match problem {
        Problem::Broker(Error::NoSession { .. }) | Problem::NoCookie
            if form == Form::Trustee(TrusteeStage::Resource) =>
        {
            "Neither cookie nor attestation result leads to a session that counts and may fetch. If the broker \
             made neither, there is no audit record."
        }
        Problem::Invalid(Invalid::ResourceName) if trustees => "The path names no resource.",
        Problem::Broker(Error::NoSecret { .. }) => "The registration has no resource of this name.",
        Problem::Broker(Error::NoSession { .. }) if details => {
            "The challenge was answered before, is over, or is not this broker's. If the broker did not make it, \
             there is no audit record."
        }
        Problem::Broker(Error::TooMany { .. }) if details => {
            "The same as 401, but there are too many such requests: this one has no audit record."
        }
        Problem::Broker(Error::Unavailable { .. }) if details => {
            "The broker could not decide or release. Ask for another challenge later: this one may be spent."
        }
        Problem::Invalid(_) if details || trustees => {
            "The request is not understood: `detail` names the fault."
        }
        Problem::Broker(Error::NoSession { .. }) => {
            "The session that the cookie names is unknown, spent or expired, or has not reached this step. If \
             the broker did not make its id, there is no audit record."
        }
        Problem::Broker(Error::Refused { .. }) => "A check failed: the audit record says which.",
        Problem::Broker(Error::Unauthenticated { .. }) => {
            "The request's credential does not permit this registration, or there is none. Only the audit \
             record has the reason."
        }
        Problem::Broker(Error::TooMany { .. }) => {
            "The same as 401, but there are too many such requests: this one has no audit record. The \
             broker always considers a valid token or session."
        }
        Problem::Broker(Error::AlreadyRegistered { .. }) => {
            "The id is registered, and this request may not replace \
                                                      it."
        }
        Problem::Broker(Error::Policy(_)) => "The broker does not accept the policy in Rego.",
        Problem::Broker(Error::Unavailable { .. }) => {
            "The broker could not decide, and nothing is spent: the same request may succeed later."
        }
        Problem::Broker(Error::Internal { .. }) => {
            "An error in the broker, which goes on: nothing was decided. Its log has the place of the error, \
             and nothing of the request."
        }
        Problem::Unhealthy => {
            "The store's last operation failed and still fails, or there is no room for more."
        }
        Problem::Invalid(_) => "The request is not understood: `error` names the fault.",
        Problem::NoCookie => "No cookie names a session of this kind.",
        Problem::NotFound => "There is nothing under this path.",
        Problem::MethodNotAllowed(_) => "The path takes another method.",
        Problem::Timeout => "The body took too long to arrive.",
        Problem::Truncated => "The body did not arrive whole.",
        Problem::TooLarge(_) => "The body is longer than any such request's.",
        Problem::MediaType => "The body is declared to be something else than JSON, or nothing.",
    }
}

/// The first words of its text.
fn name_of(problem: &Problem) -> String {
    let text = problem.to_string().to_lowercase();
    let words: Vec<_> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let suffix = if problem.id().is_some() { "-recorded" } else { "" };
    words.into_iter().take(6).collect::<Vec<_>>().join("-") + suffix
}

/// References to the descriptions of the header fields that an answer has.
fn headers(sent: &HeaderMap) -> Vec<(String, Value)> {
    let described = |name: &&HeaderName| ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(*name);
    sent.keys().filter(described).map(header_field).collect()
}

/// A reference to the description of a header field of answers.
fn header_field(name: &HeaderName) -> (String, Value) {
    let described = header_fields()
        .into_iter()
        .map(|(described, _)| described)
        .find(|described| described.eq_ignore_ascii_case(name.as_str()))
        .unwrap_or_else(|| panic!("{name} is to be described in header_fields"));
    let reference = json!({ "$ref": format!("#/components/headers/{described}") });
    (described, reference)
}

/// The descriptions of the header fields of answers.
pub(crate) fn header_fields() -> Map<String, Value> {
    let field = |name: &str, description: &str, schema: Value| {
        (name.to_owned(), json!({ "description": description, "required": true, "schema": schema }))
    };
    [
        field("Allow", "The method that the path takes.", json!({ "type": "string" })),
        field(
            "Cache-Control",
            "Nothing is to be kept on the way.",
            json!({ "type": "string", "const": "no-store" }),
        ),
        field(
            "WWW-Authenticate",
            "A token is asked for; Basic, as buildah sends it, is taken as well.",
            json!({ "type": "string", "const": "Bearer" }),
        ),
        field("Retry-After", "Seconds after which to try again.", json!({ "type": "integer", "minimum": 1 })),
    ]
    .into_iter()
    .collect()
}
