//! A dialect is a room of its own and one row: nothing else may tell dialects apart by a `match`.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Every Rust source below `directory`, but tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if !["target", "tests", "fuzz"].contains(&name.to_str().unwrap()) {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// How many arms of a `match` name a dialect, by file.
fn arms() -> BTreeMap<String, usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    sources(root, &mut found);
    let mut arms = BTreeMap::new();
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        let named = code
            .filter(|line| line.split_once("=>").is_some_and(|(pattern, _)| pattern.contains("Dialect::")));
        let count = named.count();
        if count > 0 {
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            arms.insert(path, count);
        }
    }
    arms
}

#[test]
fn one_match_tells_dialects_apart() {
    let expected = BTreeMap::from([("common/src/wire/mod.rs".to_owned(), 4)]);
    assert_eq!(arms(), expected, "what differs between dialects belongs into their rows");
}
