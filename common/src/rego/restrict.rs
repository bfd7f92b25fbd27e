//! What of Rego a policy may use.
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

mod cost;
mod forbidden;
mod meaning;
mod names;
mod shape;
mod survey;

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Value,
    unstable::{Expr, LiteralStmt, Module, Ref, Rule, RuleHead, Span},
};

use cost::{Cost, Needs, cost};
pub use forbidden::Forbidden;
pub(super) use meaning::Meaning;
use survey::{Survey, not_shadowing};

use super::{builtins, text::Position};

type Refusal = (Position, Forbidden);
/// What looking at a part of a policy comes to.
type Walk = Result<(), Refusal>;

fn at(span: &Span) -> Position {
    Position { line: span.line, column: span.col }
}

/// The names of a module's package, from the outermost.
pub(super) fn package(module: &Module) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    let mut expr = &module.package.refr;
    loop {
        match expr.as_ref() {
            Expr::Var { span, .. } => {
                names.push(span.text().to_owned());
                names.reverse();
                return Ok(names);
            }
            Expr::RefDot { refr, field, .. } => {
                names.push(field.0.text().to_owned());
                expr = refr;
            }
            other => return Err((at(other.span()), Forbidden::Package)),
        }
    }
}

/// What is known of a checked module, for its queries.
#[derive(Debug)]
pub(super) struct Checked {
    data: Value,
    claims: Value,
    package: Vec<String>,
    rules: BTreeMap<String, Cost>,
    functions: BTreeSet<String>,
}

impl Checked {
    /// No module, beside these reference values and claims like these.
    pub(super) fn new(data: Value, claims: Value) -> Self {
        let (rules, functions) = (BTreeMap::new(), BTreeSet::new());
        Self { data, claims, package: Vec::new(), rules, functions }
    }
}

/// Checks a module beside what `given` has.
pub(super) fn module(module: &Module, given: Checked) -> Result<Checked, Refusal> {
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
pub(super) fn query(statements: &[LiteralStmt], checked: &Checked) -> Walk {
    let mut survey = Survey::of_query(checked);
    survey.statements(statements)?;
    let start = statements.first().map_or(Position { line: 1, column: 1 }, |first| at(&first.span));
    let needs = survey.needs(start);
    let costs = needs.rules.iter().filter_map(|rule| checked.rules.get(rule));
    needs.with(costs.copied()).map(|_| ())
}

/// The name and the parameters of a function.
fn function(rule: &Rule) -> Option<(&Ref<Expr>, &[Ref<Expr>])> {
    match rule {
        Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => Some((refr, args)),
        Rule::Default { refr, args, .. } if !args.is_empty() => Some((refr, args)),
        _ => None,
    }
}

fn rule_name(rule: &Rule) -> Result<String, Refusal> {
    let refr = match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
        },
    };
    let mut expr = refr;
    loop {
        match expr.as_ref() {
            Expr::Var { span, .. } => return Ok(span.text().to_owned()),
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => expr = refr,
            other => return Err((at(other.span()), Forbidden::RuleName)),
        }
    }
}
