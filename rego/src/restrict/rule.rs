//! The names of packages, rules and functions.

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead};

use super::{
    forbidden::Forbidden,
    refusal::{Refusal, at},
};

/// The names of a module's package, from the outermost.
pub(crate) fn package(module: &Module) -> Result<Vec<String>, Refusal> {
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

/// The name and the parameters of a function.
pub(super) fn function(rule: &Rule) -> Option<(&Ref<Expr>, &[Ref<Expr>])> {
    match rule {
        Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => Some((refr, args)),
        Rule::Default { refr, args, .. } if !args.is_empty() => Some((refr, args)),
        _ => None,
    }
}

pub(super) fn rule_name(rule: &Rule) -> Result<String, Refusal> {
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
