//! Policies in Rego: what they see, what they decide, and what they cannot do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod decisions;
mod differential;
mod documented;
mod fuzz;
mod refusals;
mod statements;
mod traps;

use std::{sync::LazyLock, time::Duration};

use keybroker_common::policy::{Claims, Denied, PolicyText};
use keybroker_rego::{Policy, PolicyError};
use keybroker_snp::product::Product;
use keybroker_testing as support;
use support::Attempt;

/// Long enough for a debug build beside three others.
const DEADLINE: Duration = Duration::from_secs(60);

fn text(module: &str, queries: &[&str], reference_values: &str) -> PolicyText {
    PolicyText {
        module: (!module.is_empty()).then(|| module.to_owned()),
        queries: queries.iter().map(|&query| query.to_owned()).collect(),
        reference_values: reference_values.to_owned(),
    }
}

fn compile(module: &str, queries: &[&str], reference_values: &str) -> Result<Policy, PolicyError> {
    Policy::compile(&text(module, queries, reference_values))
}

fn evaluate(module: &str, queries: &[&str], reference_values: &str) -> Result<(), Denied> {
    compile(module, queries, reference_values).unwrap().evaluate(&sample(), DEADLINE)
}

/// The claims of a simulated Milan.
fn sample() -> Claims {
    Claims::of(&Attempt::vcek(Product::Milan).verify().unwrap())
}

/// The same, made once.
fn sample_once() -> Claims {
    static SAMPLE: LazyLock<Claims> = LazyLock::new(sample);
    SAMPLE.clone()
}
