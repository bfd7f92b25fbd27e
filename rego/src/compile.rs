//! Compiling a policy: the checks of a registration, and what evaluation starts from.

use std::fmt;

use keybroker_common::policy::{MAX_MODULE, MAX_QUERIES, MAX_QUERY, PolicyText};
use regorus::{Engine, PolicyLengthConfig, Value};

use crate::{
    chip::{Chips, Twice},
    error::{Part, PolicyError},
    input,
    policy::Policy,
    query::{self, Namespace, Query},
    reference,
    restrict::{self, Checked, Forbidden, Meaning},
    said::{message, position},
    text::{self, Position},
    thread,
};

impl Policy {
    /// Checks a policy and compiles it. Takes milliseconds, and a thread of its own meanwhile.
    pub fn compile(text: &PolicyText) -> Result<Self, PolicyError> {
        let text = text.clone();
        thread::run(move || compile(&text)).map_err(|_| PolicyError::NoThread)?
    }
}

/// The query for a module's rule `allow`, by its full name: what is asked of a policy that comes without
/// queries. The rule need not be there; it is undefined then.
pub fn allow_query(module: &str) -> Result<String, PolicyError> {
    let module = module.to_owned();
    thread::run(move || {
        check_text(Part::Module, &module, MAX_MODULE)?;
        let mut engine = interpreter();
        parse_module(&mut engine, module)?;
        let module = engine.get_modules().iter().next().cloned().ok_or(PolicyError::NoQuery)?;
        let package = restrict::package(&module).map_err(forbidden(Part::Module))?;
        Ok(format!("data.{}.allow", package.join(".")))
    })
    .map_err(|_| PolicyError::NoThread)?
}

/// The policy's queries, from 0, with a statement that begins with `not` or `every`. Version 0.1.0 took such
/// a statement to hold, whatever it gave: what it released under them is to be looked at.
pub fn beginning_with_not_or_every(policy: &PolicyText) -> Vec<usize> {
    let text = policy.clone();
    let found = move || {
        let namespace = Namespace::beside(&text);
        let begins = |(index, query): &(usize, &String)| {
            let mut engine = interpreter();
            check_text(Part::Query(*index), query, MAX_QUERY).is_ok()
                && engine.add_policy("query".to_owned(), query::rule(query, &namespace, *index)).is_ok()
                && engine.get_modules().iter().filter_map(|module| query::body(module)).any(query::negates)
        };
        text.queries.iter().enumerate().filter(begins).map(|(index, _)| index).collect()
    };
    // Without a thread to look at them on, all may be.
    thread::run(found).unwrap_or_else(|_| (0..policy.queries.len()).collect())
}

/// The same on this thread, which must be one of [`thread`]'s.
pub(crate) fn compile(text: &PolicyText) -> Result<Policy, PolicyError> {
    match text.queries.len() {
        0 => return Err(PolicyError::NoQuery),
        1..=MAX_QUERIES => {}
        _ => return Err(PolicyError::TooManyQueries),
    }
    let checks = text.queries.iter().enumerate().map(|(index, query)| (Part::Query(index), query, MAX_QUERY));
    let module = text.module.iter().map(|module| (Part::Module, module, MAX_MODULE));
    for (part, text, max_len) in module.chain(checks) {
        check_text(part, text, max_len)?;
    }
    let data = reference::read(&text.reference_values)?;
    let chips = Chips::of(text).map_err(|Twice(chip)| PolicyError::ChipTwice(chip))?;
    let mut engine = interpreter();
    let claims = input::samples();
    let sample = claims.first().cloned().unwrap_or_else(Value::new_object);
    let given = Checked::new(data.clone(), sample);
    let checked = match &text.module {
        Some(module) => add_module(&mut engine, module.clone(), &data, given)?,
        None => given,
    };
    let module = engine.get_modules().first().cloned();
    let mut meaning = Meaning::of(module.as_deref(), &data, &claims).map_err(forbidden(Part::Module))?;
    meaning.module().map_err(forbidden(Part::Module))?;
    engine.add_data(data).map_err(|error| syntax(Part::Module, &error))?;
    let namespace = Namespace::beside(text);
    let (truth, path) = namespace.truth();
    engine.add_policy("truth".to_owned(), truth).map_err(|error| syntax(Part::Module, &error))?;
    let mut queries = Vec::with_capacity(text.queries.len());
    for (index, query) in text.queries.iter().enumerate() {
        queries.push(add_query(&mut engine, query, &namespace, index, &checked, &mut meaning)?);
    }
    // The first evaluation schedules every statement: it is then done once for all.
    engine.eval_rule(path).map_err(|error| unscheduled(&error))?;
    Ok(Policy { engine, queries, chips })
}

fn check_text(part: Part, text: &str, max_len: usize) -> Result<(), PolicyError> {
    text::check(text, max_len).map_err(|(at, fault)| PolicyError::Text { part, at, fault })
}

/// An engine whose lines may be as long as a query and what is put around it.
fn interpreter() -> Engine {
    let mut engine = Engine::new();
    let defaults = PolicyLengthConfig::default();
    let max_col = u32::try_from(query::MAX_LINE).ok().and_then(|max| max.try_into().ok());
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: max_col.unwrap_or(defaults.max_col),
        ..defaults
    });
    engine
}

fn parse_module(engine: &mut Engine, module: String) -> Result<(), PolicyError> {
    let parsed = engine.add_policy("policy".to_owned(), module);
    parsed.map(|_| ()).map_err(|error| syntax(Part::Module, &error))
}

fn forbidden(part: Part) -> impl Fn((Position, Forbidden)) -> PolicyError {
    move |(at, what)| PolicyError::Forbidden { part, at, what }
}

fn add_module(
    engine: &mut Engine,
    module: String,
    data: &Value,
    mut checked: Checked,
) -> Result<Checked, PolicyError> {
    let part = Part::Module;
    parse_module(engine, module)?;
    for module in engine.get_modules().iter() {
        checked = restrict::module(module, checked).map_err(forbidden(part))?;
        let package = restrict::package(module).map_err(forbidden(part))?;
        let Some(root) = package.first() else { continue };
        let fields = data.as_object().map_err(|error| syntax(part, &error))?;
        if fields.contains_key(&root.as_str().into()) {
            return Err(PolicyError::Shadows(root.clone()));
        }
    }
    Ok(checked)
}

/// Adds the modules of a query.
fn add_query(
    engine: &mut Engine,
    text: &str,
    namespace: &Namespace,
    index: usize,
    checked: &Checked,
    meaning: &mut Meaning<'_>,
) -> Result<Query, PolicyError> {
    let part = Part::Query(index);
    if text.trim().is_empty() {
        return Err(no_query(index));
    }
    let within = |error: &dyn fmt::Display| within_query(index, syntax(part, error));
    let name = format!("query {index}");
    engine.add_policy(name.clone(), query::rule(text, namespace, index)).map_err(|error| within(&error))?;
    let module = engine.get_modules().last().cloned();
    let statements = module.as_deref().and_then(query::body).ok_or_else(|| no_query(index))?;
    restrict::query(statements, checked)
        .and_then(|()| meaning.query(statements))
        .map_err(|refused| within_query(index, forbidden(part)(refused)))?;
    let (query, values) = Query::new(statements, namespace, index).ok_or_else(|| no_query(index))?;
    engine.add_policy(name, values).map_err(|_| no_query(index))?;
    Ok(query)
}

fn no_query(index: usize) -> PolicyError {
    let at = Some(Position { line: 1, column: 1 });
    PolicyError::Syntax { part: Part::Query(index), at, message: "not a query".to_owned() }
}

/// A fault of the module that was made for a query, with its place in the query.
fn within_query(index: usize, error: PolicyError) -> PolicyError {
    let part = Part::Query(index);
    let moved = |Position { line, column }| {
        let line = line.checked_sub(query::LINES_BEFORE).filter(|line| *line > 0);
        line.map_or(Position { line: 1, column: 1 }, |line| Position { line, column })
    };
    match error {
        PolicyError::Syntax { at, message, .. } => PolicyError::Syntax { part, at: at.map(moved), message },
        PolicyError::Forbidden { at, what, .. } => PolicyError::Forbidden { part, at: moved(at), what },
        other => other,
    }
}

/// The fault that the interpreter found when it ordered the statements of all modules.
fn unscheduled(error: &dyn fmt::Display) -> PolicyError {
    let text = error.to_string();
    let place = text.split_once("--> ").map_or(text.as_str(), |(_, place)| place);
    let query = place.strip_prefix("query ").and_then(|place| place.split_once(':')?.0.parse().ok());
    match query {
        Some(index) => within_query(index, syntax(Part::Query(index), error)),
        None => syntax(Part::Module, error),
    }
}

/// The fault that the parser found.
fn syntax(part: Part, error: &dyn fmt::Display) -> PolicyError {
    let text = error.to_string();
    PolicyError::Syntax { part, at: position(&text), message: message(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_is_asked_for_by_its_full_name() {
        assert_eq!(allow_query("package a.b\n\nallow := true\n"), Ok("data.a.b.allow".to_owned()));
        assert_eq!(allow_query("package policy"), Ok("data.policy.allow".to_owned()));
        for (module, place) in [
            ("allow := true", "line 1"),
            ("package a\nallow if {", "line 2"),
            ("package a\n\u{e9}", "line 2"),
        ] {
            let error = allow_query(module).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the policy, {place}, column ")), "{error}");
        }
        assert!(matches!(allow_query("package a[\"b\"]"), Err(PolicyError::Forbidden { .. })));
    }
}
