//! The description of one route.

use serde_json::{Map, Value, json};

use super::answers::{self, Told};

/// One method of one path.
pub(crate) struct Operation {
    /// Its name, as generated clients call it.
    pub(crate) id: &'static str,
    /// A few words.
    pub(crate) summary: &'static str,
    /// All that there is to know about it.
    pub(crate) description: String,
    /// Parameters of the path and of the header.
    pub(crate) parameters: Vec<Value>,
    /// The body, where it takes one.
    pub(crate) request: Option<Request>,
    /// The answer 200.
    pub(crate) success: Value,
    /// Everything that can go wrong, as an example of each: status, body and header fields are those of the
    /// map of problems.
    pub(crate) problems: Vec<Told>,
    /// How a client may authenticate itself; empty where nobody does.
    pub(crate) security: Vec<Value>,
    /// The schemas that it brings among the components, by name.
    pub(crate) schemas: Map<String, Value>,
}

/// The body of a request.
pub(crate) struct Request {
    /// Its schema.
    pub(crate) schema: Value,
    /// Its longest, in bytes.
    pub(crate) limit: usize,
    /// Bodies by name.
    pub(crate) examples: Vec<(&'static str, Value)>,
}

impl Operation {
    /// As OpenAPI has it.
    pub(crate) fn to_json(&self) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "description": self.description,
        });
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.clone().into();
        }
        if !self.security.is_empty() {
            operation["security"] = self.security.clone().into();
        }
        if let Some(request) = &self.request {
            operation["requestBody"] = request.to_json();
        }
        operation["responses"] = json!({ "200": self.success });
        for (status, answer) in answers::refusals(&self.problems) {
            operation["responses"][status] = answer;
        }
        operation
    }
}

impl Request {
    fn to_json(&self) -> Value {
        let example = |(name, value): &(&str, Value)| ((*name).to_owned(), json!({ "value": value }));
        json!({
            "description": format!("JSON of at most {} KiB.", self.limit / 1024),
            "required": true,
            "content": {
                "application/json": {
                    "schema": self.schema,
                    "examples": self.examples.iter().map(example).collect::<Map<_, _>>(),
                },
            },
        })
    }
}
