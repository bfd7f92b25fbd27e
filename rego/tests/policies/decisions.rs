//! The results that a query must give, and the name of each kind of refusal.

use keybroker_common::policy::{Denied, Gave, NotEvaluated, PolicyEngine as _};
use keybroker_rego::RegoEngine;

use super::{compile, evaluate, sample, text};

const REFERENCE: &str = r#"{"measurement":"@","bootloader":["1","2","3","4","5"],"abi":{"major":"0"}}"#;

/// The reference values with the sample's own measurement.
fn reference() -> String {
    REFERENCE.replace('@', &sample().measurement)
}

#[test]
fn queries_beside_reference_values_run_as_they_are() {
    let queries = [
        "input.measurement == data.measurement",
        "input.policy_debug_allowed == \"false\"",
        "input.policy_migrate_ma == \"false\"",
        "input.policy_abi_major == data.abi.major",
        "input.reported_tcb_bootloader == data.bootloader[_]",
        "to_number(input.reported_tcb_snp) >= 1",
    ];
    assert_eq!(evaluate("", &queries, &reference()), Ok(()));
}

#[test]
fn one_query_that_is_not_true_refuses() {
    for (query, gave) in [
        ("input.measurement == \"00\"", Gave::False),
        ("false", Gave::False),
        ("input.measurement == data.absent", Gave::Undefined),
        ("input.absent", Gave::Undefined),
        ("input.policy_abi_major == data.bootloader[7]", Gave::Undefined),
        ("data.bootloader[_] == \"9\"", Gave::Undefined),
        ("level := data.bootloader[_]; level == \"9\"", Gave::Undefined),
        ("true; false", Gave::Undefined),
        ("input.measurement", Gave::NotBoolean),
        ("1", Gave::NotBoolean),
        ("null", Gave::NotBoolean),
        ("\"true\"", Gave::NotBoolean),
        ("[true]", Gave::NotBoolean),
        ("true; 1", Gave::NotBoolean),
    ] {
        let all = ["true", query, "true"];
        assert_eq!(evaluate("", &all, &reference()), Err(Denied { query: 1, gave }), "{query}");
    }
}

#[test]
fn a_query_that_fails_refuses() {
    for query in ["startswith(1, \"a\")", "1 / 0 == 1", "to_number(input.measurement) == 1"] {
        let policy = compile("", &["true", query], "{}").unwrap();
        let Err(Denied { query: 1, gave: Gave::Error(message) }) =
            policy.evaluate(&sample(), super::DEADLINE)
        else {
            panic!("{query}");
        };
        assert!(!message.is_empty() && message.len() <= 200, "{message}");
    }
}

#[test]
fn a_rule_must_give_true_as_well() {
    for (module, expected) in [
        ("package policy\nallow := true", Ok(())),
        ("package policy\nimport rego.v1\nallow if input.snp.vmpl == 0", Ok(())),
        ("package policy\nallow := false", Err(Gave::False)),
        ("package policy\ndefault allow := false\nallow if input.snp.vmpl == 3", Err(Gave::False)),
        ("package policy\nallow if input.snp.vmpl == 3", Err(Gave::Undefined)),
        ("package policy\nallow := 1", Err(Gave::NotBoolean)),
        ("package policy\nallow contains \"yes\"", Err(Gave::NotBoolean)),
        ("package policy\nother := true", Err(Gave::Undefined)),
    ] {
        let expected = expected.map_err(|gave| Denied { query: 0, gave });
        assert_eq!(evaluate(module, &["data.policy.allow"], "{}"), expected, "{module}");
    }
}

#[test]
fn each_solution_must_be_true() {
    let reference = r#"{"all":[true,true],"some":[true,1]}"#;
    assert_eq!(evaluate("", &["data.all[_]"], reference), Ok(()));
    let refused = Err(Denied { query: 0, gave: Gave::NotBoolean });
    assert_eq!(evaluate("", &["data.some[_]"], reference), refused);
}

#[tokio::test]
async fn the_evaluator_decides_the_same_and_again() {
    let evaluator = RegoEngine::default();
    let sample = sample();
    let module = "package policy\nallow if input.snp.vmpl == data.vmpl";
    for (reference, expected) in [
        (r#"{"vmpl":0}"#, Ok(())),
        (r#"{"vmpl":1}"#, Err(NotEvaluated::Denied(Denied { query: 0, gave: Gave::Undefined }))),
        (r#"{"vmpl":0}"#, Ok(())),
    ] {
        let text = text(module, &["data.policy.allow"], reference);
        assert_eq!(evaluator.check(&text).await, Ok(()));
        for _ in 0..3 {
            assert_eq!(evaluator.evaluate(&text, &sample).await, expected);
        }
    }
    let broken = text("package policy\nallow if {", &["data.policy.allow"], "{}");
    assert!(matches!(evaluator.evaluate(&broken, &sample).await, Err(NotEvaluated::Policy(_))));
    assert!(matches!(evaluator.check(&broken).await, Err(NotEvaluated::Policy(_))));
}

#[tokio::test]
async fn a_policy_that_fails_with_the_sample_is_not_admitted() {
    let evaluator = RegoEngine::default();
    for query in ["input.measurement", "startswith(1, \"a\")"] {
        let admitted = evaluator.check(&text("", &[query], "{}")).await;
        assert!(matches!(admitted, Err(NotEvaluated::Policy(_))), "{query}: {admitted:?}");
    }
    for query in ["false", "input.absent", "true"] {
        assert_eq!(evaluator.check(&text("", &[query], "{}")).await, Ok(()), "{query}");
    }
}

/// AMD names a Turin by the first 16 of its 128 digits.
#[test]
fn sixteen_digits_of_a_turin_mean_its_chip_wherever_they_stand() {
    let mut claims = sample();
    claims.snp.product = keybroker_snp::product::Product::Turin;
    let (short, long) = ("0123456789abcdef", format!("{:0<128}", "0123456789abcdef"));
    claims.snp.chip_id = long.clone();
    let other = "fedcba9876543210";
    for (name, is) in [(short, true), (long.as_str(), true), (other, false)] {
        for (module, query, reference) in [
            ("", "input.snp.chip_id in data.chips".to_owned(), format!(r#"{{"chips":["{name}"]}}"#)),
            ("", "data.chips[input.snp.chip_id]".to_owned(), format!(r#"{{"chips":{{"{name}":true}}}}"#)),
            ("", "input.snp.chip_id == data.chip".to_owned(), format!(r#"{{"chip":"{name}"}}"#)),
            ("", format!("input.snp.chip_id == \"{name}\""), "{}".to_owned()),
        ] {
            let policy = compile(module, &[&query], &reference).unwrap();
            assert_eq!(policy.evaluate(&claims, super::DEADLINE).is_ok(), is, "{query} {reference}");
            let negated = compile(module, &[&format!("not {query}")], &reference).unwrap();
            assert_eq!(negated.evaluate(&claims, super::DEADLINE).is_ok(), !is, "not {query} {reference}");
        }
    }
    let both = format!(r#"{{"chips":["{short}","{long}"]}}"#);
    let refused = compile("", &["input.snp.chip_id in data.chips"], &both).map(|_| ()).unwrap_err();
    assert_eq!(refused, keybroker_rego::PolicyError::ChipTwice(short.to_owned()));
}
