//! The walk through a rule or a query: what it needs, and what in it is forbidden.

use std::collections::BTreeSet;

use regorus::{
    Value,
    unstable::{
        Expr, Literal, LiteralStmt, Query, Ref, Rule, RuleAssign, RuleBody, RuleHead, Span, WithModifier,
    },
};

use super::{
    checked::Checked,
    cost::Needs,
    forbidden::Forbidden,
    names::{Step, claim, flat, plain_path, steps},
    refusal::{Walk, at},
    rule::rule_name,
};
use crate::{builtins, text::Position};

/// Deepest expression, in levels.
const MAX_DEPTH: u32 = 48;
/// The same for a comprehension: the items that a loop can go through before the clock stops it.
const LOOP: u32 = 15;

/// Refuses a parameter or variable with the name of a value that every rule is given.
pub(super) fn not_shadowing(expr: &Ref<Expr>) -> Walk {
    match expr.as_ref() {
        Expr::Var { span, .. } if is_given(span) => Err((at(span), Forbidden::Shadow)),
        _ => Ok(()),
    }
}

fn is_given(span: &Span) -> bool {
    matches!(span.text(), "input" | "data")
}

/// A walk through one rule or query.
pub(super) struct Survey<'a> {
    known: &'a Checked,
    rules: BTreeSet<String>,
    function: bool,
    /// The rule, if it is one for `opa test`.
    test: Option<String>,
    in_query: bool,
    under_not: bool,
    level: u32,
    depth: u32,
    least: u32,
    growth: u32,
}

impl<'a> Survey<'a> {
    /// A survey of a rule whose module `known` knows the names of.
    pub(super) fn new(known: &'a Checked) -> Self {
        Self {
            known,
            rules: BTreeSet::new(),
            function: false,
            test: None,
            in_query: false,
            under_not: false,
            level: 0,
            depth: 0,
            least: 0,
            growth: 0,
        }
    }

    /// A survey of a query, which names rules in full.
    pub(super) fn of_query(known: &'a Checked) -> Self {
        Self { in_query: true, ..Self::new(known) }
    }

    pub(super) fn needs(self, at: Position) -> Needs {
        // One level more for what calls the rule.
        Needs { at, rules: self.rules, depth: self.depth + 1, least: self.least, growth: self.growth }
    }

    pub(super) fn rule(&mut self, rule: &Rule) -> Walk {
        self.test = Some(rule_name(rule)?).filter(|name| name.starts_with("test_"));
        match rule {
            Rule::Default { refr, args, value, .. } => {
                self.head_path(refr)?;
                self.all(args)?;
                self.expr(value)
            }
            Rule::Spec { head, bodies, .. } => {
                self.head(head)?;
                bodies.iter().try_for_each(|body| self.body(body))
            }
        }
    }

    fn head(&mut self, head: &RuleHead) -> Walk {
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                self.head_path(refr)?;
                self.assign(assign.as_ref())
            }
            RuleHead::Set { span, refr, key } => {
                self.head_path(refr)?;
                let Some(key) = key else { return self.gathers(span, true) };
                self.expr(key)?;
                self.gathers(span, flat(key))
            }
            RuleHead::Func { refr, args, assign, .. } => {
                self.function = true;
                self.head_path(refr)?;
                self.all(args)?;
                self.assign(assign.as_ref())
            }
        }
    }

    /// `a.b[x]` at the head of a rule: with brackets it gathers what its bodies give.
    fn head_path(&mut self, refr: &Ref<Expr>) -> Walk {
        let mut expr = refr;
        loop {
            match expr.as_ref() {
                Expr::RefDot { refr, .. } => expr = refr,
                Expr::RefBrack { span, refr, index, .. } => {
                    self.expr(index)?;
                    self.gathers(span, false)?;
                    expr = refr;
                }
                _ => return Ok(()),
            }
        }
    }

    fn assign(&mut self, assign: Option<&RuleAssign>) -> Walk {
        assign.map_or(Ok(()), |assign| self.expr(&assign.value))
    }

    fn body(&mut self, body: &RuleBody) -> Walk {
        self.assign(body.assign.as_ref())?;
        self.query(&body.query)
    }

    fn query(&mut self, query: &Query) -> Walk {
        self.statements(&query.stmts)
    }

    pub(super) fn statements(&mut self, statements: &[LiteralStmt]) -> Walk {
        for stmt in statements {
            if let Some(WithModifier { span, .. }) = stmt.with_mods.first() {
                let test = self.test.clone();
                return Err((at(span), test.map_or(Forbidden::With, Forbidden::WithInTest)));
            }
            match &stmt.literal {
                Literal::SomeVars { vars, .. } => {
                    if let Some(span) = vars.iter().find(|span| is_given(span)) {
                        return Err((at(span), Forbidden::Shadow));
                    }
                }
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().chain([value]).try_for_each(not_shadowing)?;
                    self.maybe(key.as_ref())?;
                    self.expr(value)?;
                    self.expr(collection)?;
                }
                Literal::Expr { expr, .. } => self.expr(expr)?,
                Literal::NotExpr { expr, .. } => {
                    let outer = std::mem::replace(&mut self.under_not, true);
                    self.expr(expr)?;
                    self.under_not = outer;
                }
                Literal::Every { domain, query, .. } => {
                    self.expr(domain)?;
                    self.deeper(&stmt.span, |survey| survey.query(query))?;
                }
            }
        }
        Ok(())
    }

    fn all<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Ref<Expr>>) -> Walk {
        exprs.into_iter().try_for_each(|expr| self.expr(expr))
    }

    fn maybe(&mut self, expr: Option<&Ref<Expr>>) -> Walk {
        expr.map_or(Ok(()), |expr| self.expr(expr))
    }

    fn deeper(&mut self, span: &Span, walk: impl FnOnce(&mut Self) -> Walk) -> Walk {
        self.level += 1;
        self.depth = self.depth.max(self.level);
        if self.level > MAX_DEPTH {
            return Err((at(span), Forbidden::Depth));
        }
        let walked = walk(self);
        self.level -= 1;
        walked
    }

    fn expr(&mut self, expr: &Ref<Expr>) -> Walk {
        self.deeper(expr.span(), |survey| survey.within(expr))
    }

    // Exhaustive, so that what a later release of the parser can say is not passed over.
    fn within(&mut self, expr: &Ref<Expr>) -> Walk {
        match expr.as_ref() {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => Ok(()),
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { span, items, .. } | Expr::Set { span, items, .. } => {
                self.all(items)?;
                self.holds(span, items.iter())
            }
            Expr::Object { span, fields, .. } => {
                self.all(fields.iter().flat_map(|(_, key, value)| [key, value]))?;
                self.holds(span, fields.iter().flat_map(|(_, key, value)| [key, value]))
            }
            Expr::ArrayCompr { span, term, query, .. } | Expr::SetCompr { span, term, query, .. } => {
                self.expr(term)?;
                self.query(query)?;
                self.gathers(span, flat(term))
            }
            Expr::ObjectCompr { span, key, value, query, .. } => {
                self.all([key, value])?;
                self.query(query)?;
                self.gathers(span, flat(key) && flat(value))
            }
            Expr::Call { span, fcn, params, .. } => self.call(span, fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::AssignExpr { lhs, rhs, .. } => {
                not_shadowing(lhs)?;
                self.all([lhs, rhs])
            }
            Expr::BoolExpr { lhs, rhs, .. }
            | Expr::BinExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => self.all([lhs, rhs]),
            Expr::Membership { key, value, collection, .. } => {
                self.maybe(key.as_ref())?;
                self.all([value, collection])
            }
        }
    }

    /// A literal multiplies by as many of its items as are not flat.
    fn holds<'e>(&mut self, span: &Span, items: impl Iterator<Item = &'e Ref<Expr>>) -> Walk {
        let parts = items.filter(|item| !flat(item)).count();
        if parts == 0 {
            return Ok(());
        }
        self.builds(span)?;
        self.growth += parts.next_power_of_two().trailing_zeros();
        Ok(())
    }

    /// A comprehension or partial rule multiplies by its loops, or brings as many flat items.
    fn gathers(&mut self, span: &Span, flat: bool) -> Walk {
        if flat {
            self.least = self.least.max(LOOP);
            return Ok(());
        }
        self.builds(span)?;
        self.growth += LOOP;
        Ok(())
    }

    /// A function can be applied to its own result again and again: none may build.
    fn builds(&self, span: &Span) -> Walk {
        if self.function { Err((at(span), Forbidden::Growth)) } else { Ok(()) }
    }

    fn call(&mut self, span: &Span, fcn: &Ref<Expr>, params: &[Ref<Expr>]) -> Walk {
        let path = plain_path(fcn).ok_or((at(span), Forbidden::IndirectCall))?;
        let own = match path.as_slice() {
            [name] if !self.in_query => Some(name),
            [data, package @ .., name] if data == "data" && *package == self.known.package => Some(name),
            _ => None,
        };
        match own.filter(|name| self.known.functions.contains(*name)) {
            Some(name) => {
                self.rules.insert(name.clone());
            }
            None => {
                let path = path.join(".");
                if !builtins::is_allowed(&path) {
                    return Err((at(span), Forbidden::Function(path)));
                }
                if path == builtins::TO_NUMBER && !params.first().is_some_and(claim) {
                    return Err((at(span), Forbidden::ToNumber));
                }
            }
        }
        self.all(params)
    }

    /// A variable, or a path from one.
    fn reference(&mut self, expr: &Ref<Expr>) -> Walk {
        let (root, steps) = steps(expr);
        for step in &steps {
            if let Step::Computed(index) = step {
                self.expr(index)?;
            }
        }
        let Expr::Var { span, .. } = root.as_ref() else { return self.expr(root) };
        if self.under_not {
            self.there(span, &steps)?;
        }
        if span.text() != "data" {
            if self.known.rules.contains_key(span.text()) {
                self.rules.insert(span.text().to_owned());
            }
            return Ok(());
        }
        if self.known.package.is_empty() {
            return Ok(());
        }
        self.own_rule(&steps).map_or(Err((at(span), Forbidden::OwnPackage)), |rule| {
            self.rules.extend(rule);
            Ok(())
        })
    }

    /// Refuses `not` before a name that neither the claims nor the reference values have.
    fn there(&self, root: &Span, steps: &[Step<'_>]) -> Walk {
        let own = |steps: &[Step<'_>]| matches!(self.own_rule(steps), Some(Some(_)));
        let mut value = match root.text() {
            "input" => &self.known.claims,
            "data" if self.known.package.is_empty() || !own(steps) => &self.known.data,
            _ => return Ok(()),
        };
        let mut path = root.text().to_owned();
        for step in steps {
            let (Step::Name(name), Value::Object(fields)) = (step, value) else { return Ok(()) };
            path = format!("{path}.{name}");
            value = fields.get(&name.as_str().into()).ok_or((at(root), Forbidden::Absent(path.clone())))?;
        }
        Ok(())
    }

    /// The rule that a path from `data` names, if it leads into the module's package. `None` if that cannot
    /// be told.
    fn own_rule(&self, steps: &[Step<'_>]) -> Option<Option<String>> {
        let mut steps = steps.iter();
        for name in &self.known.package {
            match steps.next()? {
                Step::Name(step) if step == name => {}
                Step::Name(_) => return Some(None),
                Step::Computed(_) => return None,
            }
        }
        match steps.next()? {
            Step::Name(rule) => Some(Some(rule.clone())),
            Step::Computed(_) => None,
        }
    }
}
