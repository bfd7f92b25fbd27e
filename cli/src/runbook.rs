//! Holds the pages in docs/runbook to the program: it must understand every command in them.

use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path, process::Command};

use clap::{Parser as _, error::ErrorKind};

use crate::Cli;

/// Values of the right form for the words that an operator replaces.
const PLACEHOLDERS: [(&str, &str); 3] = [
    ("ID-OF-A-DECISION", "019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e"),
    ("TOKEN-ID", "0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60"),
    ("OTHER-REGION", "eu-west-1"),
];

/// The commands of the program in a page: those after a prompt, and those in running text.
fn commands(page: &str) -> Vec<String> {
    let (mut code, mut prose, mut fenced) = (Vec::new(), String::new(), false);
    for line in page.replace("\\\n", " ").lines().map(str::trim) {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            code.extend(line.strip_prefix("$ ").map(str::to_owned));
        } else {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    let quoted = prose.split('`').skip(1).step_by(2).map(str::to_owned);
    let lines = code.into_iter().chain(quoted);
    let each = lines.flat_map(|line| line.split("&&").map(|part| part.trim().to_owned()).collect::<Vec<_>>());
    each.filter(|command| command.starts_with("keybroker ")).collect()
}

/// The words that a shell makes of a command.
fn words(command: &str) -> Vec<String> {
    let command =
        PLACEHOLDERS.iter().fold(command.to_owned(), |text, (name, value)| text.replace(name, value));
    // Behind a pipe stand the programs that read the output.
    let command = command.split(" |").next().unwrap();
    let script = format!("keybroker() {{ printf '%s\\0' keybroker \"$@\"; }}; {command}");
    let output = Command::new("/bin/sh").env_clear().args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_runbook_is_understood() {
    let mut counted = BTreeMap::new();
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook");
    for page in fs::read_dir(pages).unwrap().map(|entry| entry.unwrap().path()) {
        let commands = commands(&fs::read_to_string(&page).unwrap());
        for command in &commands {
            match Cli::try_parse_from(words(command)) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(
                        error.kind(),
                        ErrorKind::DisplayHelp,
                        "{}: {command}: {error}",
                        page.display()
                    );
                }
            }
        }
        counted.insert(page.file_name().unwrap().to_owned(), commands.len());
    }
    counted.remove(OsStr::new("README.md"));
    // The one about the gateway needs AWS's commands alone.
    assert!(counted.len() == 8 && counted.values().filter(|count| **count > 0).count() == 7, "{counted:?}");
}

/// Commands that use the wrapping key would look for it in the operator's home otherwise.
#[test]
fn the_pages_of_the_package_name_every_place_that_its_settings_name() {
    let settings = include_str!("../debian/serve.conf");
    let places: Vec<_> = settings.lines().filter(|line| line.starts_with("KEYBROKER_")).collect();
    assert!(places.len() >= 2, "{places:?}");
    for page in [include_str!("../debian/README.Debian"), include_str!("../../docs/packages.md")] {
        let exported: Vec<_> = page.lines().filter(|line| line.contains("export KEYBROKER_")).collect();
        for place in &places {
            assert!(exported.iter().any(|line| line.contains(place)), "{place}: {exported:?}");
        }
    }
}

#[test]
fn a_command_is_found_wherever_it_stands() {
    let page = "`infra/smoke && keybroker doctor --aws`, and `keybroker` ends with 4";
    assert_eq!(commands(page), ["keybroker doctor --aws"]);
    let page =
        "Run `keybroker audit\nID --aws`.\n```console\n$ keybroker a \\\n    b   # c\nkeybroker says\n```\n";
    assert_eq!(commands(page), ["keybroker a      b   # c", "keybroker audit ID --aws"]);
    assert!(Cli::try_parse_from(words("keybroker audit ID --awz")).is_err());
}
