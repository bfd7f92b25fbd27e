//! The things that the command found, and their fate.

use serde::Serialize;

use crate::{
    exit::Failure,
    table::{self, NONE},
};

/// The kinds of things that a Trustee KBS keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Resource,
    ReferenceValue,
    Policy,
    Other,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::ReferenceValue => "reference value",
            Self::Policy => "policy",
            Self::Other => "other",
        }
    }
}

/// One thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// Its name, or its path below the directory.
    pub(super) name: String,
    /// The part of the registration that it becomes; `None` if it has no place there.
    pub(super) becomes: Option<String>,
    /// More about it, or why it is left out.
    pub(super) note: String,
}

impl Item {
    /// Something that has a place in the registration.
    pub(super) fn becomes(kind: Kind, name: &str, what: &str, note: impl Into<String>) -> Self {
        Self { kind, name: name.to_owned(), becomes: Some(what.to_owned()), note: note.into() }
    }

    /// Something that is left out.
    pub(super) fn left(kind: Kind, name: &str, why: impl Into<String>) -> Self {
        Self { kind, name: name.to_owned(), becomes: None, note: why.into() }
    }
}

/// Prints a line for each item.
pub(super) fn print(items: &[Item]) -> Result<(), Failure> {
    let cells = |item: &Item| {
        let becomes = item.becomes.clone().unwrap_or_else(|| NONE.to_owned());
        vec![item.kind.words().to_owned(), item.name.clone(), becomes, item.note.clone()]
    };
    Ok(table::print(&["what", "name", "becomes", "note"], items.iter().map(cells))?)
}
