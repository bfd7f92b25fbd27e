//! Values with one thing changed, made along a schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::judge::Judge;

/// A name that no object has.
pub(super) const UNKNOWN: &str = "unknown-name";

/// How a value was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Another value is in its place.
    Replaced,
    /// It is a text, and a character differs.
    Edited,
    /// It has the size of a bound, or is one beyond.
    Sized,
    /// It is gone.
    Removed,
    /// It is there twice.
    Twice,
    /// It has another name.
    Renamed,
    /// Beside its members is one of [`UNKNOWN`] name.
    Extended,
}

/// A value with one thing changed.
pub(super) struct Mutant {
    /// Where: a JSON pointer, which leads into texts of JSON as well.
    pub(super) at: String,
    pub(super) change: Change,
    /// The whole value as JSON: one that has a name twice is none of serde_json's.
    pub(super) text: String,
    /// Which bound it just keeps to.
    pub(super) edge: Option<Place>,
    /// Where it is extended: the names that the schema has there.
    pub(super) names: Vec<String>,
}

/// A keyword of a schema of the document, by the schema's address.
pub(super) type Place = (usize, &'static str);

pub(super) fn place(schema: &Value, keyword: &'static str) -> Place {
    (std::ptr::from_ref(schema) as usize, keyword)
}

/// The bounds, each with the step that leads beyond it.
pub(super) const BOUNDS: [(&str, i64); 8] = [
    ("minimum", -1),
    ("maximum", 1),
    ("minLength", -1),
    ("maxLength", 1),
    ("minItems", -1),
    ("maxItems", 1),
    ("minProperties", -1),
    ("maxProperties", 1),
];

/// Makes mutants.
pub(super) struct Mutator<'a> {
    pub(super) judge: &'a Judge,
    /// The properties that were changed.
    pub(super) met: BTreeSet<Place>,
}

impl<'a> Mutator<'a> {
    /// Every mutant of `value`, which the schema allows.
    pub(super) fn mutants(&mut self, schema: &'a Value, value: &Value) -> Vec<Mutant> {
        let schema = self.form(schema, value);
        let others = json!([null, true, false, 7, -1, 1.5, "text", [], {}]);
        let others = others.as_array().unwrap().iter().filter(|other| *other != value);
        let mut mutants: Vec<_> = others.map(|other| mutant(Change::Replaced, other)).collect();
        mutants.extend(self.sized(schema, value));
        match value {
            Value::Object(members) if schema["additionalProperties"] != true => {
                mutants.extend(self.members(schema, members));
            }
            Value::Array(items) => mutants.extend(self.first_item(schema, items)),
            Value::String(text) => {
                mutants.extend(edited(schema, text));
                if let (Some(content), Ok(value)) = (schema.get("contentSchema"), serde_json::from_str(text))
                {
                    let within = self.mutants(content, &value).into_iter();
                    mutants
                        .extend(within.map(|one| Mutant { text: Value::from(one.text).to_string(), ..one }));
                }
            }
            _ => {}
        }
        mutants
    }

    /// The schema that says what members, items or characters the value may have.
    fn form(&self, schema: &'a Value, value: &Value) -> &'a Value {
        match (schema.get("$ref"), schema.get("properties"), schema["anyOf"].as_array()) {
            (Some(reference), ..) => self.form(self.judge.referred(reference), value),
            (None, None, Some(forms)) => {
                let form = forms.iter().find(|form| self.judge.allows(form, value));
                self.form(form.expect("a form of it"), value)
            }
            _ => schema,
        }
    }

    fn members(&mut self, schema: &'a Value, members: &Map<String, Value>) -> Vec<Mutant> {
        let sent: Vec<_> = members.iter().map(|(name, member)| (name.clone(), member.to_string())).collect();
        let mut mutants = Vec::new();
        for (index, (name, member)) in members.iter().enumerate() {
            let at = format!("/{name}");
            let mut add = |mutant: Mutant, members: &[(String, String)]| {
                mutants.push(Mutant { at: format!("{at}{}", mutant.at), text: object(members), ..mutant });
            };
            let mut changed = sent.clone();
            changed.remove(index);
            add(mutant(Change::Removed, &Value::Null), &changed);
            changed = sent.clone();
            changed.push(sent[index].clone());
            add(mutant(Change::Twice, &Value::Null), &changed);
            if schema.get("propertyNames").is_some() {
                let (longest, longer) = ("n".repeat(64), "n".repeat(65));
                let paths = [format!("{longest}/b/c"), format!("{longer}/b/c")];
                let [path, long_path] = paths.each_ref().map(String::as_str);
                for name in [
                    "", ".", "..", "...", "a b", "a/b", "é", &longest, &longer, "a/b/c", path, long_path,
                    "a/b/c/d", "a/.b/c", "a//c", "/b/c",
                ] {
                    changed = sent.clone();
                    changed[index].0 = name.to_owned();
                    add(mutant(Change::Renamed, &Value::Null), &changed);
                }
            }
            let property = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
            self.met.insert(place(property, "properties"));
            for within in self.mutants(property, member) {
                changed = sent.clone();
                changed[index].1.clone_from(&within.text);
                add(within, &changed);
            }
        }
        if schema["additionalProperties"] == false {
            let extended = [vec![(UNKNOWN.to_owned(), "null".to_owned())], sent].concat();
            let names = schema["properties"].as_object().unwrap().keys().cloned().collect();
            let text = object(&extended);
            mutants.push(Mutant { text, names, ..mutant(Change::Extended, &Value::Null) });
        }
        mutants
    }

    fn first_item(&mut self, schema: &'a Value, items: &[Value]) -> Vec<Mutant> {
        let Some((first, others)) = items.split_first() else { return Vec::new() };
        let others: String = others.iter().map(|item| format!(",{item}")).collect();
        let within = self.mutants(&schema["items"], first).into_iter();
        let whole = |one: Mutant| Mutant {
            at: format!("/0{}", one.at),
            text: format!("[{}{others}]", one.text),
            ..one
        };
        within.map(whole).collect()
    }

    /// At every bound and one beyond it.
    fn sized(&self, schema: &Value, value: &Value) -> Vec<Mutant> {
        let mut mutants = Vec::new();
        for (keyword, step) in BOUNDS {
            let Some(bound) = schema[keyword].as_i64() else { continue };
            let edge = Some(place(schema, keyword));
            let kept = self.of_size(schema, value, bound);
            mutants.push(Mutant { edge, ..mutant(Change::Sized, &kept) });
            mutants.push(mutant(Change::Sized, &self.of_size(schema, value, bound + step)));
        }
        if schema["format"] == "uint32" {
            mutants.extend([1_i64 << 32, (1 << 32) - 1].map(|size| mutant(Change::Sized, &size.into())));
        }
        mutants
    }

    /// Something like `value`, of that size.
    fn of_size(&self, schema: &Value, value: &Value, size: i64) -> Value {
        let count = usize::try_from(size).unwrap_or(0);
        match value {
            Value::String(text) => {
                // Empty lines mean nothing in Rego.
                let lines = self.judge.allows(schema, &format!("{text}\n").into());
                let last = text.chars().last().unwrap_or('x');
                // Any number of zero bits ends a text in base64.
                let more = match schema.get("contentEncoding") {
                    Some(_) => 'A',
                    None => {
                        if lines {
                            '\n'
                        } else {
                            last
                        }
                    }
                };
                text.chars().chain(std::iter::repeat(more)).take(count).collect::<String>().into()
            }
            Value::Array(items) => {
                let filler = items.first().cloned().unwrap_or(json!(7));
                let another = |index: usize| match &filler {
                    Value::String(text) if schema["uniqueItems"] == true => {
                        let longer = format!("{text}{index}").into();
                        // Texts of one length differ in their end.
                        let as_long = || format!("{}{index:02}", text.get(2..).unwrap_or_default()).into();
                        if self.judge.allows(&schema["items"], &longer) { longer } else { as_long() }
                    }
                    filler => filler.clone(),
                };
                items.iter().cloned().chain((0..).map(another)).take(count).collect()
            }
            Value::Object(members) => {
                let filler = members.values().next().cloned().unwrap_or(json!("s"));
                let more = (0..).map(|index| (format!("more-{index}"), filler.clone()));
                members.clone().into_iter().chain(more).take(count).collect()
            }
            _ => size.into(),
        }
    }
}

fn mutant(change: Change, value: &Value) -> Mutant {
    Mutant { at: String::new(), change, text: value.to_string(), edge: None, names: Vec::new() }
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(name, text)| format!("{}:{text}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", members.join(","))
}

/// Texts that differ by little.
fn edited(schema: &Value, text: &str) -> Vec<Mutant> {
    let last = text.chars().last();
    let shorter: String = text.chars().take(text.chars().count().saturating_sub(1)).collect();
    let other_case = |c: char| if c.is_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    let mut texts = vec![String::new(), shorter, text.chars().chain(last).collect(), format!("{text}\0")];
    // In base64 that would be another number.
    if schema.get("contentEncoding").is_none() {
        texts.push(text.chars().map(other_case).collect());
    }
    texts.retain(|other| other != text);
    texts.into_iter().map(|other| mutant(Change::Edited, &other.into())).collect()
}
