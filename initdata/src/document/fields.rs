//! A table of TOML of which every key has to be asked for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use toml::de::{DeTable, DeValue};

use super::error::{DocumentError, Part};

/// The keys that were not asked for yet.
pub(super) struct Fields<'a> {
    part: Part,
    values: BTreeMap<String, DeValue<'a>>,
}

/// The toml crate's message about a key that stands twice. A test holds toml to it.
const DUPLICATE: &str = "duplicate key";

impl<'a> Fields<'a> {
    /// Reads a text.
    pub(super) fn read(text: &'a str, part: Part) -> Result<Self, DocumentError> {
        let table = DeTable::parse(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            match error.message() {
                DUPLICATE => DocumentError::DuplicateKey { part, line },
                _ => DocumentError::Toml { part, line },
            }
        })?;
        Ok(Self::of(table.into_inner(), part))
    }

    fn of(table: DeTable<'a>, part: Part) -> Self {
        let values =
            table.into_iter().map(|(key, value)| (key.into_inner().into_owned(), value.into_inner()));
        Self { part, values: values.collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Result<String, DocumentError> {
        self.optional_text(key)?.ok_or(DocumentError::Missing { part: self.part, key })
    }

    /// A text that may be absent.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Result<Option<String>, DocumentError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text.into_owned())),
            Some(_) => Err(self.wrong(key)),
        }
    }

    /// A list of texts; nothing if it is absent.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<String>, DocumentError> {
        let items = match self.values.remove(key) {
            None => return Ok(Vec::new()),
            Some(DeValue::Array(items)) => items,
            Some(_) => return Err(self.wrong(key)),
        };
        let text = |item: toml::Spanned<DeValue<'a>>| match item.into_inner() {
            DeValue::String(text) => Ok(text.into_owned()),
            _ => Err(self.wrong(key)),
        };
        items.into_iter().map(text).collect()
    }

    /// A whole number that is not negative.
    pub(super) fn number(&mut self, key: &'static str) -> Result<u64, DocumentError> {
        let number = match self.take(key)? {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(key))
    }

    /// A whole number of 32 bits.
    pub(super) fn small_number(&mut self, key: &'static str) -> Result<u32, DocumentError> {
        let number = self.number(key)?;
        u32::try_from(number).map_err(|_| self.wrong(key))
    }

    /// An instant.
    pub(super) fn instant(&mut self, key: &'static str) -> Result<Timestamp, DocumentError> {
        match self.take(key)? {
            // RFC 3339, with an offset or without: without one it is no instant.
            DeValue::Datetime(instant) => instant.to_string().parse().map_err(|_| DocumentError::NotAfter),
            _ => Err(self.wrong(key)),
        }
    }

    /// A table.
    pub(super) fn table(&mut self, key: &'static str, part: Part) -> Result<Self, DocumentError> {
        match self.take(key)? {
            DeValue::Table(table) => Ok(Self::of(table, part)),
            _ => Err(self.wrong(key)),
        }
    }

    /// A list of tables; nothing if it is absent.
    pub(super) fn tables(&mut self, key: &'static str, part: Part) -> Result<Vec<Self>, DocumentError> {
        let items = match self.values.remove(key) {
            None => return Ok(Vec::new()),
            Some(DeValue::Array(items)) => items,
            Some(_) => return Err(self.wrong(key)),
        };
        let table = |item: toml::Spanned<DeValue<'a>>| match item.into_inner() {
            DeValue::Table(table) => Ok(Self::of(table, part)),
            _ => Err(self.wrong(key)),
        };
        items.into_iter().map(table).collect()
    }

    /// That nothing is left.
    pub(super) fn finish(self) -> Result<(), DocumentError> {
        match self.values.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(DocumentError::UnknownKey { part: self.part, key }),
        }
    }

    /// That all that is left are texts.
    pub(super) fn only_texts(self) -> Result<(), DocumentError> {
        let other = self.values.into_iter().find(|(_, value)| !value.is_str());
        match other {
            None => Ok(()),
            Some((key, _)) => Err(DocumentError::WrongType { part: self.part, key }),
        }
    }

    fn take(&mut self, key: &'static str) -> Result<DeValue<'a>, DocumentError> {
        self.values.remove(key).ok_or(DocumentError::Missing { part: self.part, key })
    }

    fn wrong(&self, key: &str) -> DocumentError {
        DocumentError::WrongType { part: self.part, key: key.to_owned() }
    }
}
