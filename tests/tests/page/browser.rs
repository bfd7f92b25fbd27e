//! Pages in headless Chromium: tests/page.

use std::{
    env,
    process::{Command, Stdio},
};

use keybroker_tests::{program::workspace, skip};
use serde::Deserialize;

/// A page as a person would see it. `tests/page/look.mjs` says what each member means.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) text: String,
    /// The same with everything opened.
    pub(crate) opened: String,
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) tiles: Vec<[String; 2]>,
    pub(crate) steps: Vec<String>,
    pub(crate) bars: Vec<Panel>,
    pub(crate) broken: Vec<String>,
    pub(crate) elements: Vec<String>,
    pub(crate) followed: Option<bool>,
    pub(crate) requests: Vec<String>,
    pub(crate) complaints: Vec<String>,
    pub(crate) wide: Vec<String>,
    pub(crate) dim: Vec<String>,
    pub(crate) colours: Colours,
    pub(crate) paper: Paper,
    pub(crate) invalid: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) anchor: String,
    pub(crate) label: String,
    pub(crate) count: String,
    pub(crate) ids: Vec<String>,
    pub(crate) commands: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Panel {
    pub(crate) links: usize,
    pub(crate) inside: bool,
}

/// The colours of the page and of its text.
#[derive(Debug, Deserialize)]
pub(crate) struct Colours {
    pub(crate) light: [String; 2],
    pub(crate) dark: [String; 2],
}

#[derive(Debug, Deserialize)]
pub(crate) struct Paper {
    pub(crate) pages: usize,
    pub(crate) links: usize,
    pub(crate) hidden: usize,
    pub(crate) bytes: usize,
}

/// Looks at these pages; `None` where there is no browser. If the environment names a file for the picture,
/// the first page is drawn into it.
pub(crate) fn look(pages: &[&str]) -> Option<Vec<Seen>> {
    let there = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let chromium = env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    if let Some(missing) = ["npm", &chromium].into_iter().find(|program| !there(program)) {
        skip(&format!("reports in a browser, for want of {missing}"));
        return None;
    }
    let mut command = Command::new(workspace().join("tests/page/run"));
    if let Ok(picture) = env::var("TEST_PICTURE") {
        command.arg("--picture").arg(workspace().join(picture));
    }
    let output = command.args(pages).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/page/run: {}", output.status);
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
