//! Genuine AMD evidence: the sample of the `sev` package, and vectors beside the clone, if there are any.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::program;

/// The sample in the `sev` package: a report of a Milan, in hex, and its VCEK.
pub fn sev_sample() -> (PathBuf, PathBuf) {
    // Only the packages of this host's dependency graph are sure to be there.
    let version = run(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let metadata =
        run(&["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata");
    let packages = metadata.get("packages").and_then(Value::as_array).expect("packages");
    let sev = packages.iter().find(|package| package.get("name") == Some(&"sev".into())).expect("sev");
    let manifest = sev.get("manifest_path").and_then(Value::as_str).expect("a path");
    let data = Path::new(manifest).parent().expect("a directory").join("tests/certs_data");
    (data.join("report_milan.hex"), data.join("vcek_milan.der"))
}

/// Runs cargo and returns its output.
fn run(arguments: &[&str]) -> String {
    let output = program::cargo().args(arguments).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The directory of a vector, in `KEYBROKER_VECTORS` or in `shared/vectors` beside the clone. `None` if there
/// is none.
pub fn vector(name: &str) -> Option<PathBuf> {
    let beside = || program::workspace().join("../shared/vectors");
    let vectors = env::var_os("KEYBROKER_VECTORS").map_or_else(beside, PathBuf::from);
    let vector = vectors.join(name);
    vector.is_dir().then_some(vector)
}
