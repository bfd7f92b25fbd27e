//! The facts that an expression shows as it is written.

use regorus::unstable::{Expr, Ref};

use crate::{
    restrict::{
        forbidden::Forbidden,
        names::{Step, steps},
        refusal::{Walk, at},
        shape::{Kinds, Shape},
    },
    text::written,
};

/// Longest text of an expression in a message.
const MAX_NAMED: usize = 60;

/// Refuses to order a value that may be neither a number nor `null`. `null` is less than every number: no
/// minimum holds for it.
pub(super) fn ordered(expr: &Ref<Expr>, shape: &Shape) -> Walk {
    let other = shape.kinds.without(Kinds::NUMBER).without(Kinds::NULL);
    if other.none() {
        return Ok(());
    }
    Err((at(expr.span()), Forbidden::Ordered(named(expr), other.to_string())))
}

/// An expression as a message names it: what it is written as, on one line.
pub(super) fn named(expr: &Ref<Expr>) -> String {
    let words: Vec<_> = written(expr.span()).unwrap_or_default().split_whitespace().collect();
    let text: String = words.join(" ");
    if text.chars().count() > MAX_NAMED {
        text.chars().take(MAX_NAMED).chain(['.', '.', '.']).collect()
    } else {
        text
    }
}

/// Whether an expression asks if something has a key: what it has there does not matter.
pub(super) fn looked_up(expr: &Ref<Expr>) -> bool {
    let (root, path) = steps(expr);
    let input = matches!(root.as_ref(), Expr::Var { span, .. } if span.text() == "input");
    !input && matches!(path.last(), Some(Step::Computed(_)))
}

/// Every variable in an expression, but for those of the bodies within it and the names of functions.
pub(super) fn variables<'e>(expr: &'e Ref<Expr>, see: &mut impl FnMut(&'e str, &'e Ref<Expr>)) {
    let mut all = |exprs: &[&'e Ref<Expr>]| exprs.iter().for_each(|expr| variables(expr, see));
    match expr.as_ref() {
        Expr::Var { span, .. } => see(span.text(), expr),
        Expr::RefDot { refr, .. } => all(&[refr]),
        Expr::RefBrack { refr, index, .. } => all(&[refr, index]),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| all(&[item])),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| all(&[key, value])),
        Expr::Call { params, .. } => params.iter().for_each(|param| all(&[param])),
        Expr::UnaryExpr { expr, .. } => all(&[expr]),
        Expr::BoolExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. }
        | Expr::BinExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. } => all(&[lhs, rhs]),
        Expr::Membership { key, value, collection, .. } => {
            key.iter().for_each(|key| all(&[key]));
            all(&[value, collection]);
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => {}
    }
}

/// The rule that a path from `data` begins with, and the rest of the path.
pub(super) fn own_rule<'p, 'e>(
    package: &[String],
    path: &'p [Step<'e>],
) -> Option<(&'p str, &'p [Step<'e>])> {
    if package.is_empty() || path.len() <= package.len() {
        return None;
    }
    let (before, rest) = path.split_at(package.len());
    let same =
        before.iter().zip(package).all(|(step, name)| matches!(step, Step::Name(step) if step == name));
    match rest.split_first()? {
        (Step::Name(rule), rest) if same => Some((rule, rest)),
        _ => None,
    }
}
