//! The policies that a registration refuses, with the place of the fault.

use keybroker_rego::{Forbidden, Part, PolicyError, Position, ReferenceError, TextFault};

use super::compile;

fn refused(module: &str, queries: &[&str], reference_values: &str) -> PolicyError {
    compile(module, queries, reference_values).unwrap_err()
}

fn forbidden(module: &str, query: &str) -> Forbidden {
    match compile(module, &[query], r#"{"ref":{"list":[1]}}"#) {
        Err(PolicyError::Forbidden { what, .. }) => what,
        other => panic!("{module} {query}: {other:?}"),
    }
}

#[test]
fn a_policy_without_a_query_requires_nothing() {
    assert_eq!(refused("", &[], "{}"), PolicyError::NoQuery);
    assert_eq!(refused("package policy\nallow := true", &[], "{}"), PolicyError::NoQuery);
}

#[test]
fn an_empty_query_is_no_query() {
    for query in ["", " ", "# allow"] {
        assert!(matches!(refused("", &[query], "{}"), PolicyError::Syntax { .. }), "{query}");
    }
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(refused("", &["true"; 17], "{}"), PolicyError::TooManyQueries);
    assert!(compile("", &["true"; 16], "{}").is_ok());
    let long = format!("true # {}", "x".repeat(4096));
    let fault = |max| TextFault::TooLong(max);
    let start = Position { line: 1, column: 1 };
    let expected = PolicyError::Text { part: Part::Query(1), at: start, fault: fault(4096) };
    assert_eq!(refused("", &["true", &long], "{}"), expected);
    for size in [16 << 10, 1 << 20] {
        let module = format!("package policy\n{}", "x := 1\n".repeat(size / 7));
        let expected = PolicyError::Text { part: Part::Module, at: start, fault: fault(16 << 10) };
        assert_eq!(refused(&module, &["true"], "{}"), expected);
    }
    let reference = format!("{{\"a\":\"{}\"}}", "x".repeat(16 << 10));
    assert_eq!(refused("", &["true"], &reference), PolicyError::ReferenceValues(ReferenceError::TooLong));
}

#[test]
fn a_query_may_be_one_line_as_long_as_it_may_be() {
    let query = format!("true # {}", "x".repeat(4089));
    assert_eq!(query.len(), 4096);
    let policy = compile("", &[&query], "{}").unwrap();
    assert_eq!(policy.evaluate(&super::sample(), super::DEADLINE), Ok(()));
}

#[test]
fn an_error_of_syntax_has_its_place() {
    for (module, query, part, line, column) in [
        ("package policy\nallow if {\n  input.a ==\n}\n", "true", Part::Module, 4, 1),
        ("package policy\n\nallow {\n  true\n}\n", "true", Part::Module, 3, 7),
        ("allow := true", "true", Part::Module, 1, 1),
        ("", "input.a == )", Part::Query(0), 1, 12),
        ("", "true\ninput.a == \"a\"\n] == 1", Part::Query(0), 3, 1),
    ] {
        let PolicyError::Syntax { part: found, at: Some(at), message } = refused(module, &[query], "{}")
        else {
            panic!("{module} {query}");
        };
        assert_eq!((found, at), (part, Position { line, column }), "{module} {query}: {message}");
        assert!(!message.is_empty() && message.is_ascii() && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_package_that_hides_reference_values_is_refused() {
    for (package, reference) in [("ref", r#"{"ref":1}"#), ("ref.policy", r#"{"a":1,"ref":{"other":2}}"#)] {
        let module = format!("package {package}\nallow := true");
        assert_eq!(refused(&module, &["true"], reference), PolicyError::Shadows("ref".to_owned()));
    }
}

#[test]
fn functions_that_are_not_on_the_list_are_refused() {
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})",
        "time.now_ns()",
        "rand.intn(\"a\", 10)",
        "numbers.range(1, 30000000)",
        "opa.runtime()",
        "walk(input)",
        "net.lookup_ip_addr(\"localhost\")",
        "net.cidr_expand(\"10.0.0.0/8\")",
        "sprintf(\"%1000000000d\", [1])",
        "regex.match(\"(a*)*b\", \"aaaa\")",
        "concat(\"\", [input.measurement, input.measurement])",
        "array.concat([1], [2])",
        "json.marshal(input)",
        "bits.lsh(1, 1000000000)",
        "uuid.rfc4122(\"a\")",
        "trace(\"a\")",
        "print(\"a\")",
        "product([2, 2])",
        "sort([2, 1])",
        "strings.replace_n({}, \"a\")",
        "no_such_function(1)",
        "data.policy.no_such_function(1)",
        "data.ref.f(1)",
    ] {
        let name = call.split('(').next().unwrap().to_owned();
        let expected = Forbidden::Function(name);
        assert_eq!(forbidden("", call), expected);
        assert_eq!(forbidden("", &format!("x := [{call}]; count(x) == 1")), expected);
        assert_eq!(forbidden("", &format!("not {call}")), expected);
        assert_eq!(forbidden("", &format!("every x in [1] {{ x == {call} }}")), expected);
        for rule in [
            format!("allow if {call}"),
            format!("allow := {call}"),
            format!("allow contains {call}"),
            format!("allow[{call}] := 1"),
            format!("allow := 1 if false\nelse := {call}"),
            format!("f(x) := {call}"),
            format!("allow if {{ x := {{y | y := {{\"a\": {call}}}}}; x }}"),
            format!("allow if input.a[{call}]"),
            format!("allow if {call} in [1]"),
            format!("allow if 1 + {call} > 1"),
            format!("allow if {{ some x in [{call}]; x }}"),
            format!("allow if {{ every x in [{call}] {{ x }} }}"),
        ] {
            assert_eq!(forbidden(&format!("package policy\n{rule}"), "true"), expected, "{rule}");
        }
    }
}

/// Ways to call something by another name than its own.
#[test]
fn functions_are_called_by_their_names() {
    for call in ["numbers[\"range\"](1, 9)", "numbers[0].range(1, 9)", "numbers[input.x].range(1, 9)"] {
        match compile("", &[&format!("count({call}) > 1")], "{}") {
            Err(
                PolicyError::Forbidden { what: Forbidden::IndirectCall, .. } | PolicyError::Syntax { .. },
            ) => {}
            other => panic!("{call}: {other:?}"),
        }
    }
    let with = "count([1]) == 1 with count as numbers.range";
    assert_eq!(forbidden("", with), Forbidden::With);
    assert_eq!(
        forbidden("package policy\nallow if input.a with input as {\"a\": true}", "true"),
        Forbidden::With
    );
    for import in ["data.numbers", "data.numbers as n", "input.snp", "input.snp as s", "rego.v2"] {
        let module = format!("package policy\nimport {import}\nallow := true");
        match compile(&module, &["true"], "{}") {
            Err(PolicyError::Forbidden { what: Forbidden::Import, .. } | PolicyError::Syntax { .. }) => {}
            other => panic!("{import}: {other:?}"),
        }
    }
    let module = "package policy\n__target__ := \"a\"\nallow := true";
    assert!(compile(module, &["true"], "{}").is_err());
    for name in ["count", "object", "bits", "data", "input"] {
        let module = format!("package policy\n{name}(x) := x");
        assert!(compile(&module, &["true"], "{}").is_err(), "{name}");
    }
}

#[test]
fn numbers_are_read_from_claims_alone() {
    assert!(compile("", &["to_number(input.reported_tcb_snp) > 1"], "{}").is_ok());
    for argument in ["\"1e999999999\"", "data.ref", "input", "input[\"a\"]", "x", "lower(input.a)"] {
        let query = format!("x := \"1e999999999\"; to_number({argument}) > 1");
        assert_eq!(forbidden("", &query), Forbidden::ToNumber, "{argument}");
    }
}

#[test]
fn rules_that_need_themselves_are_refused() {
    for module in [
        "package policy\na if a",
        "package policy\na if b\nb if c\nc if a",
        "package policy\nf(x) := f(x)",
        "package policy\nf(x) := g(x)\ng(x) := data.policy.f(x)",
        "package policy\na if data.policy.b\nb if data.policy[\"a\"]",
        "package policy\na := [1 | b]\nb if a[0]",
    ] {
        assert!(matches!(forbidden(module, "true"), Forbidden::Recursion(_)), "{module}");
    }
    for reference in ["data[x]", "data.policy[x]", "data.policy", "data", "data[\"policy\"][x]"] {
        let module = format!("package policy\na if {{ x := \"a\"; y := {reference}; y }}");
        assert_eq!(forbidden(&module, "true"), Forbidden::OwnPackage, "{reference}");
        let query = format!("x := \"a\"; y := {reference}; y");
        assert_eq!(forbidden("package policy\na := true", &query), Forbidden::OwnPackage, "{reference}");
    }
    assert!(compile("package policy\na := true", &["x := data.ref[_]; x"], r#"{"ref":[true]}"#).is_ok());
}

#[test]
fn a_policy_that_nests_too_deeply_is_refused() {
    let fault = |text: String| match refused("", &[&text], "{}") {
        PolicyError::Text { fault, .. } => fault,
        other => panic!("{other:?}"),
    };
    for (open, close) in [("(", ")"), ("[", "]"), ("{", "}"), ("a[", "]"), ("count(", ")")] {
        let nested = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for text in [nested(33), open.repeat(400)] {
            assert!(matches!(fault(text), TextFault::Nesting | TextFault::Readings), "{open}");
        }
    }
    assert_eq!(fault("-".repeat(4000)), TextFault::Minuses);
    assert_eq!(forbidden("", &format!("{}1 > 1", "1+".repeat(100))), Forbidden::Depth);
    let sum = format!("package policy\nx := {}1", "1+\n".repeat(5400));
    assert_eq!(forbidden(&sum, "true"), Forbidden::Depth);
    let chain: String = (1..300).map(|i| format!("r{i} if r{}\n", i - 1)).collect();
    assert_eq!(forbidden(&format!("package policy\nr0 := true\n{chain}"), "true"), Forbidden::Depth);
    let chain: String = (1..300).map(|i| format!("f{i}(x) := f{}(x)\n", i - 1)).collect();
    assert_eq!(forbidden(&format!("package policy\nf0(x) := x\n{chain}"), "true"), Forbidden::Depth);
}

#[test]
fn values_that_could_grow_out_of_proportion_are_refused() {
    for module in [
        "package policy\nf(x) := [x, x]",
        "package policy\nf(x) := {x: x}",
        "package policy\nf(x) := y if y := [z | z := x[_]]",
        "package policy\na := [x | x := data.ref[_]]\nb := [x | x := a; data.ref[_]]\nallow if b == b",
        "package policy\na contains x if x := data.ref[_]\nb contains a if data.ref[_]",
        "package policy\na[x] := x if x := data.ref[_]\nb[x] := a if x := data.ref[_]",
    ] {
        assert_eq!(forbidden(module, "true"), Forbidden::Growth, "{module}");
    }
    let doubled: String = (1..60).map(|i| format!("x{i} := [x{}, x{}];", i - 1, i - 1)).collect();
    assert_eq!(forbidden("", &format!("x0 := [1]; {doubled} x59 == x59")), Forbidden::Growth);
    let doubled: String = (1..60).map(|i| format!("x{i} := [x{}, x{}]\n", i - 1, i - 1)).collect();
    assert_eq!(forbidden(&format!("package policy\nx0 := [1]\n{doubled}"), "true"), Forbidden::Growth);
}

/// Where the interpreter finds no function under a name it calls the builtin of that name, allowed or not.
#[test]
fn no_name_of_the_policys_own_leads_to_a_builtin() {
    let call = r#"allow if count(replace("aaa", "a", "b")) > 0"#;
    for head in ["replace.f(x) := x", "replace[\"f\"] := 1", "replace := 1", "replace(a, b, c) := a"] {
        let module = format!("package policy\n{head}\n{call}\n");
        let what = compile(&module, &["data.policy.allow"], "{}").map(|_| ()).unwrap_err();
        assert!(matches!(what, PolicyError::Forbidden { what: Forbidden::RuleName, .. }), "{head}: {what}");
    }
    let dotted = "package policy\nf.g(x) := x\nallow if f.g(1) == 1";
    assert_eq!(forbidden(dotted, "data.policy.allow"), Forbidden::FunctionName);
    let dotted = "package policy\ndefault f.g(x) := 1\nallow if true";
    assert_eq!(forbidden(dotted, "data.policy.allow"), Forbidden::FunctionName);
    // A query is in no package.
    let own = "package policy\nshort(x) := \"short\"";
    let bare = forbidden(own, "count(short(1)) == 5");
    assert_eq!(bare, Forbidden::Function("short".to_owned()));
    assert!(compile(own, &["count(data.policy.short(1)) == 5"], "{}").is_ok());
    for builtin in ["sprintf", "print", "trace", "concat", "indexof_n", "numbers", "array"] {
        let module = format!("package policy\n{builtin}(x) := x");
        assert_eq!(forbidden(&module, "true"), Forbidden::RuleName, "{builtin}");
    }
}

#[test]
fn given_values_keep_their_names() {
    for module in [
        "package policy\nf(input) := to_number(input.a)",
        "package policy\nf(data) := 1",
        "package policy\nallow if { some input; input == 1 }",
        "package policy\nallow if { some data in [1]; data == 1 }",
        "package policy\nallow if { input := {\"a\": 1}; input.a == 1 }",
    ] {
        let refused = compile(module, &["true"], "{}");
        assert!(refused.is_err(), "{module}");
    }
    assert_eq!(forbidden("package policy\nf(input) := 1", "true"), Forbidden::Shadow);
}

/// By order a number is less than any string, and "9" more than "22".
#[test]
fn claims_that_are_strings_have_no_order() {
    for query in ["input.reported_tcb_snp >= 22", "\"22\" < input.reported_tcb_snp"] {
        let refused = forbidden("", query);
        let string = |text: &str| Forbidden::Ordered(text.to_owned(), "a string".to_owned());
        assert!(
            [string("input.reported_tcb_snp"), string("\"22\"")].contains(&refused),
            "{query}: {refused}"
        );
    }
    for query in ["input.snp.reported_tcb.snp >= 22", "to_number(input.reported_tcb_snp) >= 22"] {
        assert!(compile("", &[query], "{}").is_ok(), "{query}");
    }
}

/// A misspelt name is undefined, and `not` makes true of it.
#[test]
fn under_not_every_name_must_be_there() {
    let reference = r#"{"retired":["a"],"ref":{"list":[1]}}"#;
    for (query, absent) in [
        ("not input.snp.policy.debug_alowed", "input.snp.policy.debug_alowed"),
        ("not input.snq.policy", "input.snq"),
        ("not \"a\" in data.retird", "data.retird"),
        ("not data.ref.lst == [1]", "data.ref.lst"),
    ] {
        let Err(PolicyError::Forbidden { what, .. }) = compile("", &[query], reference) else {
            panic!("{query}")
        };
        assert_eq!(what, Forbidden::Absent(absent.to_owned()), "{query}");
    }
    let module =
        "package policy\nallow if not denied\ndenied if input.snp.vmpl > 0\nother if not data.policy.denied";
    for query in ["not input.snp.policy.debug_allowed", "not \"b\" in data.retired", "not data.policy.denied"]
    {
        assert!(compile(module, &[query], reference).is_ok(), "{query}");
    }
}
