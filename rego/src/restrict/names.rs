//! Expressions by what they name: paths, claims, and values of no size.

use regorus::unstable::{ArithOp, Expr, Ref};

use crate::builtins;

pub(super) enum Step<'e> {
    Name(String),
    Computed(&'e Ref<Expr>),
}

/// A path's root and its steps, from the outermost.
pub(super) fn steps(mut expr: &Ref<Expr>) -> (&Ref<Expr>, Vec<Step<'_>>) {
    let mut steps = Vec::new();
    loop {
        match expr.as_ref() {
            Expr::RefDot { refr, field, .. } => {
                steps.push(Step::Name(field.0.text().to_owned()));
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                steps.push(match index.as_ref() {
                    Expr::String { value: regorus::Value::String(name), .. }
                    | Expr::RawString { value: regorus::Value::String(name), .. } => {
                        Step::Name(name.to_string())
                    }
                    _ => Step::Computed(index),
                });
                expr = refr;
            }
            _ => break,
        }
    }
    steps.reverse();
    (expr, steps)
}

/// `a.b.c` and nothing else: the interpreter passes over brackets in what it calls.
pub(super) fn plain_path(mut expr: &Ref<Expr>) -> Option<Vec<String>> {
    let mut path = Vec::new();
    loop {
        match expr.as_ref() {
            Expr::Var { span, .. } => {
                path.push(span.text().to_owned());
                path.reverse();
                return Some(path);
            }
            Expr::RefDot { refr, field, .. } => {
                path.push(field.0.text().to_owned());
                expr = refr;
            }
            _ => return None,
        }
    }
}

/// A claim by its name: `input.a.b`.
pub(super) fn claim(expr: &Ref<Expr>) -> bool {
    plain_path(expr).is_some_and(|path| path.len() > 1 && path.first().is_some_and(|root| root == "input"))
}

/// Whether an expression gives a number, boolean, string or null, or something that is written out in the
/// policy.
pub(super) fn flat(expr: &Ref<Expr>) -> bool {
    match expr.as_ref() {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::UnaryExpr { .. }
        | Expr::BoolExpr { .. }
        | Expr::AssignExpr { .. }
        | Expr::Membership { .. } => true,
        // Minus is the difference of sets, too.
        Expr::ArithExpr { op, .. } => *op != ArithOp::Sub,
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().all(flat),
        Expr::Object { fields, .. } => fields.iter().all(|(_, key, value)| flat(key) && flat(value)),
        Expr::Call { fcn, .. } => plain_path(fcn).is_some_and(|path| builtins::is_flat(&path.join("."))),
        Expr::Var { .. }
        | Expr::RefDot { .. }
        | Expr::RefBrack { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. }
        | Expr::BinExpr { .. } => false,
    }
}
