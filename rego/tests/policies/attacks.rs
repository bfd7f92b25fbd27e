//! Policies as attacks: what passes the checks of a registration ends in time, and in little memory.

use std::time::{Duration, Instant};

use keybroker_common::policy::{Gave, NotEvaluated, PolicyEngine as _};
use keybroker_rego::{Policy, RegoEngine};

use super::{compile, evaluate, sample, text};

/// 4000 zeros.
fn long_list() -> String {
    format!("{{\"list\":[{}0]}}", "0,".repeat(3999))
}

/// Evaluates the worst accepted policy of a kind, with far more time than it needs to be stopped.
fn stopped(policy: &Policy) {
    let results = policy.results(&sample(), Duration::from_millis(50));
    assert_eq!(results, [Gave::TimedOut]);
}

#[test]
fn loops_without_an_end_in_sight_are_stopped() {
    for rule in [
        "allow if { some a in data.list; some b in data.list; some c in data.list; a + b + c == 1 }",
        "allow if { data.list[_] + data.list[_] + data.list[_] == 1 }",
        "allow if { every a in data.list { every b in data.list { every c in data.list { a + b + c == 0 } } } }",
        "allow if { x := [1 | data.list[_]; data.list[_]]; count(x) == 1 }",
        "allow if { x := {[i, j] | data.list[i]; data.list[j]}; count(x) == 1 }",
        "allow if { x := {i: 1 | data.list[i]; data.list[_]}; count(x) == 1 }",
        "x contains [i, j] if { data.list[i]; data.list[j] }\nallow if count(x) == 1",
        "allow if { x := [upper(input.snp.chip_id) | data.list[_]; data.list[_]]; count(x) == 1 }",
    ] {
        stopped(&compile(&format!("package policy\n{rule}"), &["data.policy.allow"], &long_list()).unwrap());
    }
}

/// Functions that call the one before twice: 2^30 calls of a module of a few lines.
#[test]
fn calls_that_double_are_stopped() {
    let doubled: String = (1..=30).map(|i| format!("f{i}(x) := f{0}(f{0}(x))\n", i - 1)).collect();
    let module = format!("package policy\nf0(x) := x\n{doubled}allow if f30(true)");
    stopped(&compile(&module, &["data.policy.allow"], "{}").unwrap());
}

/// Numbers double their length with every squaring, and the last one is the longest step there is.
#[test]
fn squares_of_squares_are_stopped() {
    let squares: String = (1..=60).map(|i| format!("x{i} := x{0} * x{0};", i - 1)).collect();
    let query = format!("x0 := 99999999999; {squares} x60 < 1");
    stopped(&compile("", &[&query], "{}").unwrap());
}

/// The deepest that is accepted, in every way in which the interpreter recurses.
#[test]
fn the_deepest_policy_fits_the_stack() {
    let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    let deepest = |rule: &dyn Fn(usize) -> String| {
        let mut module = "package policy\nr0 := true\n".to_owned();
        let mut policy = None;
        for i in 1..1000 {
            module += &format!("{}\n", rule(i));
            match compile(&module, &[&format!("data.policy.r{i} != null")], "{}") {
                Ok(deeper) => policy = Some((deeper, i)),
                Err(_) => break,
            }
        }
        let (policy, last) = policy.unwrap();
        assert!(last > 3, "{module}");
        let results = policy.results(&sample(), super::DEADLINE);
        assert_eq!(results, [Gave::True], "{last}: {module}");
    };
    deepest(&|i| format!("r{i} if r{}", i - 1));
    deepest(&|i| format!("r{i} := {}", nested(8, &format!("r{}", i - 1))));
    deepest(&|i| format!("r{i} := count({})", nested(8, &format!("r{}", i - 1))));
    deepest(&|i| {
        format!("r{i} := x if {{ every y in [1] {{ every z in [1] {{ r{} }} }}; x := true }}", i - 1)
    });
    deepest(&|i| format!("f{i}(x) := x\nr{i} := f{i}(f{i}(r{0}))", i - 1));
}

/// The parser reads what stands in brackets again and again: the worst that is accepted is read in no time,
/// the rest is not read at all.
#[test]
fn brackets_that_multiply_are_not_read() {
    for (open, close) in [("[", "]"), ("{", "}"), ("{[", "]}"), ("{1:", "}"), ("[[1]|", "]"), ("{{", "|1}}")]
    {
        for depth in 1..32 {
            let query = format!("x := {}1{}; x == 1", open.repeat(depth), close.repeat(depth));
            // The test passes if this ends.
            let _ = compile("", &[&query], "{}");
        }
    }
}

/// A thread that is left behind takes a place. Once all places are taken nothing is decided, and when the
/// threads end all is as before.
#[tokio::test(flavor = "multi_thread")]
async fn slow_policies_do_not_stop_the_others_for_good() {
    let evaluator = RegoEngine::default();
    let endless = "package policy\nallow if { data.list[_] + data.list[_] + data.list[_] == 1 }";
    let endless = text(endless, &["data.policy.allow"], &long_list());
    let sample = sample();
    let (a, b, c, d, e, f) = tokio::join!(
        evaluator.evaluate(&endless, &sample),
        evaluator.evaluate(&endless, &sample),
        evaluator.evaluate(&endless, &sample),
        evaluator.evaluate(&endless, &sample),
        evaluator.evaluate(&endless, &sample),
        evaluator.evaluate(&endless, &sample),
    );
    for result in [a, b, c, d, e, f] {
        let refused = matches!(&result, Err(NotEvaluated::Denied(denied)) if denied.gave == Gave::TimedOut);
        assert!(refused || result == Err(NotEvaluated::Busy), "{result:?}");
    }
    let fair = text("", &["input.snp.vmpl == 0"], "{}");
    let patience = Instant::now() + super::DEADLINE;
    while evaluator.evaluate(&fair, &sample).await != Ok(()) {
        assert!(Instant::now() < patience, "no thread was given back");
    }
}

/// Rules are made for the queries, and stand in `data`: no spelling of a name leads to them, or puts
/// something in their place.
#[test]
fn no_escape_spells_the_names_that_are_made_for_queries() {
    for escape in ["\\u005f", "\\u005F"] {
        let name = |rule: &str| format!("\"query{escape}{rule}\"");
        let planted = format!("{{{}: {{{}: true, {}: [[true]]}}}}", name(""), name("0h"), name("0v"));
        let false_query = evaluate("", &["input.snp.vmpl == 99"], &planted);
        assert_eq!(false_query.unwrap_err().gave, Gave::False, "{planted}");
        let number = format!("{{{}: 1}}", name(""));
        assert_eq!(evaluate("", &["input.snp.vmpl == 0"], &number), Ok(()));
        for rule in ["", "0h"] {
            let made = format!("data[{}][{}] == true", name(""), name(rule));
            let denied = evaluate("", &["true", &made], "{}").unwrap_err();
            assert_eq!((denied.query, denied.gave), (1, Gave::Undefined), "{made}");
            let module = format!("package policy\nallow if {made}");
            assert_eq!(evaluate(&module, &["data.policy.allow"], "{}").unwrap_err().gave, Gave::Undefined);
        }
    }
}
