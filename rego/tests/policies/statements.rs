//! The result of every kind of statement, in a query and in the body of a rule: a statement that does not
//! hold refuses, wherever it stands.

use keybroker_common::policy::{Denied, Gave};
use keybroker_rego::{Forbidden, PolicyError, beginning_with_not_or_every};

use super::{compile, evaluate};

const REFERENCE: &str =
    r#"{"list":[1,2],"empty":[],"flag":{"on":true,"off":false},"name":"a","both":[true,false]}"#;

/// Functions and rules that statements ask.
const MODULE: &str = "package policy
above(x) if x > 1
yes if data.flag.on
no if data.flag.off
default never := false
names contains x if some x in data.list
";

/// A kind of statement: one that holds, and those that are false or have no value.
struct Kind {
    holds: &'static str,
    fails: &'static [&'static str],
}

const fn kind(holds: &'static str, fails: &'static [&'static str]) -> Kind {
    Kind { holds, fails }
}

const KINDS: [Kind; 21] = [
    kind("true", &["false"]),
    kind("not data.flag.off", &["not data.flag.on", "not true"]),
    kind("not data.list == [1]", &["not data.list == [1, 2]"]),
    kind("not 3 in data.list", &["not 2 in data.list"]),
    kind("not data.policy.no", &["not data.policy.yes"]),
    kind("not data.policy.above(1)", &["not data.policy.above(2)"]),
    kind(
        "every x in data.list { x > 0 }",
        &["every x in data.list { x > 1 }", "every x in data.none { x > 0 }"],
    ),
    kind(
        "every x in data.list { not x > 2 }",
        &["every x in data.list { not x > 1 }", "every x in [1] { x == 2 }"],
    ),
    kind("every i, x in data.list { x == i + 1 }", &["every i, x in data.list { x == i }"]),
    kind("some s in data.list", &["some s in data.empty", "some s in data.none"]),
    kind("some i, s in data.list; s == i + 1", &["some i, s in data.list; s == i"]),
    kind("some k; data.list[k] == 2", &["some k; data.list[k] == 3", "some k; data.none[k] == 3"]),
    kind("data.list[0] == 1", &["data.list[0] == 2", "data.none == 1", "data.list[7] == 1"]),
    kind("data.list[_] == 2", &["data.list[_] == 3", "data.none[_] == 3"]),
    kind("1 in data.list", &["3 in data.list", "1 in data.none"]),
    kind("a := data.list[0]", &["a := data.none", "a := data.list[7]"]),
    kind("u = data.list[0]", &["u = data.none", "data.list[0] = 2"]),
    kind(
        "count([c | some c in data.list; c > 1]) == 1",
        &["count([c | some c in data.list; c > 1]) == 2", "[c | some c in data.list][7] == 1"],
    ),
    kind("startswith(data.name, \"a\")", &["startswith(data.name, \"b\")", "startswith(data.none, \"a\")"]),
    kind("data.policy.above(2)", &["data.policy.above(1)", "data.policy.above(data.none)"]),
    kind("data.flag.on", &["data.flag.off", "data.flag.none", "data.policy.no", "data.policy.never"]),
];

/// Every statement above.
pub(crate) fn all() -> Vec<&'static str> {
    KINDS.iter().flat_map(|Kind { holds, fails }| [*holds].into_iter().chain(fails.iter().copied())).collect()
}

/// A statement alone, and as the first, one in the middle and the last of several.
fn places(statement: &str) -> [String; 5] {
    [
        statement.to_owned(),
        format!("{statement}; input.snp.vmpl == 0"),
        format!("input.snp.vmpl == 0\n{statement}\n# a comment }}\ntrue # not true"),
        format!("input.snp.vmpl == 0; {statement}"),
        format!("z := 1; not z == 2; every w in [z] {{ w == 1 }}; {statement}"),
    ]
}

fn gave(module: &str, query: &str) -> Result<(), Gave> {
    evaluate(module, &[query], REFERENCE).map_err(|Denied { gave, .. }| gave)
}

/// `statements` as a query, and as the body of a rule that a query asks for.
fn both(statements: &str) -> [Result<(), Gave>; 2] {
    let rule = format!("{MODULE}allow if {{\n{statements}\n}}\n");
    [gave(MODULE, statements), gave(&rule, "data.policy.allow")]
}

#[test]
fn a_statement_that_holds_does_so_wherever_it_stands() {
    for Kind { holds, .. } in KINDS {
        for statements in places(holds) {
            assert_eq!(both(&statements), [Ok(()), Ok(())], "{statements}");
        }
    }
}

#[test]
fn a_statement_that_does_not_hold_refuses_everywhere() {
    for Kind { fails, .. } in KINDS {
        for fails in fails {
            for statements in places(fails) {
                let [query, rule] = both(&statements);
                assert!(matches!(query, Err(Gave::False | Gave::Undefined)), "{statements}: {query:?}");
                assert_eq!(rule, Err(Gave::Undefined), "{statements}");
            }
        }
    }
}

#[test]
fn a_statement_that_fails_refuses_beside_every_other_that_holds() {
    for Kind { fails, .. } in KINDS {
        for fails in fails {
            for holds in [
                "1 == 1",
                "not 1 == 2",
                "not false",
                "every v in [1] { v == 1 }",
                "some v in [1]",
                "some v; [1][v] == 1",
                "1 in [1]",
                "v := 1",
                "v = 1",
                "endswith(\"a\", \"a\")",
            ] {
                for statements in [format!("{holds}; {fails}"), format!("{fails}\n{holds}")] {
                    let refused = gave(MODULE, &statements);
                    assert!(
                        matches!(refused, Err(Gave::False | Gave::Undefined)),
                        "{statements}: {refused:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_expression_that_is_neither_true_nor_false_is_no_consent() {
    for expression in [
        "1",
        "\"true\"",
        "null",
        "[true]",
        "{true}",
        "{\"a\": true}",
        "[c | c := true]",
        "data.name",
        "`true`",
    ] {
        for statements in
            [expression.to_owned(), format!("true; {expression}"), format!("not false\n{expression}\ntrue")]
        {
            assert_eq!(gave("", &statements), Err(Gave::NotBoolean), "{statements}");
        }
    }
    assert_eq!(gave("", "data.both[_]"), Ok(()));
    assert_eq!(gave("", "data.both[_]; true"), Ok(()));
}

#[test]
fn with_is_refused_wherever_it_stands() {
    for statement in
        ["true with input as {}", "not input.a with input as {}", "some x in input.a with input as {}"]
    {
        for statements in places(statement) {
            let refused = compile(MODULE, &[&statements], REFERENCE).unwrap_err();
            assert!(
                matches!(refused, PolicyError::Forbidden { what: Forbidden::With, .. }),
                "{statements}: {refused}"
            );
        }
    }
}

/// A query is put into a rule as text: it can't end that rule, and begin something else.
#[test]
fn a_query_does_not_leave_the_rule_that_it_is_put_into() {
    for query in [
        "true }",
        "true\n}\nother if {\ntrue",
        "true } else := true if { true",
        "false } { true",
        "false\n}\n\nquery_0h := true\n\nx if {\ntrue",
        "false } query_ := true # ",
        "true; } # {",
        "} true {",
        "true ] ; [true | true",
        "true\n]\ny := [1 | true",
        "(true",
        "true)",
        ";true",
        "true;",
        "; ",
        "# true",
        "\n\n",
        "| true",
        ", true",
        "with input as {}",
        "else := true",
        "import rego.v1",
        "import data.policy\ntrue",
        "package other\ntrue",
        "default x := true",
        "x := true if true",
        "true if true",
        "x contains 1",
    ] {
        let refused = compile(MODULE, &[query], REFERENCE).map(|_| ());
        assert!(matches!(refused, Err(PolicyError::Syntax { .. })), "{query:?}: {refused:?}");
    }
    for (query, holds) in [
        ("true # }", true),
        ("false # }\n# { true", false),
        ("true # ]", true),
        ("\"}\" == \"}\" # ", true),
        ("`}\n` == `}\n`", true),
        ("`}` == \"]\"", false),
        ("not \"}\" == \"]\"", true),
        ("(true)", true),
        ("(1 == 2)", false),
        ("(1 ==\n# a comment\n2) == false", true),
        ("-1 == -1", true),
        ("[1][0] == 1", true),
        ("{1} | {2} == {1, 2}", true),
        ("{\"a\": 1}.a == 1", true),
        ("true\n\n\t;false", false),
        ("\ttrue\r\n", true),
        ("\"a\" == \"a\"; `b` == \"b\"", true),
        ("true\n\"a\" == \"b\"", false),
    ] {
        assert_eq!(gave(MODULE, query).is_ok(), holds, "{query:?}");
    }
}

/// Rules that are made for queries have names that no policy knows, and a policy does not see them.
#[test]
fn rules_made_for_queries_are_out_of_sight() {
    for name in ["query_", "query__", "query_0h", "query_0"] {
        for query in [
            format!("data.{name}"),
            format!("data.{name}.{name}"),
            format!("data[\"{name}\"].query_0h"),
            format!("data.query_.{name}"),
        ] {
            assert_eq!(gave("", &query), Err(Gave::Undefined), "{query}");
        }
        assert!(compile("", &[name], "{}").is_err(), "{name}");
        let module = format!("package {name}\n\n{name} := true\nquery_0h := true\n");
        assert_eq!(evaluate(&module, &[&format!("data.{name}.{name}"), "true"], "{}"), Ok(()), "{name}");
        let denied = evaluate(&module, &[&format!("data.{name}.{name}"), "false"], "{}");
        assert_eq!(denied, Err(Denied { query: 1, gave: Gave::False }), "{name}");
        let reference = format!("{{\"{name}\":{{\"{name}\":true,\"other\":true}}}}");
        assert_eq!(evaluate("", &[&format!("data.{name}.{name}")], &reference), Ok(()), "{name}");
        let denied = evaluate("", &[&format!("data.{name}.{name} == false")], &reference);
        assert_eq!(denied, Err(Denied { query: 0, gave: Gave::False }), "{name}");
    }
    for query in [
        "count(data) == 2",
        "count([x | x := data[_]]) == 2",
        "count([x | data[x]]) == 2",
        "every k, v in data { v == k }",
        "data == {\"a\": \"a\", \"b\": \"b\"}",
    ] {
        assert_eq!(evaluate("", &["true", query, query], r#"{"a":"a","b":"b"}"#), Ok(()), "{query}");
    }
    let hidden = r#"data["\u0071uery\u005f"].query_0h"#;
    assert!(evaluate("", &[hidden], "{}").is_err());
}

#[test]
fn queries_that_begin_with_not_or_every_are_known() {
    for (query, begins) in [
        ("not true", true),
        ("true; not true", true),
        ("not input.a\ntrue", true),
        ("every x in [1] { x == 2 }", true),
        ("true # ;\nevery x in [1] { x == 2 }", true),
        ("data.policy.allow", false),
        ("count([x | x := 1; not x == 2]) == 1", false),
        ("\"not true\" == \"\" # not true", false),
        ("nothing == 1", false),
        ("not", false),
        ("true }", false),
        ("", false),
    ] {
        let text = super::text("", &["true", query], "{}");
        let found: &[usize] = if begins { &[1] } else { &[] };
        assert_eq!(beginning_with_not_or_every(&text), found, "{query}");
    }
}
