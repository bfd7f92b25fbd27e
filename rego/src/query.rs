//! A query, as the interpreter is asked it: the body of a rule.
//!
//! Asked as a query of its own, a statement that begins with `not` or `every` would hold whatever it gave. So
//! each query stands in two rules that are made for it: in the first as it was written, in the second with a
//! variable for what each of its expressions gives. It holds if the first does and every value in the second
//! is `true`.

use keybroker_common::policy::{Gave, MAX_QUERY, PolicyText};
use regorus::{
    Value,
    unstable::{Expr, Literal, LiteralStmt, Module, Rule, RuleHead},
};

use crate::text::written;

/// Lines of the module that stand before the query.
pub(crate) const LINES_BEFORE: u32 = 3;

/// Longest line of a module that is made for a query whose names are of usual length.
pub(crate) const MAX_LINE: usize = MAX_QUERY + 256;

/// The package of the rules that are made for queries. Its name stands nowhere in the policy.
#[derive(Debug, Clone)]
pub(crate) struct Namespace(String);

impl Namespace {
    /// A name with one `_` more in a row than the policy has anywhere, as such or as an escape in a string.
    pub(crate) fn beside(text: &PolicyText) -> Self {
        let texts = text.queries.iter().chain(&text.module).chain([&text.reference_values]);
        let longest = |text: &String| {
            let spelt = text.replace("\\u005f", "_").replace("\\u005F", "_");
            spelt.split(|c| c != '_').map(str::len).max()
        };
        let longest = texts.filter_map(longest).max().unwrap_or(0);
        Self(format!("query{}", "_".repeat(longest + 1)))
    }

    /// A module with a rule that is true, and that rule's path.
    pub(crate) fn truth(&self) -> (String, String) {
        let Self(name) = self;
        (format!("package {name}\n\n{name} := true\n"), format!("data.{name}.{name}"))
    }
}

/// A query, and where what it gives is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    holds: String,
    values: String,
    /// It is one expression, whose `false` is told from the want of a solution.
    single: bool,
}

/// The module whose rule `h` has the query as its body, after a statement that lets no parser take the body
/// for a set.
pub(crate) fn rule(query: &str, Namespace(name): &Namespace, index: usize) -> String {
    format!("package {name}\n{name}{index}h if {{\ntrue;\n{query}\n}}\n")
}

/// The query's statements in the module that [`rule`] made. `None` unless that module is what was made: one
/// rule of one body, which ends where it was made to end, and is not empty.
pub(crate) fn body(module: &Module) -> Option<&[LiteralStmt]> {
    let [rule] = module.policy.as_slice() else { return None };
    let Rule::Spec { span, head: RuleHead::Compr { assign: None, .. }, bodies } = rule.as_ref() else {
        return None;
    };
    let [body] = bodies.as_slice() else { return None };
    let end = usize::try_from(body.query.span.end).ok()?;
    let rest = span.source.contents().get(end..)?;
    let (_, query) = body.query.stmts.split_first()?;
    (rest == "\n" && !query.is_empty()).then_some(query)
}

/// Whether a statement begins with `not` or `every`.
pub(crate) fn negates(statements: &[LiteralStmt]) -> bool {
    statements
        .iter()
        .any(|statement| matches!(statement.literal, Literal::NotExpr { .. } | Literal::Every { .. }))
}

impl Query {
    /// The query whose [`body`] is `statements`, and the module whose rule `v` has what they give: a list for
    /// each solution.
    pub(crate) fn new(
        statements: &[LiteralStmt],
        Namespace(name): &Namespace,
        index: usize,
    ) -> Option<(Self, String)> {
        let single = statements.len() == 1;
        let (mut lines, mut values) = (String::new(), Vec::new());
        for statement in statements {
            let text = written(&statement.span)?;
            match &statement.literal {
                Literal::Expr { expr, .. } if !matches!(expr.as_ref(), Expr::AssignExpr { .. }) => {
                    let value = format!("{name}{}", values.len());
                    lines += &format!("{value} := ({text})\n");
                    // If there are many expressions, a solution is one that makes none of them false.
                    if !single {
                        lines += &format!("{value} != false\n");
                    }
                    values.push(value);
                }
                _ => lines += &format!("{text}\n"),
            }
        }
        let module =
            format!("package {name}\n{name}{index}v := [[{}] |\ntrue;\n{lines}]\n", values.join(", "));
        let path = |rule| format!("data.{name}.{name}{index}{rule}");
        Some((Self { holds: path("h"), values: path("v"), single }, module))
    }

    /// The query's result, asked with `ask`: the value of the rule at a path.
    pub(crate) fn gave<E>(&self, mut ask: impl FnMut(&str) -> Result<Value, E>) -> Result<Gave, E> {
        let holds = ask(&self.holds)?;
        let values = ask(&self.values)?;
        let solutions: Vec<&Value> = values.as_array().into_iter().flatten().collect();
        let values = || solutions.iter().flat_map(|solution| solution.as_array()).flatten();
        if holds != Value::from(true) {
            let only = solutions.len() == 1 && values().all(|value| *value == Value::from(false));
            return Ok(if self.single && only { Gave::False } else { Gave::Undefined });
        }
        if values().any(|value| !matches!(value, Value::Bool(_))) {
            return Ok(Gave::NotBoolean);
        }
        // `false` is no solution where there are others.
        let solved = |solution: &&Value| {
            solution.as_array().is_ok_and(|values| values.iter().all(|value| *value == Value::from(true)))
        };
        Ok(if solutions.iter().any(solved) { Gave::True } else { Gave::Undefined })
    }
}
