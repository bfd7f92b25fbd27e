//! Compiling a policy: the checks of a registration, and what evaluation starts from.

use std::fmt;

use regorus::{Engine, PolicyLengthConfig, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    MAX_MODULE, MAX_QUERIES, MAX_QUERY,
    chip::{Chips, Twice},
    claims::Claims,
    evaluate::{Denied, Gave, input},
    query::{self, Namespace, Query},
    reference::{self, ReferenceError},
    restrict::{self, Checked, Forbidden, Meaning},
    text::{self, Position, TextFault},
    thread,
};

/// Longest message of a syntax error, in characters.
const MAX_MESSAGE: usize = 200;

/// A policy as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// A module, Rego v1, of a package of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub module: Option<String>,
    /// Each must give `true`. One at least.
    pub queries: Vec<String>,
    /// A JSON object: the root of `data`. Kept as text, so that what is stored is what was checked.
    pub reference_values: String,
}

impl PolicyText {
    /// SHA-256 of all that it consists of, each part with its length before it.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut part = |text: &str| {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        };
        // No module is another policy than an empty one.
        part(if self.module.is_some() { "module" } else { "" });
        part(self.module.as_deref().unwrap_or_default());
        part(&self.reference_values);
        self.queries.iter().for_each(|query| part(query));
        digest.finalize().into()
    }

    /// The queries, from 0, with a statement that begins with `not` or `every`. Version 0.1.0 took such a
    /// statement to hold, whatever it gave: what it released under them is to be looked at.
    pub fn beginning_with_not_or_every(&self) -> Vec<usize> {
        let text = self.clone();
        let found = move || {
            let namespace = Namespace::beside(&text);
            let begins = |(index, query): &(usize, &String)| {
                let mut engine = engine();
                check_text(Part::Query(*index), query, MAX_QUERY).is_ok()
                    && engine.add_policy("query".to_owned(), query::rule(query, &namespace, *index)).is_ok()
                    && engine
                        .get_modules()
                        .iter()
                        .filter_map(|module| query::body(module))
                        .any(query::negates)
            };
            text.queries.iter().enumerate().filter(begins).map(|(index, _)| index).collect()
        };
        // Without a thread to look at them on, all may be.
        thread::run(found).unwrap_or_else(|_| (0..self.queries.len()).collect())
    }
}

/// A part of a policy that is written in Rego.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The module.
    Module,
    /// A query, from 0.
    Query(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module => f.write_str("the policy"),
            Self::Query(index) => write!(f, "query {index}"),
        }
    }
}

/// Why a policy is refused at its registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No query: nothing would be required.
    #[error("no query")]
    NoQuery,
    /// More than [`MAX_QUERIES`].
    #[error("more than {MAX_QUERIES} queries")]
    TooManyQueries,
    /// The reference values.
    #[error(transparent)]
    ReferenceValues(#[from] ReferenceError),
    /// A text that is kept from the parser.
    #[error("{part}, line {}, column {}: {fault}", .at.line, .at.column)]
    Text {
        /// Where.
        part: Part,
        /// Where in it.
        at: Position,
        /// Why.
        fault: TextFault,
    },
    /// No Rego.
    #[error("{part}{}: {message}", .at.map_or(String::new(), |at| format!(", line {}, column {}", at.line, at.column)))]
    Syntax {
        /// Where.
        part: Part,
        /// Where in it, as far as the parser says.
        at: Option<Position>,
        /// The parser's words, one line of printable ASCII.
        message: String,
    },
    /// Rego that policies may not use.
    #[error("{part}, line {}, column {}: not allowed: {what}", .at.line, .at.column)]
    Forbidden {
        /// Where.
        part: Part,
        /// Where in it.
        at: Position,
        /// What.
        what: Forbidden,
    },
    /// The module's package would hide reference values, or be hidden by them.
    #[error("the reference values have {0:?}, with which the policy's package begins")]
    Shadows(String),
    /// A Turin under both of its names.
    #[error("the chip id {0:?} is there with 16 digits and with 128: write it in one form")]
    ChipTwice(String),
    /// Tried with sample claims, a query failed, took too long or gave no boolean.
    #[error("tried with a sample, {0}")]
    Trial(Denied),
    /// No thread could be started.
    #[error("no thread to compile the policy with")]
    NoThread,
}

/// A policy that was checked and is ready to be evaluated, any number of times.
#[derive(Clone)]
pub struct Policy {
    pub(super) engine: Engine,
    pub(super) queries: Vec<Query>,
    pub(super) chips: Chips,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("queries", &self.queries).finish_non_exhaustive()
    }
}

impl Policy {
    /// Checks a policy and compiles it. Takes milliseconds, and a thread of its own meanwhile.
    pub fn compile(text: &PolicyText) -> Result<Self, PolicyError> {
        let text = text.clone();
        thread::run(move || Self::compile_here(&text)).map_err(|_| PolicyError::NoThread)?
    }

    /// The same on this thread, which must be one of [`thread`]'s.
    pub(super) fn compile_here(text: &PolicyText) -> Result<Self, PolicyError> {
        compile(text)
    }

    /// Evaluates every query with sample claims. That they are false or undefined there is no fault; that
    /// they fail, take too long or give no boolean is.
    pub fn trial(&self, sample: &Claims) -> Result<(), PolicyError> {
        for (query, gave) in self.results(sample, super::evaluate::DEADLINE).into_iter().enumerate() {
            match gave {
                Gave::True | Gave::False | Gave::Undefined => {}
                Gave::NotBoolean | Gave::Error(_) | Gave::TimedOut => {
                    return Err(PolicyError::Trial(Denied { query, gave }));
                }
            }
        }
        Ok(())
    }
}

/// The query for a module's rule `allow`, by its full name: what is asked of a policy that comes without
/// queries. The rule need not be there; it is undefined then.
pub fn allow_query(module: &str) -> Result<String, PolicyError> {
    let module = module.to_owned();
    thread::run(move || {
        check_text(Part::Module, &module, MAX_MODULE)?;
        let mut engine = engine();
        parse_module(&mut engine, module)?;
        let module = engine.get_modules().iter().next().cloned().ok_or(PolicyError::NoQuery)?;
        let package = restrict::package(&module).map_err(forbidden(Part::Module))?;
        Ok(format!("data.{}.allow", package.join(".")))
    })
    .map_err(|_| PolicyError::NoThread)?
}

fn compile(text: &PolicyText) -> Result<Policy, PolicyError> {
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
    let mut engine = engine();
    let claims = claims();
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
fn engine() -> Engine {
    let mut engine = Engine::new();
    let defaults = PolicyLengthConfig::default();
    let max_col = u32::try_from(query::MAX_LINE).ok().and_then(|max| max.try_into().ok());
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: max_col.unwrap_or(defaults.max_col),
        ..defaults
    });
    engine
}

/// Claims of three reports, which together have everything that a claim can be: for their names and kinds.
fn claims() -> Vec<Value> {
    [Claims::sample(), Claims::full(), Claims::scant()]
        .iter()
        .filter_map(|claims| input(claims).ok())
        .collect()
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

/// What the interpreter found when it ordered the statements of all modules.
fn unscheduled(error: &dyn fmt::Display) -> PolicyError {
    let text = error.to_string();
    let place = text.split_once("--> ").map_or(text.as_str(), |(_, place)| place);
    let query = place.strip_prefix("query ").and_then(|place| place.split_once(':')?.0.parse().ok());
    match query {
        Some(index) => within_query(index, syntax(Part::Query(index), error)),
        None => syntax(Part::Module, error),
    }
}

/// The parser's errors are texts: `--> FILE:LINE:COLUMN`, the line in question, and `error: ` with what is
/// wrong. A few are `FILE:LINE:COLUMN error: ` and what is wrong.
fn syntax(part: Part, error: &dyn fmt::Display) -> PolicyError {
    let text = error.to_string();
    PolicyError::Syntax { part, at: position(&text), message: message(&text) }
}

fn position(text: &str) -> Option<Position> {
    match text.split_once("--> ") {
        Some((_, place)) => read_position(place.lines().next()?),
        None => read_position(text.split_once(" error: ")?.0),
    }
}

/// `FILE:LINE:COLUMN`.
fn read_position(place: &str) -> Option<Position> {
    let mut numbers = place.split(':').skip(1).map(|number| number.trim().parse().ok());
    Some(Position { line: numbers.next()??, column: numbers.next()?? })
}

/// What an error of the parser or interpreter says, without the source that it quotes.
pub(super) fn message(text: &str) -> String {
    let said = match (text.split_once("\nerror: "), text.split_once(" error: ")) {
        (Some((_, said)), _) => said,
        (None, Some((place, said))) if read_position(place).is_some() => said,
        _ => text,
    };
    let line = said.trim().lines().next().unwrap_or_default();
    line.chars().filter(|c| (' '..='~').contains(c)).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_parser_has_a_place_and_a_message() {
        let text = "\n--> policy:3:7\n  |\n3 | allow if {\n  |       ^\nerror: expected `}`\nmore";
        assert_eq!(position(text), Some(Position { line: 3, column: 7 }));
        assert_eq!(message(text), "expected `}`");
        let text = "policy:3:23 error: encountered `c` while expecting `in`";
        assert_eq!(position(text), Some(Position { line: 3, column: 23 }));
        assert_eq!(message(text), "encountered `c` while expecting `in`");
        assert_eq!(message("an error: of a kind"), "an error: of a kind");
        assert_eq!(position("no place"), None);
        assert_eq!(message("no\u{1b}[31m place"), "no[31m place");
        assert_eq!(message(&"x".repeat(1000)).len(), MAX_MESSAGE);
    }

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

    #[test]
    fn parts_do_not_run_into_each_other_in_the_digest() {
        let text = |queries: &[&str]| PolicyText {
            module: None,
            queries: queries.iter().map(|&query| query.to_owned()).collect(),
            reference_values: "{}".to_owned(),
        };
        assert_ne!(text(&["ab", "c"]).digest(), text(&["a", "bc"]).digest());
        assert_ne!(text(&["a", ""]).digest(), text(&["a"]).digest());
        let module = PolicyText { module: Some("a".to_owned()), ..text(&["a"]) };
        assert_ne!(module.digest(), text(&["a"]).digest());
    }
}
