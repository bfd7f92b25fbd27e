//! Signatures against the vectors that AWS publishes, as the signing library's package has them.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use reqwest::Url;
use serde_json::Value;

use super::*;

/// The vectors for signatures in the head of a request. `None` if the package of this version has none.
fn vectors() -> Option<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let version = cargo.arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    // Only the packages in this host's dependency graph are sure to be here.
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]);
    let metadata: Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "aws-sigv4").unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    let vectors = manifest.parent().unwrap().join("aws-signing-test-suite/v4");
    vectors.is_dir().then_some(vectors)
}

/// A request, and its signature.
struct Vector {
    context: Value,
    method: String,
    url: Url,
    headers: Vec<(String, String)>,
    body: String,
    signature: String,
}

impl Vector {
    /// Reads a vector. `None` if it needs something that the relay never does: a path that is not normalised,
    /// a path that is encoded once where API Gateway encodes twice, or a session token beside the signature.
    fn read(directory: &Path) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let context: Value = serde_json::from_str(&read("context.json")?).unwrap();
        if context["normalize"] != true || context["omit_session_token"] == true {
            return None;
        }
        let request = read("request.txt").unwrap();
        let (head, body) = request.split_once("\n\n").unwrap_or((&request, ""));
        // A line that begins with spaces continues a value.
        let head = head.trim_end().split("\n ").map(str::trim).collect::<Vec<_>>().join(" ");
        let mut lines = head.lines();
        let line = lines.next().unwrap();
        let (method, target) = line.strip_suffix(" HTTP/1.1").unwrap().split_once(' ').unwrap();
        let path = target.split('?').next().unwrap();
        if !path.is_ascii() || path.contains('%') {
            return None;
        }
        let field =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self {
            context,
            method: method.to_owned(),
            url: Url::parse(&format!("https://example.amazonaws.com{target}")).unwrap(),
            headers: lines.map(|line| field(line).unwrap()).collect(),
            body: body.to_owned(),
            signature: read("header-signature.txt").unwrap().trim().to_owned(),
        })
    }

    fn signed(mut self) -> String {
        let text = |pointer: &str| self.context.pointer(pointer).and_then(Value::as_str);
        if self.context["sign_body"] == true {
            let hash = HEXLOWER.encode(digest(&SHA256, self.body.as_bytes()).as_ref());
            self.headers.push(("x-amz-content-sha256".to_owned(), hash));
        }
        let credentials = Credentials::new(
            text("/credentials/access_key_id").unwrap(),
            text("/credentials/secret_access_key").unwrap(),
            text("/credentials/token").map(str::to_owned),
            None,
            "test",
        );
        let time: jiff::Timestamp = text("/timestamp").unwrap().parse().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_second().try_into().unwrap());
        let scope = Scope { region: text("/region").unwrap(), service: text("/service").unwrap(), time };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields =
            signature(credentials, &scope, &self.method, self.url.as_str(), headers, self.body.as_bytes());
        let authorization = fields.unwrap()["authorization"].to_str().unwrap().to_owned();
        authorization.rsplit_once("Signature=").unwrap().1.to_owned()
    }
}

#[test]
fn signatures_are_those_of_the_published_vectors() {
    let Some(vectors) = vectors() else {
        // This bypasses the harness, which hides the output of tests that pass.
        let _ = io::stdout().write_all(b"\nskipped: vectors of SigV4: the package aws-sigv4 holds none\n");
        return;
    };
    let mut compared = 0;
    for entry in fs::read_dir(vectors).unwrap() {
        let directory = entry.unwrap().path();
        let Some(vector) = Vector::read(&directory) else { continue };
        let expected = vector.signature.clone();
        assert_eq!(vector.signed(), expected, "{}", directory.display());
        compared += 1;
    }
    assert!(compared >= 25, "only {compared}");
}

#[test]
fn added_fields_are_kept_from_logs() {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("token".to_owned()), None, "test");
    let scope = Scope { region: "eu-central-1", service: "execute-api", time: SystemTime::UNIX_EPOCH };
    let fields = signature(credentials, &scope, "POST", "https://k/iam/rvp/register", [], b"{}").unwrap();
    let mut names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "x-amz-date", "x-amz-security-token"]);
    assert!(fields.values().all(HeaderValue::is_sensitive));
}
