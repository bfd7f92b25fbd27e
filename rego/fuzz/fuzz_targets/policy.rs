//! A policy: each line a query, behind an empty line a module.
#![no_main]

use std::time::Duration;

use keybroker_common::policy::{Claims, PolicyText};
use keybroker_rego::Policy;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (queries, module) =
        text.split_once("\n\n").map_or((text, None), |(queries, module)| (queries, Some(module)));
    let text = PolicyText {
        module: module.map(str::to_owned),
        queries: queries.lines().map(str::to_owned).collect(),
        reference_values: r#"{"a":[1,2,{"b":"c"}],"measurement":"00"}"#.to_owned(),
    };
    if let Ok(policy) = Policy::compile(&text) {
        let _ = policy.results(&Claims::sample(), Duration::from_millis(50));
    }
});
