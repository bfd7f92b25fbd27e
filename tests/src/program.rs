//! The `keybroker` program, and how it ends.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's directory")
}

/// A `cargo` that works in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// The program's path: `TEST_PROGRAM`, if that is set. Otherwise the first call of a process builds
/// it, so that a suite can run alone in any clone.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| env::var_os("TEST_PROGRAM").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "keybroker", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages
        .filter(|message| message.pointer("/target/name") == Some(&"keybroker".into()))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    program.unwrap_or_else(|| panic!("cargo built no program: {text}"))
}

/// The program, with nothing of the caller's environment: neither settings nor a home.
pub fn keybroker() -> Command {
    let mut command = Command::new(path());
    command.env_clear();
    command
}

/// How a run of the program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub log: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), log: text(&output.stderr) }
    }
}

/// Makes a script that can be run, of `text`. This process does not write the file itself: a child that
/// another test starts meanwhile would hold it open, and what is open for writing cannot be run.
pub fn script(path: &Path, text: &str) {
    let plain = path.with_extension("text");
    fs::write(&plain, text).expect("a file");
    let installed = Command::new("install").args(["-m", "755"]).args([&plain, path]).status();
    assert!(installed.expect("install").success());
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Ended {
    keybroker().args(arguments).output().expect("the program").into()
}
