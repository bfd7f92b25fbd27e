//! Every text that is registered gets an answer, never a panic.

use keybroker_rego::Policy;
use proptest::{prelude::*, sample::select};

use super::text;

/// The tokens that Rego is made of.
const TOKENS: [&str; 70] = [
    "package",
    "p",
    "import",
    "rego.v1",
    "data",
    "input",
    "allow",
    "if",
    "else",
    "default",
    "not",
    "some",
    "every",
    "in",
    "contains",
    "with",
    "as",
    "true",
    "false",
    "null",
    "x",
    "y",
    "_",
    "f",
    "count",
    "to_number",
    "object.get",
    "0",
    "1",
    "-1",
    "1.5",
    "99999999999999999999",
    "\"a\"",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    "`raw`",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    ".",
    "|",
    "&",
    "=",
    ":=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "\n",
    "\t",
    "#c\n",
    "set()",
    "[_]",
    ".a",
    "data.p.allow",
    "input.snp",
    "__target__",
];

/// Tokens that have no place in it.
const ODD: [&str; 5] = ["\"", "\\", "\u{e9}", "\0", "1e9"];

fn tokens() -> impl Strategy<Value = String> {
    let token = prop_oneof![200 => select(&TOKENS[..]), 1 => select(&ODD[..])];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.join(" "))
}

fn module() -> impl Strategy<Value = String> {
    tokens().prop_map(|body| {
        format!(
            "package p
allow if {{ {body} }}
"
        )
    })
}

/// A policy of the documentation with a few of its bytes replaced, dropped or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let original = include_str!("../../../docs/policies.md");
    let modules: Vec<String> = original
        .split("```rego policy=")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('\n')?.1.split_once("```")?.0.to_owned()))
        .collect();
    (
        select(modules),
        prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, select(&TOKENS[..])), 1..6),
    )
        .prop_map(|(module, changes)| {
            let mut chars: Vec<char> = module.chars().collect();
            for (index, kind, token) in changes {
                let at = index.index(chars.len() + 1).min(chars.len());
                match kind {
                    0 => drop(chars.splice(at..at, token.chars()).collect::<Vec<_>>()),
                    1 if at < chars.len() => drop(chars.remove(at)),
                    2 => chars.truncate(at),
                    _ => {
                        let again: Vec<char> = chars.iter().skip(at).take(20).copied().collect();
                        drop(chars.splice(at..at, again).collect::<Vec<_>>());
                    }
                }
            }
            chars.into_iter().collect()
        })
}

fn answered(module: &str, query: &str) {
    // A panic of the thread that compiles would be said to be the want of one.
    let text = text(module, &[query], r#"{"a":[1,2]}"#);
    match Policy::compile(&text) {
        Ok(policy) => {
            for gave in policy.results(&super::sample_once(), std::time::Duration::from_millis(50)) {
                assert!(!gave.to_string().ends_with("without an answer"), "{text:?}");
            }
        }
        Err(error) => assert_ne!(error, keybroker_rego::PolicyError::NoThread, "{text:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn modules_are_answered(module in prop_oneof![module(), tokens(), mutated()]) {
        answered(&module, "data.p.allow");
    }

    #[test]
    fn queries_are_answered(query in tokens()) {
        answered("", &query);
        answered("package p\nallow := true", &query);
    }
}

/// `KEYBROKER_FUZZ_CASES` makes more of it.
fn cases() -> u32 {
    std::env::var("KEYBROKER_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}
