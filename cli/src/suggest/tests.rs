use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use clap::Parser as _;
use keybroker_common::audit::Check;

use super::*;

/// A store of each kind, under names that a shell would split.
fn places() -> [StorePlace; 3] {
    let region = |name: &str| (name == "AWS_REGION").then(|| "eu-west-1".to_owned());
    let login = Login { region: Some("us-east-1".to_owned()), profile: Some("on call".to_owned()) };
    [
        StorePlace::local(Path::new("/srv/it's a store/$HOME"))
            .with_key_file(Path::new("/etc/key broker/key")),
        StorePlace::aws("prod", &login, region),
        StorePlace::none(),
    ]
}

/// The words that a shell makes of a command, and the variables in front of it.
fn through_a_shell(command: &str) -> (Vec<String>, Vec<String>) {
    let script = format!(
        "keybroker() {{ printf '%s\\0' keybroker \"$@\"; env | grep ^AWS_ >&2 || true; }}; {command}"
    );
    let mut shell = Command::new("/bin/sh");
    let output = shell.env_clear().env("PATH", "/usr/bin:/bin").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_terminator('\0').map(str::to_owned).collect();
    (words, String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect())
}

/// Parses the command as the program would, and checks that it leads to the store of `place`.
fn check(command: &str, place: &StorePlace) {
    let (words, variables) = through_a_shell(command);
    match Cli::try_parse_from(&words) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{command}: {error}"),
    }
    let known = Cli::command();
    let mut named = &known;
    for word in words.iter().skip(1) {
        named = named.find_subcommand(word).unwrap_or(named);
    }
    for (option, value) in &place.options {
        let argument = named.get_arguments().find(|argument| argument.get_long() == Some(option));
        if argument.is_some() {
            let option = format!("--{option}");
            let found = words.iter().skip_while(|word| **word != option).take(2).collect::<Vec<_>>();
            assert_eq!(found.first().map(|word| word.as_str()), Some(option.as_str()), "{command}");
            assert!(value.is_none() || found.get(1).copied() == value.as_ref(), "{command}: {found:?}");
        }
    }
    if named.get_arguments().any(|argument| argument.get_long() == Some("aws")) {
        let expected: Vec<_> =
            place.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(variables, expected, "{command}");
    }
}

/// The program's sources, without comments and without the help of arguments: examples name no store.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    let others = ["tests.rs", "runbook.rs", "suggest/mod.rs"];
    paths.retain(|path| !others.iter().any(|other| path.ends_with(other)));
    let read = |path: PathBuf| {
        let mut attribute = false;
        let mut text = String::new();
        let whole = fs::read_to_string(&path).unwrap();
        let (own, _) = whole.split_once("\n#[cfg(test)]\nmod tests").unwrap_or((&whole, ""));
        for line in own.lines() {
            let trimmed = line.trim();
            attribute |= trimmed.starts_with("#[") || trimmed.starts_with("const EXAMPLES");
            if !attribute && !trimmed.starts_with("//") {
                text += line;
                text += "\n";
            }
            attribute &= ![")]", "]", "\";"].iter().any(|end| trimmed.ends_with(end));
        }
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Operands with which a suggested command is complete.
fn sample(command: &str) -> &'static [&'static str] {
    match command {
        "audit" => &["019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e"],
        "token revoke" => &["0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60"],
        "resource list" | "workload restore" | "workload revoke" | "workload show" => &["-billing"],
        "keys retire" => &["3f0c7a91e4d25b86c0913fd7a2486be51d0c93f7ab64e2185c7fd039be16a842"],
        "register --id-key" => &["id.pem.pub"],
        "register --from" => &["registration.json"],
        "measure kata --append-file cmdline --explain"
        | "measure krun --explain"
        | "measure qemu --ovmf OVMF.fd --explain" => &[
            "4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d",
        ],
        "certificates list"
        | "keys rotate"
        | "tcb list"
        | "token list --all"
        | "workload delete --never-released --older-than 7d --dry-run"
        | "workload list"
        | "workload list --never-released" => &[],
        other => panic!("{other} is suggested somewhere: add its operands here"),
    }
}

/// The commands that a text names as advice.
fn advised(text: &str) -> Vec<String> {
    let parts = text.split("`keybroker ").skip(1);
    parts.map(|part| format!("`keybroker {}`", part.split('`').next().unwrap())).collect()
}

#[test]
fn every_suggestion_is_a_whole_command_for_every_kind_of_store() {
    let mut commands = BTreeSet::new();
    let mut advice = BTreeSet::new();
    for (_, text) in sources() {
        for part in text.split(".command(\"").skip(1) {
            commands.insert(part.split('"').next().unwrap().to_owned());
        }
        advice.extend(advised(&text));
    }
    for check in Check::all() {
        advice.extend([false, true].map(|undecided| check.meaning(undecided)).iter().flat_map(|meaning| {
            [meaning.means, meaning.helps].into_iter().flat_map(advised).collect::<Vec<_>>()
        }));
    }
    assert!(commands.len() >= 5 && advice.len() >= 10, "{commands:?} {advice:?}");
    for place in places() {
        for command in &commands {
            check(&place.command(command, sample(command)), &place);
        }
        for advice in &advice {
            let whole = place.advice(advice);
            check(whole.trim_matches('`'), &place);
        }
    }
}

/// The values are words of strangers, for example the name of a check in a record.
#[test]
fn the_value_of_an_option_is_one_word_and_no_option() {
    for value in ["measurement", "it's a check", "-v", "--json", "$HOME; id", ""] {
        for place in places() {
            let command = place.command_with("audit", &[("since", "24h"), ("check", value)], &[]);
            check(&command, &place);
            let (words, _) = through_a_shell(&command);
            let given = words.windows(2).any(|words| words == ["--check", value])
                || words.contains(&format!("--check={value}"));
            assert!(given, "{command}");
        }
    }
}

/// A command in a message that no `StorePlace` completed leads to no particular store.
#[test]
fn no_message_names_a_command_but_as_advice() {
    for (path, text) in sources() {
        for subcommand in Cli::command().get_subcommands() {
            let bare = format!("keybroker {}", subcommand.get_name());
            for (at, _) in text.match_indices(&bare) {
                let before = &text[..at];
                assert!(before.ends_with('`'), "{}: {bare}", path.display());
            }
        }
    }
}

/// Advice that goes past a `StorePlace` would act on another store. The doctor and the audit complete all of
/// their advice where they print it.
#[test]
fn advice_about_a_store_goes_through_its_place() {
    let completed = ["command/doctor/", "command/report/page/lists.rs"];
    let takes_a_store = |command: &str| {
        let known = Cli::command();
        let words = command.split_whitespace();
        let named = words.fold(&known, |named, word| named.find_subcommand(word).unwrap_or(named));
        named.get_arguments().any(|argument| argument.get_long() == Some("data-dir"))
    };
    let mut found = 0;
    for (path, text) in sources() {
        let path = path.display().to_string();
        for (at, _) in text.match_indices("`keybroker ") {
            let command = text[at + 1..].split('`').next().unwrap();
            if completed.iter().any(|place| path.contains(place)) || !takes_a_store(command) {
                continue;
            }
            found += 1;
            let before = &text[..at];
            let statement =
                [";\n", "{\n", "}\n"].iter().filter_map(|end| before.rfind(end)).max().unwrap_or(0);
            assert!(before[statement..].contains("advice"), "{path}: `{command}` leads to no store");
        }
    }
    assert!(found >= 5, "{found}");
}

#[test]
fn a_word_is_one_word_to_a_shell() {
    for word in [
        "plain-1.0/x:y=z@a%b+c,d",
        "",
        "a b",
        "it's",
        "$HOME",
        "`id`",
        "a\\b",
        "\"",
        "~",
        "*",
        "a\nb",
        "ä",
        "#x",
    ] {
        let (words, _) = through_a_shell(&format!("keybroker {}", quoted(word)));
        assert_eq!(words, ["keybroker", word]);
    }
}

#[test]
fn a_directory_is_named_so_that_it_is_the_same_from_elsewhere() {
    let here = std::env::current_dir().unwrap();
    let expected =
        format!("keybroker workload list --data-dir {}", quoted(&here.join("data").display().to_string()));
    assert_eq!(StorePlace::local(Path::new("data")).command("workload list", &[]), expected);
}
