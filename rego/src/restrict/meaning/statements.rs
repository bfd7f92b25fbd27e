//! Where a statement says something else than it seems to.

use std::{collections::BTreeSet, rc::Rc};

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Ref};

use super::{
    Meaning, Scope,
    terms::{looked_up, named, variables},
};
use crate::restrict::{
    forbidden::Forbidden,
    names::{Step, steps},
    refusal::{Walk, at},
    shape::{Kinds, Shape},
};

impl Meaning<'_> {
    pub(super) fn statement(&mut self, statement: &LiteralStmt, top: bool) -> Walk {
        match &statement.literal {
            Literal::SomeVars { .. } => Ok(()),
            Literal::SomeIn { key, value, collection, .. } => {
                let collection = self.shape(collection)?;
                if let Some(key) = key {
                    self.bind(key, &collection.indices())?;
                }
                self.bind(value, &collection.each())
            }
            Literal::Every { key, value, domain, query, .. } => {
                let domain = self.shape(domain)?;
                let mut scope = Scope::default();
                let named = key.iter().map(|key| (key, domain.indices())).chain([(value, domain.each())]);
                scope.shapes.extend(named.map(|(span, shape)| (span.text().to_owned(), shape)));
                scope.assigned.extend(scope.shapes.keys().cloned());
                self.scopes.push(scope);
                let walked = self.body(&query.stmts, |_| Ok(()));
                self.scopes.pop();
                walked
            }
            Literal::Expr { expr, .. } => match expr.as_ref() {
                Expr::AssignExpr { op, lhs, rhs, .. } => {
                    let right = self.shape(rhs)?;
                    self.bind(lhs, &right)?;
                    if matches!(op, AssignOp::Eq) {
                        let left = self.shape(lhs)?;
                        self.bind(rhs, &left)?;
                    }
                    Ok(())
                }
                // The values of a query's own expressions are checked when the query is asked.
                _ if top => self.shape(expr).map(|_| ()),
                _ => self.condition(expr),
            },
            Literal::NotExpr { expr, .. } => self.negated(expr),
        }
    }

    /// A condition is `true` or `false`: all else holds, whatever it is.
    pub(super) fn condition(&mut self, expr: &Ref<Expr>) -> Walk {
        let shape = self.shape(expr)?;
        let other = shape.kinds.without(Kinds::BOOLEAN);
        if other.none() || shape == Shape::any().or_missing() || shape == Shape::any() || looked_up(expr) {
            return Ok(());
        }
        let what = Forbidden::Condition(named(expr), other.to_string());
        Err((at(expr.span()), what))
    }

    /// Under `not` every variable has a value from elsewhere, and nothing that an expression is made of can
    /// be missing: what is undefined for another reason would hold.
    pub(super) fn negated(&mut self, expr: &Ref<Expr>) -> Walk {
        self.bound(expr)?;
        self.condition(expr)?;
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                let (root, path) = steps(expr);
                if !matches!(root.as_ref(), Expr::Var { .. }) {
                    self.present(root)?;
                }
                path.iter().try_for_each(|step| match step {
                    Step::Name(_) => Ok(()),
                    Step::Computed(index) => self.present(index),
                })
            }
            Expr::Call { params, .. } => params.iter().try_for_each(|param| self.present(param)),
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                self.present(lhs)?;
                self.present(rhs)?;
                if matches!(op, BoolOp::Eq) { self.may_equal(lhs, rhs) } else { Ok(()) }
            }
            Expr::AssignExpr { lhs, rhs, .. } => self.present(lhs).and_then(|()| self.present(rhs)),
            Expr::Membership { key, value, collection, .. } => {
                key.iter().chain([value, collection]).try_for_each(|part| self.present(part))
            }
            _ => self.present(expr),
        }
    }

    /// Values that can never be equal differ whatever is in them: a number from its digits in quotes. `!=
    /// null` asks if there is a value.
    pub(super) fn may_equal(&mut self, lhs: &Ref<Expr>, rhs: &Ref<Expr>) -> Walk {
        let (left, right) = (self.shape(lhs)?.kinds, self.shape(rhs)?.kinds);
        let null = [left, right].contains(&Kinds::NULL);
        if null || left.none() || right.none() || left.has(right) {
            return Ok(());
        }
        let what = Forbidden::Differs(named(lhs), left.to_string(), named(rhs), right.to_string());
        Err((at(lhs.span()), what))
    }

    pub(super) fn present(&mut self, expr: &Ref<Expr>) -> Walk {
        if self.shape(expr)?.missing {
            return Err((at(expr.span()), Forbidden::Missing(named(expr))));
        }
        Ok(())
    }

    pub(super) fn bound(&self, expr: &Ref<Expr>) -> Walk {
        let mut unbound = Ok(());
        variables(expr, &mut |name, expr| {
            if unbound.is_ok() && !self.known(name) {
                unbound = Err((at(expr.span()), Forbidden::Unbound(name.to_owned())));
            }
        });
        unbound
    }

    pub(super) fn known(&self, name: &str) -> bool {
        matches!(name, "input" | "data") || self.is_rule(name) || self.variable(name).is_some()
    }

    pub(super) fn is_rule(&self, name: &str) -> bool {
        !self.in_query && self.names.contains(name)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&Rc<Shape>> {
        self.scopes.iter().rev().find_map(|scope| scope.shapes.get(name))
    }

    /// Names in a pattern are variables of this body.
    pub(super) fn assigns(&mut self, pattern: &Ref<Expr>) {
        let mut names = BTreeSet::new();
        variables(pattern, &mut |name, _| {
            if name != "_" {
                names.insert(name.to_owned());
            }
        });
        if let Some(scope) = self.scopes.last_mut() {
            for name in names {
                scope.shapes.entry(name.clone()).or_default();
                scope.assigned.insert(name);
            }
        }
    }

    /// Names that are known from nowhere else are variables of the body in which they stand.
    pub(super) fn occurs(&mut self, expr: &Ref<Expr>) {
        let mut names = BTreeSet::new();
        variables(expr, &mut |name, _| {
            if name != "_" && !self.known(name) {
                names.insert(name.to_owned());
            }
        });
        if let Some(scope) = self.scopes.last_mut() {
            scope.shapes.extend(names.into_iter().map(|name| (name, Rc::default())));
        }
    }

    /// The values that a pattern matches: its variables can be those, too.
    pub(super) fn bind(&mut self, pattern: &Ref<Expr>, shape: &Rc<Shape>) -> Walk {
        match pattern.as_ref() {
            Expr::Var { span, .. } => {
                let name = span.text();
                if let Some(scope) =
                    self.scopes.iter_mut().rev().find(|scope| scope.shapes.contains_key(name))
                {
                    let known = scope.shapes.entry(name.to_owned()).or_default();
                    *known = known.join(&shape.there());
                }
                Ok(())
            }
            Expr::Array { items, .. } => items.iter().try_for_each(|item| self.bind(item, &shape.each())),
            Expr::Object { fields, .. } => {
                fields.iter().try_for_each(|(_, _, value)| self.bind(value, &shape.each()))
            }
            _ => Ok(()),
        }
    }
}
