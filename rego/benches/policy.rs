//! The cost of a policy at appraisal: the documented ones, compiled before.
#![allow(clippy::unwrap_used)]

use std::{hint::black_box, time::Duration};

use criterion::Criterion;
use keybroker_common::policy::{Claims, PolicyEngine as _, PolicyText};
use keybroker_rego::{Policy, RegoEngine};
use keybroker_snp::product::Product;
use keybroker_testing::Attempt;

const DOCUMENT: &str = include_str!("../../docs/policies.md");

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let claims = Claims::of(&Attempt::vcek(Product::Milan).verify().unwrap());
    for name in ["one-measurement", "releases", "tcb-floor", "signed-image", "one-cloud", "two-of-three"] {
        let text = documented(name);
        let policy = Policy::compile(&text).unwrap();
        let mut group = criterion.benchmark_group(name);
        // On this thread, as the evaluator's own threads do.
        group.bench_function("evaluate", |bencher| {
            bencher.iter(|| policy.evaluate_here(black_box(&claims), Duration::from_secs(1)));
        });
        group
            .bench_function("compile", |bencher| bencher.iter(|| Policy::compile(black_box(&text)).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let evaluator = RegoEngine::default();
        group.bench_function("evaluator", |bencher| {
            bencher.iter(|| runtime.block_on(evaluator.evaluate(black_box(&text), &claims)));
        });
        group.finish();
    }
    criterion.final_summary();
}

fn documented(name: &str) -> PolicyText {
    let blocks = |kind: &str| -> Vec<String> {
        let label = format!(" {kind}={name}\n");
        let texts = DOCUMENT.split("```").filter_map(|block| Some(block.split_once(&label)?.1.trim_end()));
        texts.map(str::to_owned).collect()
    };
    PolicyText {
        module: blocks("policy").pop(),
        queries: blocks("query"),
        reference_values: blocks("reference").pop().unwrap(),
    }
}
