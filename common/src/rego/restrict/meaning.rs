//! What expressions can give, and where that is a trap: policies that say something else than they seem to.
//!
//! Each rule is looked at once, each function once for every kind of arguments. Variables are what any statement of their
//! body makes of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    rc::Rc,
};

use regorus::{
    Value,
    unstable::{
        ArithOp, AssignOp, BUILTINS, BoolOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule,
        RuleAssign, RuleHead,
    },
};

use super::{
    Forbidden, Refusal, Walk, at, function,
    names::{Step, plain_path, steps},
    rule_name,
    shape::{Kinds, Shape, join_all},
};
use crate::rego::text::written;

/// Most expressions that are looked at, counting each as often as it is.
const FUEL: u32 = 100_000;

/// Longest text of an expression in a message.
const MAX_NAMED: usize = 60;

type Found = Result<Rc<Shape>, Refusal>;

/// The variables of a body.
#[derive(Debug, Default)]
struct Scope {
    shapes: BTreeMap<String, Rc<Shape>>,
    /// Those that are assigned: an index does not bind them.
    assigned: BTreeSet<String>,
}

/// What is known of a policy's values.
#[derive(Debug)]
pub(in crate::rego) struct Meaning<'m> {
    module: Option<&'m Module>,
    package: Vec<String>,
    data: Rc<Shape>,
    claims: Rc<Shape>,
    names: BTreeSet<String>,
    rules: BTreeMap<String, Rc<Shape>>,
    calls: BTreeMap<(String, Vec<Rc<Shape>>), Rc<Shape>>,
    scopes: Vec<Scope>,
    in_query: bool,
    fuel: u32,
}

fn pure(kinds: Kinds, of: &[Rc<Shape>]) -> Rc<Shape> {
    let shape = Shape::of_kind(kinds);
    if of.iter().any(|shape| shape.missing) { shape.or_missing() } else { shape }
}

impl<'m> Meaning<'m> {
    /// Of a module that passed every other check, beside these reference values and claims like these.
    pub(in crate::rego) fn of(
        module: Option<&'m Module>,
        data: &Value,
        claims: &[Value],
    ) -> Result<Self, Refusal> {
        let claims: Vec<_> = claims.iter().map(Shape::of_value).collect();
        let mut meaning = Self {
            module,
            package: module.map(super::package).transpose()?.unwrap_or_default(),
            data: Shape::of_value(data),
            claims: join_all(&claims),
            names: BTreeSet::new(),
            rules: BTreeMap::new(),
            calls: BTreeMap::new(),
            scopes: Vec::new(),
            in_query: false,
            fuel: FUEL,
        };
        for rule in meaning.policy() {
            if function(rule).is_none() {
                meaning.names.insert(rule_name(rule)?);
            }
        }
        Ok(meaning)
    }

    fn policy(&self) -> &'m [Ref<Rule>] {
        self.module.map_or(&[], |module| module.policy.as_slice())
    }

    /// Checks every rule. Functions are checked where they are called.
    pub(in crate::rego) fn module(&mut self) -> Walk {
        for rule in self.policy() {
            not_by_brackets(rule)?;
        }
        let names = self.names.clone();
        names.iter().try_for_each(|name| self.rule(name).map(|_| ()))
    }

    /// Checks a query.
    pub(in crate::rego) fn query(&mut self, statements: &[LiteralStmt]) -> Walk {
        self.in_query = true;
        let walked = self.body(statements, |_| Ok(()));
        self.in_query = false;
        walked
    }

    fn rule(&mut self, name: &str) -> Found {
        if let Some(shape) = self.rules.get(name) {
            return Ok(Rc::clone(shape));
        }
        let (mut shape, mut always) = (Rc::<Shape>::default(), false);
        for rule in self.policy() {
            if function(rule).is_some() || rule_name(rule)? != name {
                continue;
            }
            let given = self.apart(|meaning| meaning.value(rule, &[]))?;
            always |= match rule.as_ref() {
                Rule::Default { .. } | Rule::Spec { head: RuleHead::Set { .. }, .. } => true,
                Rule::Spec { bodies, head: RuleHead::Compr { refr, .. }, .. } => {
                    !matches!(refr.as_ref(), Expr::Var { .. }) || (bodies.is_empty() && !given.missing)
                }
                Rule::Spec { .. } => false,
            };
            shape = shape.join(&given.there());
        }
        let shape = if always { shape } else { shape.or_missing() };
        self.rules.insert(name.to_owned(), Rc::clone(&shape));
        Ok(shape)
    }

    fn call_own(&mut self, name: &str, args: &[Rc<Shape>]) -> Found {
        let key = (name.to_owned(), args.iter().map(Shape::there).collect::<Vec<_>>());
        if let Some(shape) = self.calls.get(&key) {
            return Ok(Rc::clone(shape));
        }
        let (mut shape, mut always) = (Rc::<Shape>::default(), false);
        for rule in self.policy() {
            if function(rule).is_none() || rule_name(rule)? != name {
                continue;
            }
            always |= matches!(rule.as_ref(), Rule::Default { .. });
            let given = self.apart(|meaning| meaning.value(rule, &key.1))?;
            shape = shape.join(&given.there());
        }
        let shape = if always { shape } else { shape.or_missing() };
        self.calls.insert(key, Rc::clone(&shape));
        Ok(shape)
    }

    /// Without the variables that are in sight.
    fn apart<T>(&mut self, walk: impl FnOnce(&mut Self) -> T) -> T {
        let scopes = mem::take(&mut self.scopes);
        let in_query = mem::replace(&mut self.in_query, false);
        let walked = walk(self);
        self.scopes = scopes;
        self.in_query = in_query;
        walked
    }

    /// What a rule gives, or a function for these arguments.
    fn value(&mut self, rule: &'m Rule, args: &[Rc<Shape>]) -> Found {
        self.scopes.push(Scope::default());
        if let Some((_, parameters)) = function(rule) {
            for (parameter, arg) in parameters.iter().zip(args) {
                self.assigns(parameter);
                self.bind(parameter, arg)?;
            }
        }
        let value = match rule {
            Rule::Default { value, .. } => self.shape(value),
            Rule::Spec { head, bodies, .. } => {
                let mut all = Rc::<Shape>::default();
                let mut heads = |meaning: &mut Self, assign: Option<&RuleAssign>| {
                    all = all.join(&meaning.head(head, assign)?);
                    Ok(())
                };
                let mut walk = || {
                    if bodies.is_empty() {
                        heads(self, None)?;
                    }
                    for body in bodies {
                        self.body(&body.query.stmts, |meaning| heads(meaning, body.assign.as_ref()))?;
                    }
                    Ok(())
                };
                walk().map(|()| all)
            }
        };
        self.scopes.pop();
        value
    }

    /// What the head of a rule gives after one of its bodies; `assign` is that body's own value.
    fn head(&mut self, head: &RuleHead, assign: Option<&RuleAssign>) -> Found {
        let own = |meaning: &mut Self, of_head: Option<&RuleAssign>| match assign.or(of_head) {
            Some(assign) => meaning.shape(&assign.value),
            None => Ok(Shape::of_kind(Kinds::BOOLEAN)),
        };
        match head {
            RuleHead::Func { assign: of_head, .. } => own(self, of_head.as_ref()),
            RuleHead::Set { key, .. } => {
                let key = key.as_ref().map(|key| self.shape(key)).transpose()?;
                Ok(Shape::holding(Kinds::SET, key.unwrap_or_default()))
            }
            RuleHead::Compr { refr, assign: of_head, .. } => {
                let mut shape = own(self, of_head.as_ref())?;
                let (_, path) = steps(refr);
                for step in path.iter().rev() {
                    shape = match step {
                        Step::Name(name) => Shape::object([(name.clone(), shape.or_missing())]),
                        Step::Computed(index) => Shape::mapping(self.shape(index)?, shape),
                    };
                }
                Ok(shape)
            }
        }
    }

    /// Walks through a body in a scope of its own, until nothing more is learnt of its variables, and then through `after`.
    fn body(&mut self, statements: &[LiteralStmt], after: impl FnOnce(&mut Self) -> Walk) -> Walk {
        let top = self.in_query && self.scopes.is_empty();
        self.scopes.push(Scope::default());
        for statement in statements {
            match &statement.literal {
                Literal::Expr { expr, .. } => {
                    if let Expr::AssignExpr { lhs, op: AssignOp::ColEq, .. } = expr.as_ref() {
                        self.assigns(lhs);
                    }
                    self.occurs(expr);
                }
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().chain([value]).for_each(|pattern| self.assigns(pattern));
                    self.occurs(collection);
                }
                Literal::Every { domain, .. } => self.occurs(domain),
                Literal::SomeVars { .. } | Literal::NotExpr { .. } => {}
            }
        }
        // Each round learns of one variable at least what it is made of. What is not known by then is made of itself.
        let mut known = BTreeMap::new();
        let mut rounds = 0..statements.len() + 2;
        let walked = loop {
            let walked = statements.iter().try_for_each(|statement| self.statement(statement, top));
            let learnt = self.scopes.last().map(|scope| scope.shapes.clone()).unwrap_or_default();
            if walked.is_err() || known == learnt {
                break walked;
            }
            known = learnt;
            if rounds.next().is_none() {
                let span = statements.first().map(|statement| at(&statement.span));
                break span.map_or(Ok(()), |at| Err((at, Forbidden::Depth)));
            }
        };
        let walked = walked.and_then(|()| self.used(statements)).and_then(|()| after(self));
        self.scopes.pop();
        walked
    }

    /// That what `some` declares stands somewhere.
    fn used(&self, statements: &[LiteralStmt]) -> Walk {
        let declared = statements.iter().filter_map(|statement| match &statement.literal {
            Literal::SomeVars { vars, .. } => Some(vars),
            _ => None,
        });
        let known = |name: &str| self.scopes.last().is_some_and(|scope| scope.shapes.contains_key(name));
        match declared.flatten().find(|span| !known(span.text())) {
            Some(span) => Err((at(span), Forbidden::Unused(span.text().to_owned()))),
            None => Ok(()),
        }
    }

    fn statement(&mut self, statement: &LiteralStmt, top: bool) -> Walk {
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
                // What a query's own expressions give is looked at when it is asked.
                _ if top => self.shape(expr).map(|_| ()),
                _ => self.condition(expr),
            },
            Literal::NotExpr { expr, .. } => self.negated(expr),
        }
    }

    /// A condition is `true` or `false`: all else holds, whatever it is.
    fn condition(&mut self, expr: &Ref<Expr>) -> Walk {
        let shape = self.shape(expr)?;
        let other = shape.kinds.without(Kinds::BOOLEAN);
        if other.none() || shape == Shape::any().or_missing() || shape == Shape::any() || looked_up(expr) {
            return Ok(());
        }
        let what = Forbidden::Condition(named(expr), other.to_string());
        Err((at(expr.span()), what))
    }

    /// Under `not` every variable has a value from elsewhere, and nothing that an expression is made of can be missing: what
    /// is undefined for another reason would hold.
    fn negated(&mut self, expr: &Ref<Expr>) -> Walk {
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

    /// What can never be equal differs whatever is in it: a number from its digits in quotes. `!= null` asks if there is a
    /// value.
    fn may_equal(&mut self, lhs: &Ref<Expr>, rhs: &Ref<Expr>) -> Walk {
        let (left, right) = (self.shape(lhs)?.kinds, self.shape(rhs)?.kinds);
        let null = [left, right].contains(&Kinds::NULL);
        if null || left.none() || right.none() || left.has(right) {
            return Ok(());
        }
        let what = Forbidden::Differs(named(lhs), left.to_string(), named(rhs), right.to_string());
        Err((at(lhs.span()), what))
    }

    fn present(&mut self, expr: &Ref<Expr>) -> Walk {
        if self.shape(expr)?.missing {
            return Err((at(expr.span()), Forbidden::Missing(named(expr))));
        }
        Ok(())
    }

    fn bound(&self, expr: &Ref<Expr>) -> Walk {
        let mut unbound = Ok(());
        variables(expr, &mut |name, expr| {
            if unbound.is_ok() && !self.known(name) {
                unbound = Err((at(expr.span()), Forbidden::Unbound(name.to_owned())));
            }
        });
        unbound
    }

    fn known(&self, name: &str) -> bool {
        matches!(name, "input" | "data") || self.is_rule(name) || self.variable(name).is_some()
    }

    fn is_rule(&self, name: &str) -> bool {
        !self.in_query && self.names.contains(name)
    }

    fn variable(&self, name: &str) -> Option<&Rc<Shape>> {
        self.scopes.iter().rev().find_map(|scope| scope.shapes.get(name))
    }

    /// Names in a pattern are variables of this body.
    fn assigns(&mut self, pattern: &Ref<Expr>) {
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
    fn occurs(&mut self, expr: &Ref<Expr>) {
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

    /// What a pattern matches: its variables can be that, too.
    fn bind(&mut self, pattern: &Ref<Expr>, shape: &Rc<Shape>) -> Walk {
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

    fn shapes<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Ref<Expr>>,
    ) -> Result<Vec<Rc<Shape>>, Refusal> {
        exprs.into_iter().map(|expr| self.shape(expr)).collect()
    }

    fn shape(&mut self, expr: &Ref<Expr>) -> Found {
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

    fn collection(&mut self, kinds: Kinds, items: &[Ref<Expr>]) -> Found {
        let items = self.shapes(items)?;
        let all = Shape::holding(kinds, join_all(&items));
        Ok(if items.iter().any(|item| item.missing) { all.or_missing() } else { all })
    }

    fn fields<'e>(&mut self, fields: impl Iterator<Item = (&'e Ref<Expr>, &'e Ref<Expr>)>) -> Found {
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

    fn gathered(&mut self, kinds: Kinds, term: &Ref<Expr>, query: &Query) -> Found {
        let mut items = Rc::default();
        self.body(&query.stmts, |meaning| {
            items = meaning.shape(term)?;
            Ok(())
        })?;
        Ok(Shape::holding(kinds, items))
    }

    fn call(&mut self, expr: &Ref<Expr>, fcn: &Ref<Expr>, params: &[Ref<Expr>]) -> Found {
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
            // What is wrong with a function for these arguments is wrong here.
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
    fn reference(&mut self, expr: &Ref<Expr>) -> Found {
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
    fn indexed(&mut self, index: &Ref<Expr>, of: &Rc<Shape>) -> Walk {
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

/// That only numbers are ordered. `null` is less than any of them: at least so much, it never is.
fn ordered(expr: &Ref<Expr>, shape: &Shape) -> Walk {
    let other = shape.kinds.without(Kinds::NUMBER).without(Kinds::NULL);
    if other.none() {
        return Ok(());
    }
    Err((at(expr.span()), Forbidden::Ordered(named(expr), other.to_string())))
}

/// An expression as a message names it: what it is written as, on one line.
fn named(expr: &Ref<Expr>) -> String {
    let words: Vec<_> = written(expr.span()).unwrap_or_default().split_whitespace().collect();
    let text: String = words.join(" ");
    if text.chars().count() > MAX_NAMED {
        text.chars().take(MAX_NAMED).chain(['.', '.', '.']).collect()
    } else {
        text
    }
}

/// Whether an expression asks if something has a key: what it has there does not matter.
fn looked_up(expr: &Ref<Expr>) -> bool {
    let (root, path) = steps(expr);
    let input = matches!(root.as_ref(), Expr::Var { span, .. } if span.text() == "input");
    !input && matches!(path.last(), Some(Step::Computed(_)))
}

/// Every variable in an expression, but for those of the bodies within it and the names of functions.
fn variables<'e>(expr: &'e Ref<Expr>, see: &mut impl FnMut(&'e str, &'e Ref<Expr>)) {
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
fn own_rule<'p, 'e>(package: &[String], path: &'p [Step<'e>]) -> Option<(&'p str, &'p [Step<'e>])> {
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

/// `deny[reason] if …` is an object with `reason` as a name, and no set with `reason` in it.
fn not_by_brackets(rule: &Rule) -> Walk {
    let (refr, name) = match rule {
        Rule::Spec { head: RuleHead::Compr { refr, assign: None, .. }, .. } => (refr, rule_name(rule)?),
        Rule::Spec { head: RuleHead::Set { refr, span, .. }, .. } => {
            let head = span.text();
            let contains = head
                .get(refr.span().text().len()..)
                .is_some_and(|rest| rest.trim_start().starts_with("contains"));
            return if contains {
                Ok(())
            } else {
                Err((at(refr.span()), Forbidden::PartialObject(rule_name(rule)?)))
            };
        }
        _ => return Ok(()),
    };
    let brackets = matches!(refr.as_ref(), Expr::RefBrack { .. });
    if brackets { Err((at(refr.span()), Forbidden::PartialObject(name))) } else { Ok(()) }
}
