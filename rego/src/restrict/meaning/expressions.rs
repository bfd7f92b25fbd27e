//! The values that an expression can give.

use std::rc::Rc;

use regorus::{
    Value,
    unstable::{ArithOp, BUILTINS, BoolOp, Expr, Query, Ref, Rule},
};

use super::{
    Found, Meaning, pure,
    terms::{ordered, own_rule},
};
use crate::restrict::{
    forbidden::Forbidden,
    names::{Step, plain_path, steps},
    refusal::{Refusal, Walk, at},
    rule::{function, rule_name},
    shape::{Kinds, Shape, join_all},
};

impl Meaning<'_> {
    pub(super) fn shapes<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Ref<Expr>>,
    ) -> Result<Vec<Rc<Shape>>, Refusal> {
        exprs.into_iter().map(|expr| self.shape(expr)).collect()
    }

    pub(super) fn shape(&mut self, expr: &Ref<Expr>) -> Found {
        self.fuel = self.fuel.checked_sub(1).ok_or_else(|| (at(expr.span()), Forbidden::Depth))?;
        Ok(match expr.as_ref() {
            Expr::String { .. } | Expr::RawString { .. } => Shape::of_kind(Kinds::STRING),
            Expr::Number { .. } => Shape::of_kind(Kinds::NUMBER),
            Expr::Bool { .. } => Shape::of_kind(Kinds::BOOLEAN),
            Expr::Null { .. } => Shape::of_kind(Kinds::NULL),
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr)?,
            Expr::Array { items, .. } => self.collection(Kinds::ARRAY, items)?,
            Expr::Set { items, .. } => self.collection(Kinds::SET, items)?,
            Expr::Object { fields, .. } => self.fields(fields.iter().map(|(_, key, value)| (key, value)))?,
            Expr::ArrayCompr { term, query, .. } => self.gathered(Kinds::ARRAY, term, query)?,
            Expr::SetCompr { term, query, .. } => self.gathered(Kinds::SET, term, query)?,
            Expr::ObjectCompr { key, value, query, .. } => {
                let mut both = Vec::new();
                self.body(&query.stmts, |meaning| {
                    both = meaning.shapes([key, value])?;
                    Ok(())
                })?;
                let [key, value] = both.as_slice() else { return Ok(Shape::any()) };
                Shape::mapping(Rc::clone(key), Rc::clone(value))
            }
            Expr::Call { fcn, params, .. } => self.call(expr, fcn, params)?,
            Expr::UnaryExpr { expr, .. } => pure(Kinds::NUMBER, &self.shapes([expr])?),
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let sides = self.shapes([lhs, rhs])?;
                if matches!(op, BoolOp::Ne) {
                    self.may_equal(lhs, rhs)?;
                } else if !matches!(op, BoolOp::Eq) {
                    for (side, shape) in [lhs, rhs].into_iter().zip(&sides) {
                        ordered(side, shape)?;
                    }
                }
                pure(Kinds::BOOLEAN, &sides)
            }
            Expr::AssignExpr { lhs, rhs, .. } => pure(Kinds::BOOLEAN, &self.shapes([lhs, rhs])?),
            Expr::Membership { key, value, collection, .. } => {
                pure(Kinds::BOOLEAN, &self.shapes(key.iter().chain([value, collection]))?)
            }
            Expr::ArithExpr { op, lhs, rhs, .. } => {
                let sides = self.shapes([lhs, rhs])?;
                let number = pure(Kinds::NUMBER, &sides);
                let sets = sides.iter().any(|side| side.kinds.has(Kinds::SET));
                if *op == ArithOp::Sub && sets { number.join(&join_all(&sides)) } else { number }
            }
            Expr::BinExpr { lhs, rhs, .. } => join_all(&self.shapes([lhs, rhs])?),
        })
    }

    pub(super) fn collection(&mut self, kinds: Kinds, items: &[Ref<Expr>]) -> Found {
        let items = self.shapes(items)?;
        let all = Shape::holding(kinds, join_all(&items));
        Ok(if items.iter().any(|item| item.missing) { all.or_missing() } else { all })
    }

    pub(super) fn fields<'e>(
        &mut self,
        fields: impl Iterator<Item = (&'e Ref<Expr>, &'e Ref<Expr>)>,
    ) -> Found {
        let mut object = Shape::object([]);
        let (mut named, mut missing) = (Vec::new(), false);
        for (key, value) in fields {
            let shape = self.shape(value)?;
            missing |= shape.missing;
            match key.as_ref() {
                Expr::String { value: Value::String(name), .. }
                | Expr::RawString { value: Value::String(name), .. } => {
                    named.push((name.to_string(), shape.there()));
                }
                _ => {
                    let key = self.shape(key)?;
                    missing |= key.missing;
                    object = Shape::mapping(key, shape).join(&object);
                }
            }
        }
        if !named.is_empty() {
            object = Shape::object(named).join(&object);
        }
        Ok(if missing { object.or_missing() } else { object })
    }

    pub(super) fn gathered(&mut self, kinds: Kinds, term: &Ref<Expr>, query: &Query) -> Found {
        let mut items = Rc::default();
        self.body(&query.stmts, |meaning| {
            items = meaning.shape(term)?;
            Ok(())
        })?;
        Ok(Shape::holding(kinds, items))
    }

    pub(super) fn call(&mut self, expr: &Ref<Expr>, fcn: &Ref<Expr>, params: &[Ref<Expr>]) -> Found {
        let args = self.shapes(params)?;
        let path = plain_path(fcn).unwrap_or_default();
        let named = |name: &str, policy: &[Ref<Rule>]| {
            let functions = policy.iter().filter_map(|rule| Some((rule_name(rule).ok()?, function(rule)?)));
            functions.filter(|(own, _)| own == name).map(|(_, (_, params))| params.len()).next()
        };
        let own = match path.as_slice() {
            [name] if !self.in_query => Some(name),
            [data, package @ .., name] if data == "data" && *package == self.package => Some(name),
            _ => None,
        };
        let own = own.and_then(|name| Some((name, named(name, self.policy())?)));
        let name = path.join(".");
        let wanted = match own {
            Some((_, wanted)) => wanted,
            None => BUILTINS.get(name.as_str()).map_or(params.len(), |(_, wanted)| usize::from(*wanted)),
        };
        if wanted != params.len() {
            return Err((at(expr.span()), Forbidden::Arguments(name)));
        }
        if let Some((name, _)) = own {
            // A fault of a function with these arguments is a fault here.
            let given = self.call_own(name, &args).map_err(|(_, what)| (at(expr.span()), what))?;
            return Ok(if args.iter().any(|arg| arg.missing) { given.or_missing() } else { given });
        }
        let first = args.first().cloned().unwrap_or_default();
        Ok(match name.as_str() {
            "contains" | "endswith" | "startswith" => pure(Kinds::BOOLEAN, &args),
            name if name.starts_with("is_") => pure(Kinds::BOOLEAN, &args),
            "lower" | "upper" | "substring" | "trim_prefix" | "trim_space" | "trim_suffix" | "type_name" => {
                pure(Kinds::STRING, &args)
            }
            "max" | "min" => {
                let items = first.each();
                if let Some(param) = params.first() {
                    ordered(param, &items)?;
                }
                items.or_missing()
            }
            "object.get" => {
                let keyed = args.get(1).is_some_and(|key| key.kinds.has(Kinds::ARRAY));
                let found = if keyed { Shape::any() } else { first.each() };
                let all = found.join(&args.get(2).cloned().unwrap_or_default()).there();
                if args.iter().any(|arg| arg.missing) { all.or_missing() } else { all }
            }
            "object.keys" => {
                let keys = Shape::holding(Kinds::SET, first.indices());
                if first.missing { keys.or_missing() } else { keys }
            }
            "union" | "intersection" => {
                let items = Shape::holding(Kinds::SET, first.each().each());
                if first.missing { items.or_missing() } else { items }
            }
            _ => pure(Kinds::NUMBER, &args),
        })
    }

    /// A variable, or a path from one.
    pub(super) fn reference(&mut self, expr: &Ref<Expr>) -> Found {
        let (root, path) = steps(expr);
        let mut path = path.as_slice();
        let mut shape = match root.as_ref() {
            Expr::Var { span, .. } => match span.text() {
                name if self.variable(name).is_some() => {
                    let local = self.variable(name).cloned().unwrap_or_default();
                    if self.is_rule(name) { local.join(&self.rule(name)?) } else { local }
                }
                name if self.is_rule(name) => self.rule(name)?,
                "input" => Rc::clone(&self.claims),
                "data" => match own_rule(&self.package, path) {
                    Some((name, rest)) => {
                        path = rest;
                        if self.names.contains(name) {
                            self.rule(name)?
                        } else {
                            Rc::<Shape>::default().or_missing()
                        }
                    }
                    None => Rc::clone(&self.data),
                },
                _ => Rc::default(),
            },
            _ => self.shape(root)?,
        };
        for step in path {
            shape = match step {
                Step::Name(name) => shape.step(name),
                Step::Computed(index) => {
                    self.indexed(index, &shape)?;
                    let found = shape.index();
                    if self.shape(index)?.missing { found.or_missing() } else { found }
                }
            };
        }
        Ok(shape)
    }

    /// An index that nothing assigns goes through all that there are.
    pub(super) fn indexed(&mut self, index: &Ref<Expr>, of: &Rc<Shape>) -> Walk {
        match index.as_ref() {
            Expr::Var { span, .. } => {
                let here = self.scopes.last().is_some_and(|scope| {
                    scope.shapes.contains_key(span.text()) && !scope.assigned.contains(span.text())
                });
                if here { self.bind(index, &of.indices()) } else { Ok(()) }
            }
            Expr::Array { .. } | Expr::Object { .. } => self.bind(index, &of.indices()),
            _ => Ok(()),
        }
    }
}
