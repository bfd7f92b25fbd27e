//! Genuine AMD evidence: what the `sev` package ships, and vectors beside the clone, where there are any.
#![allow(clippy::expect_used, reason = "a fixture that cannot be made has nothing better to do")]

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::program;

/// The sample in the `sev` package: a report of a Milan, in hex, and its VCEK.
pub fn sev_sample() -> (PathBuf, PathBuf) {
    let output = program::cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .expect("cargo metadata");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata");
    let packages = metadata.get("packages").and_then(Value::as_array).expect("packages");
    let sev = packages.iter().find(|package| package.get("name") == Some(&"sev".into())).expect("sev");
    let manifest = sev.get("manifest_path").and_then(Value::as_str).expect("a path");
    let data = Path::new(manifest).parent().expect("a directory").join("tests/certs_data");
    (data.join("report_milan.hex"), data.join("vcek_milan.der"))
}

/// The directory of a vector: `KEYBROKER_TEST_VECTORS`, or `shared/vectors` beside the clone, holds it. `None` if not.
pub fn vector(name: &str) -> Option<PathBuf> {
    let beside = || program::workspace().join("../shared/vectors");
    let vectors = env::var_os("KEYBROKER_TEST_VECTORS").map_or_else(beside, PathBuf::from);
    let vector = vectors.join(name);
    vector.is_dir().then_some(vector)
}
