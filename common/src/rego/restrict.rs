//! What of Rego a policy may use.
//!
//! The interpreter looks at the clock between steps, but no step can be interrupted: what one step may cost is decided
//! here, before anything is evaluated, on the syntax tree. A policy is refused
//!
//! - if it calls what is neither its own function nor on the list of builtins, or calls by anything but a plain name. Its own
//!   are those whose whole name stands at the head, and in a query they go by their full name (`data.policy.f`): where the
//!   interpreter finds no function under a name it looks for a builtin of that name, whether that is on our list or not;
//! - for `with`, imports other than `rego.v1` and `future.keywords`, and targets: they rename what is called;
//! - if it refers to its own package other than by the full name of a rule (`data.policy[x]`, `data`);
//! - if a rule needs itself, or rules and expressions need each other too deeply for a stack;
//! - if it orders a claim at the root of `input`, which is a string: by `<` a number is less than any string;
//! - if a name that is not there stands under `not`, which would always hold;
//! - if values could grow out of proportion: each array, set, object or comprehension built of variables multiplies,
//!   and what rules build of each other multiplies again. Comparing two such values is one step.

mod cost;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Value,
    unstable::{
        BoolOp, Expr, Literal, Module, Query, Ref, Rule, RuleAssign, RuleBody, RuleHead, Span, WithModifier,
    },
};

use cost::{Cost, Needs, cost};
use names::{Step, claim, flat, not_a_text, plain_path, steps};

use super::{builtins, text::Position};

/// Deepest expression, in levels.
const MAX_DEPTH: u32 = 48;
/// Of a comprehension: what a loop can go through before the clock stops it.
const LOOP: u32 = 15;

/// What a policy may not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// A function that is neither the policy's own nor one of the builtins that policies may call.
    #[error("the function {0} is not one that a policy may call")]
    Function(String),
    /// A call of something that is no plain name.
    #[error("a call by anything but a function's name")]
    IndirectCall,
    /// `to_number` of something else than a claim.
    #[error("to_number of anything but a claim (to_number(input.…))")]
    ToNumber,
    /// `with`.
    #[error("the keyword with")]
    With,
    /// An import.
    #[error("an import other than rego.v1 and future.keywords: write the whole path")]
    Import,
    /// A target.
    #[error("a target")]
    Target,
    /// A package whose name is no path of plain names.
    #[error("a package name that is not made of plain names")]
    Package,
    /// A rule without a plain name at its head, or with that of a builtin.
    #[error("a rule whose name is not plain, or a builtin's")]
    RuleName,
    /// A function whose name is a path: under parts of it the interpreter finds builtins.
    #[error("a function whose name is not one plain name")]
    FunctionName,
    /// A variable with the name of what is given.
    #[error("a variable named input or data")]
    Shadow,
    /// `<`, `<=`, `>` or `>=` with a claim that is a string.
    #[error("the order of {0}, a string: compare what is in input.snp")]
    Ordered(String),
    /// `not` before a name that nothing has.
    #[error("{0} under not, where nothing has this name")]
    Absent(String),
    /// `some … in` at the top of a query, where the interpreter mixes up the solutions.
    #[error("some .. in at the top of a query: write it in a rule, or with [_]")]
    SomeIn,
    /// The whole package or the whole of `data`, or a rule by a computed name.
    #[error("the policy's own package other than by the full name of a rule")]
    OwnPackage,
    /// A rule that needs itself. A variable with the name of a rule counts as that rule.
    #[error("the rule {0} needs itself (a variable of a rule's name counts as the rule)")]
    Recursion(String),
    /// An expression, or a chain of rules, deeper than the stack allows for.
    #[error("expressions, or rules that need each other, nested too deeply")]
    Depth,
    /// Values built of values built of values.
    #[error("collections built of collections: values could grow out of proportion")]
    Growth,
}

type Refusal = (Position, Forbidden);

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

/// Checks a query against the module that it goes with.
pub(super) fn query(query: &Query, checked: &Checked) -> Result<(), Refusal> {
    for stmt in &query.stmts {
        if let Literal::SomeIn { span, .. } = &stmt.literal {
            return Err((at(span), Forbidden::SomeIn));
        }
    }
    let mut survey = Survey { in_query: true, ..Survey::new(checked) };
    survey.query(query)?;
    let needs = survey.needs(at(&query.span));
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

/// That a parameter or variable does not take the name of what every rule is given.
fn not_shadowing(expr: &Ref<Expr>) -> Walk {
    match expr.as_ref() {
        Expr::Var { span, .. } if is_given(span) => Err((at(span), Forbidden::Shadow)),
        _ => Ok(()),
    }
}

fn is_given(span: &Span) -> bool {
    matches!(span.text(), "input" | "data")
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

/// A walk through one rule or query.
struct Survey<'a> {
    known: &'a Checked,
    rules: BTreeSet<String>,
    function: bool,
    in_query: bool,
    under_not: bool,
    level: u32,
    depth: u32,
    least: u32,
    growth: u32,
}

type Walk = Result<(), Refusal>;

impl<'a> Survey<'a> {
    fn new(known: &'a Checked) -> Self {
        Self {
            known,
            rules: BTreeSet::new(),
            function: false,
            in_query: false,
            under_not: false,
            level: 0,
            depth: 0,
            least: 0,
            growth: 0,
        }
    }

    fn needs(self, at: Position) -> Needs {
        // One level more for what calls the rule.
        Needs { at, rules: self.rules, depth: self.depth + 1, least: self.least, growth: self.growth }
    }

    fn rule(&mut self, rule: &Rule) -> Walk {
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
        for stmt in &query.stmts {
            if let Some(WithModifier { span, .. }) = stmt.with_mods.first() {
                return Err((at(span), Forbidden::With));
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
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                if !matches!(op, BoolOp::Eq | BoolOp::Ne) {
                    [lhs, rhs].into_iter().try_for_each(not_a_text)?;
                }
                self.all([lhs, rhs])
            }
            Expr::AssignExpr { lhs, rhs, .. } => {
                not_shadowing(lhs)?;
                self.all([lhs, rhs])
            }
            Expr::BinExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } => self.all([lhs, rhs]),
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

    /// That `not` does not stand before a name that neither the claims nor the reference values have.
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

    /// The rule that a path from `data` names, if it leads into the module's package. `None` if that cannot be told.
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
