//! The values that expressions can give, and where that is a trap: policies that say something else than they
//! seem to.
//!
//! Each rule is looked at once, each function once for every kind of arguments. Variables are what any
//! statement of their body makes of them.

mod expressions;
mod statements;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    rc::Rc,
};

use regorus::{
    Value,
    unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleAssign, RuleHead},
};

use super::{
    forbidden::Forbidden,
    names::{Step, steps},
    refusal::{Refusal, Walk, at},
    rule::{function, package, rule_name},
    shape::{Kinds, Shape, join_all},
};

/// Most expressions that are looked at, counting each as often as it is.
const FUEL: u32 = 100_000;

type Found = Result<Rc<Shape>, Refusal>;

/// The variables of a body.
#[derive(Debug, Default)]
struct Scope {
    shapes: BTreeMap<String, Rc<Shape>>,
    /// Those that are assigned: an index does not bind them.
    assigned: BTreeSet<String>,
}

/// The facts that are known about a policy's values.
#[derive(Debug)]
pub(crate) struct Meaning<'m> {
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
    /// The meaning of a module that passed every other check, beside these reference values and claims like
    /// these.
    pub(crate) fn of(module: Option<&'m Module>, data: &Value, claims: &[Value]) -> Result<Self, Refusal> {
        let claims: Vec<_> = claims.iter().map(Shape::of_value).collect();
        let mut meaning = Self {
            module,
            package: module.map(package).transpose()?.unwrap_or_default(),
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
    pub(crate) fn module(&mut self) -> Walk {
        for rule in self.policy() {
            not_by_brackets(rule)?;
        }
        let names = self.names.clone();
        names.iter().try_for_each(|name| self.rule(name).map(|_| ()))
    }

    /// Checks a query.
    pub(crate) fn query(&mut self, statements: &[LiteralStmt]) -> Walk {
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

    /// The value of a rule, or of a function for these arguments.
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

    /// The value of a rule's head after one of its bodies; `assign` is that body's own value.
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

    /// Walks through a body in a scope of its own, until nothing more is learnt of its variables, and then
    /// through `after`.
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
        // Each round learns of one variable at least what it is made of. A variable that is not known by then
        // is made of itself.
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

    /// Refuses a variable that `some` declares and no statement uses.
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
