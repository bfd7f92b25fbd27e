//! A policy that says something else than it seems to is refused at the registration, whatever way it gets
//! there.

use keybroker_rego::{Forbidden, PolicyError, TextFault};

use super::{compile, sample_once};

const REFERENCE: &str = r#"{"max":"5","least":5,"list":["5",6],"numbers":[5,6],"floor":{"milan":{"snp":8,"old":"8"}},
"revoked":["a"],"by_chip":{"a":"lost"},"flags":["false"],"on":true,"deep":{"a":{"b":["1"]}}}"#;

fn what(module: &str, query: &str) -> Option<Forbidden> {
    match compile(module, &[query], REFERENCE) {
        Ok(_) => None,
        Err(PolicyError::Forbidden { what, .. }) => Some(what),
        Err(other) => panic!("{module} {query}: {other}"),
    }
}

/// As a query, and in a rule of a policy with some of its own.
fn both(body: &str) -> [Option<Forbidden>; 2] {
    let module = "package policy

allow if {
	@
}

level := data.max

number := 7

default maybe := \"3\"

maybe := 4 if data.on

at_most(x, y) if x <= y

same(x) := x

text_of(x) := lower(x)

levels contains x if some x in data.list

by[x] := y if some x, y in data.deep

yes if data.on

said := \"no\" if data.on

default sure := false
";
    [what(&module.replace('@', "true"), body), what(&module.replace('@', body), "data.policy.allow")]
}

#[test]
fn a_value_that_may_be_no_number_has_no_order() {
    for body in [
        "input.snp.vmpl <= \"5\"",
        "\"9\" < \"22\"",
        "input.snp.vmpl < data.max",
        "data.max > input.snp.vmpl",
        "input.snp.vmpl < data[\"max\"]",
        "input.snp.vmpl < data.list[0]",
        "input.snp.vmpl < data.list[_]",
        "some x in data.list; input.snp.vmpl < x",
        "some _, x in data.deep; input.snp.vmpl < x.b[0]",
        "every x in data.list { x > 4 }",
        "x := data.max; input.snp.vmpl < x",
        "y := x; x := data.max; input.snp.vmpl < y",
        "x = data.max; input.snp.vmpl < x",
        "data.max = x; input.snp.vmpl < x",
        "[x, _] := [data.max, 1]; input.snp.vmpl < x",
        "x := [data.max]; input.snp.vmpl < x[0]",
        "x := {\"a\": {\"b\": data.max}}; input.snp.vmpl < x.a.b",
        "input.snp.vmpl < data.policy.level",
        "input.snp.vmpl < data.policy.maybe",
        "some x in data.policy.levels; input.snp.vmpl < x",
        "some x in data.policy.by; input.snp.vmpl < x.b[0]",
        "data.policy.at_most(input.snp.vmpl, data.max)",
        "data.policy.at_most(input.reported_tcb_snp, 5)",
        "data.policy.same(data.max) > 1",
        "data.policy.text_of(data.max) > 1",
        "lower(data.max) > input.snp.vmpl",
        "object.get(data.floor.milan, \"old\", 1) > input.snp.vmpl",
        "count([x | x := data.list[_]; x > 5]) == 1",
        "max(data.list) == 6",
        "min([data.max, 1]) == 1",
        "input[\"reported_tcb_snp\"] > 1",
        "x := \"reported_tcb_snp\"; input[x] > 1",
        "x := input; x.reported_tcb_snp > 1",
        "input.snp.reported_tcb.snp >= data.floor[input.snp.product].old",
        "input.snp.product > 1",
        "input.snp.policy.smt_allowed > 0",
        "{1} < {2}",
        "not input.snp.vmpl > data.max",
    ] {
        for found in both(body) {
            assert!(matches!(found, Some(Forbidden::Ordered(..))), "{body}: {found:?}");
        }
    }
    for body in [
        "input.snp.vmpl <= 5",
        "input.snp.vmpl < data.least",
        "input.snp.vmpl < data.absent",
        "input.snp.launch_mit_vector >= 3",
        "input.snp.reported_tcb.fmc >= 1",
        "some x in data.numbers; input.snp.vmpl < x",
        "every x in data.numbers { x > 4 }",
        "input.snp.reported_tcb.snp >= data.floor[input.snp.product].snp",
        "data.policy.at_most(input.snp.vmpl, data.least)",
        "data.policy.same(data.least) > 1; data.policy.same(data.max) == \"5\"",
        "to_number(input.reported_tcb_snp) >= 22",
        "count(data.list) > 1",
        "count(data.max) == 1; max(data.numbers) >= 6",
        "x := input.snp.reported_tcb; x.snp >= 8",
        "data.policy.number >= input.snp.vmpl + 1",
        "i := 1; data.numbers[i] > 2",
        "some i; data.numbers[i] > 5; i < 2",
        "input.policy_debug_allowed == \"false\"; input.reported_tcb_snp != \"0\"",
    ] {
        assert_eq!(both(body), [None, None], "{body}");
    }
}

#[test]
fn a_value_that_may_be_no_boolean_is_no_condition() {
    // In a query, what an expression gives is looked at when it is asked.
    let within = |condition: &str| format!("count([1 | {condition}]) == 1");
    for condition in [
        "input.policy_debug_allowed",
        "input.snp.vmpl",
        "input.snp.csp_id",
        "input.snp.product",
        "input.snp[\"measurement\"]",
        "input.snp",
        "x := input.policy_debug_allowed; x",
        "some x in data.flags; x",
        "data.max",
        "data.least",
        "data.revoked",
        "data.policy.said",
        "data.policy.level",
        "data.policy.levels",
        "data.policy.same(\"false\")",
        "count(data.revoked)",
        "lower(input.measurement)",
        "\"false\"",
        "0",
        "null",
        "[1 | data.on]",
        "{\"a\"}",
        "input.snp.vmpl - 0",
    ] {
        for found in both(&within(condition)) {
            assert!(matches!(found, Some(Forbidden::Condition(..))), "{condition}: {found:?}");
        }
    }
    for negated in [
        "not input.policy_debug_allowed",
        "not data.max",
        "not data.policy.levels",
        "not count(data.revoked)",
    ] {
        for found in both(negated) {
            assert!(matches!(found, Some(Forbidden::Condition(..))), "{negated}: {found:?}");
        }
    }
    for condition in [
        "input.snp.policy.smt_allowed",
        "input.policy_debug_allowed == \"false\"",
        "data.by_chip[input.snp.chip_id]",
        "data.policy.levels[6]",
        "data.policy.yes",
        "data.policy.sure",
        "data.on",
        "x := input.snp.author_key_en; x",
        "startswith(input.measurement, \"a\")",
        "data.policy.at_most(1, 2)",
        "data.revoked[_] == input.snp.chip_id",
        "x := data.list[_]",
    ] {
        assert_eq!(both(&within(condition)), [None, None], "{condition}");
    }
}

#[test]
fn under_not_nothing_is_unbound() {
    for body in [
        "not data.revoked[_] == input.snp.chip_id",
        "not data.revoked[x] == input.snp.chip_id",
        "some x; not data.revoked[x] == input.snp.chip_id",
        "not _ == 1",
        "not x == 1",
        "not data.revoked[_]",
        "count([1 | not data.revoked[_] == \"a\"]) == 1",
        "every x in [1] { not data.revoked[_] == x }",
        "every x in [1] { x == 1 }; not x == 1",
        "not count([x | x := data.revoked[y]]) == y",
    ] {
        for found in both(body) {
            assert!(matches!(found, Some(Forbidden::Unbound(_))), "{body}: {found:?}");
        }
    }
    for body in [
        "not input.snp.chip_id in data.revoked",
        "some x in data.revoked; not x == input.snp.chip_id",
        "not count([x | x := data.revoked[_]]) == 0",
        "x := 2; not x == 1",
        "every x in data.revoked { not x == input.snp.chip_id }",
        "x := 1; count([y | y := 1; not x == y]) == 0",
    ] {
        assert_eq!(both(body), [None, None], "{body}");
    }
}

#[test]
fn under_not_nothing_is_missing() {
    for body in [
        "not input.snp.reported_tcb.snp < data.floor[input.snp.product].snp",
        "not input.snp.reported_tcb.snp < 8",
        "not 1 == data.floor[input.snp.product].snp",
        "not \"a\" in data.floor[input.snp.product].list",
        "not startswith(data.deep[input.snp.product].name, \"a\")",
        "not data.by_chip[data.deep[input.snp.product].name]",
        "not data.policy.said == \"no\"",
        "not data.policy.at_most(input.snp.cpuid.family, 1)",
        "not data.policy.same(1) == 1",
        "not [input.snp.cpuid.family] == [1]",
        "not data.list[0] == 1",
        "not count([data.list[7]]) == 1",
        "not input.snp.cpuid.family + 1 == 2",
    ] {
        for found in both(body) {
            assert!(matches!(found, Some(Forbidden::Missing(_))), "{body}: {found:?}");
        }
    }
    for body in [
        "not input.snp.vmpl > 0",
        "not input.snp.csp_id == \"CN=a\"",
        "not input.snp.policy.debug_allowed",
        "not data.by_chip[input.snp.chip_id]",
        "not data.policy.yes",
        "not data.policy.at_most(2, 1)",
        "not data.policy.number == 8",
        "not data.policy.maybe == 3",
        "not data.policy.sure == true",
        "not 6 in data.policy.levels",
        "x := data.floor[input.snp.product].snp; not input.snp.vmpl > x",
        "not count(data.revoked) == 0",
        "not input.snp.chip_id in {x | some x in data.revoked}",
    ] {
        assert_eq!(both(body), [None, None], "{body}");
    }
}

#[test]
fn a_comparison_that_always_differs_is_refused() {
    for body in [
        "not input.snp.vmpl == \"0\"",
        "input.snp.vmpl != \"0\"",
        "input.snp.vmpl != data.max",
        "x := input.reported_tcb_snp; not x == 5",
        "input.snp.csp_id != 1",
        "count([1 | data.policy.number != \"7\"]) == 1",
    ] {
        for found in both(body) {
            assert!(matches!(found, Some(Forbidden::Differs(..))), "{body}: {found:?}");
        }
    }
    for body in [
        "input.snp.vmpl != 0",
        "input.snp.csp_id != null",
        "input.snp.vmpl != null",
        "input.snp.csp_id != \"CN=a\"",
        "some x in data.list; x != 5",
    ] {
        assert_eq!(both(body), [None, None], "{body}");
    }
}

#[test]
fn brackets_at_the_head_of_a_rule_make_no_set() {
    for rule in
        ["deny[reason] if reason := \"a\"", "deny[\"a\"] if true", "deny[\"a\"]", "deny.a[x] if x := \"b\""]
    {
        let found = what(&format!("package policy\n\n{rule}\n"), "true");
        assert_eq!(found, Some(Forbidden::PartialObject("deny".to_owned())), "{rule}");
    }
    for rule in [
        "deny contains reason if reason := \"a\"",
        "deny contains \"a\"",
        "deny[x] := 1 if x := \"a\"",
        "deny.a if true",
    ] {
        assert_eq!(what(&format!("package policy\n\n{rule}\n"), "true"), None, "{rule}");
    }
}

#[test]
fn advice_fits_what_was_written() {
    let test = "package policy\n\nallow if data.on\n\ntest_allow if { allow with data.on as true }\n";
    assert_eq!(what(test, "true"), Some(Forbidden::WithInTest("test_allow".to_owned())));
    assert_eq!(what("", "true with input as {}"), Some(Forbidden::With));
    let comment = compile("package policy\n\n# caf\u{e9}\nallow := true\n", &["true"], "{}").unwrap_err();
    assert!(matches!(comment, PolicyError::Text { fault: TextFault::Comment, .. }), "{comment}");
    let string = compile("", &["\"caf\u{e9}\" == \"a\""], "{}").unwrap_err();
    assert!(matches!(string, PolicyError::Text { fault: TextFault::Character, .. }), "{string}");
    let called = what("", "sprintf(\"a\", [])").unwrap().to_string();
    assert!(
        called.contains("sprintf is not one that a policy may call") && called.contains("startswith"),
        "{called}"
    );
    assert_eq!(what("", "count([1], n); n == 1"), Some(Forbidden::Arguments("count".to_owned())));
    assert!(!sample_once().measurement.is_empty());
}

/// The test passes if this ends: variables made of themselves are of no kind.
#[test]
fn variables_made_of_themselves_are_refused() {
    for body in ["x = [x]", "[x, y] = [[y], [x]]; x == 1", "x := [y]; y := [x]", "x = {\"a\": x}; x.a > 1"] {
        assert!(compile("", &[body], REFERENCE).is_err(), "{body}");
    }
}
