//! The part of Rego that a policy may use.
//!
//! The interpreter looks at the clock between steps, but no step can be interrupted: what one step may cost
//! is decided here, before anything is evaluated, on the syntax tree. A policy is refused
//!
//! - if it calls what is neither its own function nor on the list of builtins, or calls by anything but a
//!   plain name. Its own are those whose whole name stands at the head, and in a query they go by their full
//!   name (`data.policy.f`): where the interpreter finds no function under a name it looks for a builtin of
//!   that name, whether that is on our list or not;
//! - for `with`, imports other than `rego.v1` and `future.keywords`, and targets: they rename what is called;
//! - if it refers to its own package other than by the full name of a rule (`data.policy[x]`, `data`);
//! - if a rule needs itself, or rules and expressions need each other too deeply for a stack;
//! - if a name that is not there stands under `not`, which would always hold;
//! - if it says something else than it seems to (`meaning`): orders what may be no number, takes what may be
//!   no boolean for a condition, or has under `not` what may be missing or is bound to nothing;
//! - if values could grow out of proportion: each array, set, object or comprehension built of variables
//!   multiplies, and what rules build of each other multiplies again. Comparing two such values is one step.

mod checked;
mod cost;
mod forbidden;
mod meaning;
mod names;
mod refusal;
mod rule;
mod shape;
mod survey;

use std::collections::BTreeMap;

use regorus::unstable::{Expr, LiteralStmt, Module};

pub(crate) use checked::Checked;
use cost::{Cost, Needs, cost};
pub use forbidden::Forbidden;
pub(crate) use meaning::Meaning;
use refusal::{Refusal, Walk, at};
pub(crate) use rule::package;
use rule::{function, rule_name};
use survey::{Survey, not_shadowing};

use crate::{builtins, text::Position};

/// Checks a module beside what `given` has.
pub(crate) fn module(module: &Module, given: Checked) -> Result<Checked, Refusal> {
    if module.target.is_some() {
        return Err((at(&module.package.span), Forbidden::Target));
    }
    for import in &module.imports {
        let text = import.refr.span().text();
        let keywords = text == "future.keywords" || text.starts_with("future.keywords.");
        if import.r#as.is_some() || !(text == "rego.v1" || keywords) {
            return Err((at(&import.span), Forbidden::Import));
        }
    }
    let mut checked = Checked { package: package(module)?, ..given };
    for rule in &module.policy {
        let name = rule_name(rule)?;
        if builtins::is_reserved(&name) || matches!(name.as_str(), "data" | "input") {
            return Err((at(rule.span()), Forbidden::RuleName));
        }
        if let Some((refr, args)) = function(rule) {
            if !matches!(refr.as_ref(), Expr::Var { .. }) {
                return Err((at(refr.span()), Forbidden::FunctionName));
            }
            args.iter().try_for_each(not_shadowing)?;
            checked.functions.insert(name.clone());
        }
        checked.rules.insert(name, Cost::default());
    }
    let mut surveys: BTreeMap<String, (Position, Survey<'_>)> = BTreeMap::new();
    for rule in &module.policy {
        let name = rule_name(rule)?;
        let (_, survey) = surveys.entry(name).or_insert_with(|| (at(rule.span()), Survey::new(&checked)));
        survey.rule(rule)?;
    }
    let needs: BTreeMap<String, Needs> =
        surveys.into_iter().map(|(name, (at, survey))| (name, survey.needs(at))).collect();
    let mut costs = BTreeMap::new();
    for name in needs.keys() {
        cost(name, &needs, &mut costs, &mut Vec::new())?;
    }
    checked.rules = costs;
    Ok(checked)
}

/// Checks a query, statement by statement, against the module that it goes with.
pub(crate) fn query(statements: &[LiteralStmt], checked: &Checked) -> Walk {
    let mut survey = Survey::of_query(checked);
    survey.statements(statements)?;
    let start = statements.first().map_or(Position { line: 1, column: 1 }, |first| at(&first.span));
    let needs = survey.needs(start);
    let costs = needs.rules.iter().filter_map(|rule| checked.rules.get(rule));
    needs.with(costs.copied()).map(|_| ())
}
