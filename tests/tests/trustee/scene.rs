//! A broker with one workload for guests of Trustee's, and the form of its refusals.

use std::fmt::Debug;

use data_encoding::HEXLOWER;
use keybroker_simulator::{
    guest::{
        Error, Machine, Said,
        trustee::{Credential, HashAlgorithm, InitData, KbsVersion, KeyForm, TrusteeGuest},
    },
    http::Response,
};
use keybroker_tests::{
    operator::Operator,
    passphrase, unique,
    world::{MEASUREMENT, World, audit_id},
};
use serde_json::{Value, json};

/// The resource of every workload.
pub(crate) const PATH: &str = "default/key/disk";

/// The name space of the types of errors.
const TYPES: &str = "https://github.com/confidential-containers/kbs/errors";

/// A refusal as the client reads it, and the check that its audit record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) status: u16,
    /// The last part of `type`.
    pub(crate) kind: &'a str,
    /// `detail`, without the id of the record.
    pub(crate) text: &'a str,
    /// `None` if nothing is recorded.
    pub(crate) check: Option<&'a str>,
}

impl<'a> Refusal<'a> {
    /// A check failed at attest.
    pub(crate) const fn at_attest(check: &'a str) -> Self {
        Self { status: 401, kind: "AttestationError", text: "refused", check: Some(check) }
    }

    /// The body of auth or attest was not read.
    pub(crate) const fn unread(text: &'a str) -> Self {
        Self { status: 401, kind: "AttestationError", text, check: None }
    }

    /// A check failed at the resource.
    pub(crate) const fn at_resource(check: &'a str) -> Self {
        Self { status: 401, kind: "PolicyDeny", text: "refused", check: Some(check) }
    }

    /// The credential of a resource was not read.
    pub(crate) const fn unread_credential(text: &'a str) -> Self {
        Self { status: 401, kind: "PolicyDeny", text, check: None }
    }

    /// The broker made no such session or token, or it has ended.
    pub(crate) const NO_SESSION: Self =
        Self { status: 401, kind: "TokenVerifierError", text: "no such session", check: None };

    /// The session was made by this broker, and does not count.
    pub(crate) const LATE: Self = Self { check: Some("session"), ..Self::NO_SESSION };

    /// There is no cookie.
    pub(crate) const NO_COOKIE: Self = Self { text: "no session cookie", ..Self::NO_SESSION };

    /// The workload has no such resource.
    pub(crate) const NO_RESOURCE: Self =
        Self { status: 404, kind: "PluginInternalError", text: "resource not found", check: Some("secret") };

    /// No resource can have such a name.
    pub(crate) const NO_PATH: Self =
        Self { status: 404, kind: "InvalidRequestPath", text: "the path names no resource", check: None };
}

/// A registration of Trustee's guests with these resources.
pub(crate) fn registration(id: &str, resources: &[(&str, &str)], init_data: Option<&InitData>) -> Value {
    let resources: Value =
        resources.iter().map(|(name, secret)| ((*name).to_owned(), json!(secret))).collect();
    let mut body = json!({
        "workload_id": id,
        "dialects": ["trustee"],
        "measurements": [HEXLOWER.encode(&MEASUREMENT)],
        "resources": resources,
    });
    if let Some(init_data) = init_data {
        body["init_data"] = json!({"bound_by": "host_data", "document": init_data.text});
    }
    body
}

/// Sends a registration.
pub(crate) fn register(world: &World, body: &Value) -> Response {
    register_as(world, &[], body)
}

/// Sends a registration with these header lines.
pub(crate) fn register_as(world: &World, headers: &[&str], body: &Value) -> Response {
    world.ask("POST", "/rvp/register", headers, Some(&body.to_string()))
}

/// An init data document of its own for a workload.
pub(crate) fn init_data(id: &str, algorithm: HashAlgorithm) -> InitData {
    InitData::new(algorithm, &[("aa.toml", "[token_configs.kbs]"), ("workload", id)])
}

/// The form that the default build of a version makes.
pub(crate) const fn usual_key(version: KbsVersion) -> KeyForm {
    match version {
        KbsVersion::V0_1_0 | KbsVersion::V0_1_1 => KeyForm::Rsa1_5,
        KbsVersion::V0_2_0 | KbsVersion::V0_4_0 => KeyForm::P256,
    }
}

/// The forms in which a version's keys are served.
pub(crate) fn key_forms(version: KbsVersion) -> &'static [KeyForm] {
    match version {
        KbsVersion::V0_1_0 | KbsVersion::V0_1_1 => &[KeyForm::Rsa1_5],
        KbsVersion::V0_2_0 | KbsVersion::V0_4_0 => &KeyForm::ALL,
    }
}

/// A broker with one workload.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) id: String,
    pub(crate) secret: String,
    /// The document whose digest selects the workload. Without one, the guests' URL names it.
    pub(crate) init_data: Option<InitData>,
}

impl Scene {
    /// A workload that the guests' URL names.
    pub(crate) fn named(world: World) -> Self {
        Self::of(world, unique("w"), None)
    }

    /// A workload that HOST_DATA selects.
    pub(crate) fn launched(world: World) -> Self {
        let id = unique("w");
        let init_data = init_data(&id, HashAlgorithm::Sha256);
        Self::of(world, id, Some(init_data))
    }

    fn of(world: World, id: String, init_data: Option<InitData>) -> Self {
        let secret = passphrase();
        let response = register(&world, &registration(&id, &[(PATH, &secret)], init_data.as_ref()));
        assert_eq!(response.status, 200, "{}", response.text());
        Self { world, id, secret, init_data }
    }

    /// The URL of the guests' configuration.
    pub(crate) fn url(&self) -> String {
        let path = if self.init_data.is_none() { format!("/w/{}", self.id) } else { String::new() };
        self.world.url.clone() + &path
    }

    /// A guest on a Milan, with the usual key of its version.
    pub(crate) fn guest(&self, version: KbsVersion) -> TrusteeGuest {
        self.guest_on(self.world.milan(), version, usual_key(version))
    }

    pub(crate) fn guest_on(&self, machine: Machine, version: KbsVersion, form: KeyForm) -> TrusteeGuest {
        let guest = TrusteeGuest::new(&self.url(), version, form, machine).unwrap();
        match &self.init_data {
            Some(init_data) => guest.launched_with(init_data.clone()),
            None => guest,
        }
    }

    /// A guest with a challenge.
    pub(crate) async fn challenged(&self, version: KbsVersion) -> TrusteeGuest {
        let mut guest = self.guest(version);
        guest.auth().await.unwrap();
        guest
    }

    /// A guest with a token.
    pub(crate) async fn attested(&self, version: KbsVersion) -> TrusteeGuest {
        let mut guest = self.challenged(version).await;
        guest.attest().await.unwrap();
        guest
    }

    /// A genuine guest still gets the secret.
    pub(crate) async fn still_boots(&self) {
        let booted = self.guest(KbsVersion::V0_4_0).boot(PATH, Credential::Bearer).await;
        assert_eq!(booted, Ok(self.secret.clone().into_bytes()));
    }

    /// Asks for a resource with these header lines.
    pub(crate) fn ask(&self, path: &str, headers: &[&str]) -> Response {
        self.world.ask("GET", &format!("/kbs/v0/resource/{path}"), headers, None)
    }

    /// The decisions on record about the workload since the test began.
    pub(crate) fn decisions(&self) -> Vec<String> {
        let operator = Operator::of(&self.world);
        let listed = operator.json(&["audit", "--workload", &self.id, "--since", "1h"]);
        let decision = |record: &Value| record["decision"].as_str().unwrap().to_owned();
        listed["records"].as_array().unwrap().iter().map(decision).collect()
    }

    /// How many releases are on record.
    pub(crate) fn released(&self) -> usize {
        self.decisions().iter().filter(|decision| *decision == "released").count()
    }

    /// Asserts that the broker refused exactly so, and returns the audit record.
    pub(crate) fn assert_refused<T: Debug>(
        &self,
        answer: Result<T, Error>,
        expected: Refusal<'_>,
    ) -> Option<Value> {
        match answer {
            Err(Error::Refused(said)) => assert_said(&self.world, &said, expected),
            // No nonce, no token: the guest itself does not look at the status.
            other => panic!("expected {expected:?}, got {other:?}"),
        }
    }

    /// The same for a response.
    pub(crate) fn assert_response(&self, response: &Response, expected: Refusal<'_>) -> Option<Value> {
        assert_eq!(response.header("content-type"), ["application/json"]);
        assert!(response.header("location").is_empty());
        assert_said(&self.world, &Said::from(response), expected)
    }
}

/// Asserts that the broker said exactly this, and returns the audit record. A deployment's functions count
/// the requests without a session of all tests together, and answer some with 429.
pub(crate) fn assert_said(world: &World, said: &Said, expected: Refusal<'_>) -> Option<Value> {
    let Refusal { status, kind, text, check } = expected;
    if check == Some("session") && said.status == 429 && !world.is_served() {
        return None;
    }
    let detail = match check {
        Some(_) => format!("{text} (decision {})", audit_id(&said.body)),
        None => text.to_owned(),
    };
    let body: Value = serde_json::from_str(&said.body).unwrap_or_default();
    let wanted = json!({"type": format!("{TYPES}/{kind}"), "detail": detail});
    assert_eq!((said.status, &body), (status, &wanted), "{}", said.body);
    let record = world.audit(check.map(|_| said.body.as_str())?)?;
    let found = (record["decision"].as_str(), record["failed"]["check"].as_str());
    assert_eq!(found, (Some("refused"), check), "{record}");
    assert!(!record["failed"]["cause"].as_str().unwrap().is_empty(), "{record}");
    Some(record)
}
