//! Long listings: read page by page, put into order with few rows in hand, and printed as they come. So a
//! listing of millions of rows needs no more memory than one of thousands.

use std::collections::BTreeMap;

use anyhow::anyhow;
use keybroker_common::store::{Cursor, Page, StoreError, Unreadable};
use serde::Serialize;

use crate::{
    csv,
    exit::{Exit, Failure},
    operator::{self, OperatorHandle},
    table::{self, Columns, JsonList},
};

/// A listing that is read page by page.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    next: Option<Cursor>,
    over: bool,
    /// The rows until here that cannot be read.
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Reading {
    /// The rows of the next page; `None` after the last.
    pub(crate) async fn rows<T>(
        &mut self,
        operator: &OperatorHandle,
        page: impl AsyncFn(Option<&Cursor>) -> Result<Page<T>, StoreError>,
    ) -> Result<Option<Vec<T>>, Failure> {
        if self.over {
            return Ok(None);
        }
        let page = page(self.next.as_ref()).await.map_err(|error| operator.failure(error))?;
        self.unreadable.extend(page.unreadable);
        self.over = page.next.is_none();
        self.next = page.next;
        Ok(Some(page.rows))
    }
}

/// Reads a listing page by page, hands the rows of each to `take`, and returns the rows that cannot be read.
pub(crate) async fn pages<T>(
    operator: &OperatorHandle,
    page: impl AsyncFn(Option<&Cursor>) -> Result<Page<T>, StoreError>,
    mut take: impl FnMut(Vec<T>) -> Result<(), Failure>,
) -> Result<Vec<Unreadable>, Failure> {
    let mut reading = Reading::default();
    while let Some(rows) = reading.rows(operator, &page).await? {
        take(rows)?;
    }
    Ok(reading.unreadable)
}

/// Every row of a listing, and the rows that cannot be read: for listings that are short, or that no part can
/// be told of before all is read.
pub(crate) async fn all<T>(
    operator: &OperatorHandle,
    page: impl AsyncFn(Option<&Cursor>) -> Result<Page<T>, StoreError>,
) -> Result<(Vec<T>, Vec<Unreadable>), Failure> {
    let mut rows = Vec::new();
    let unreadable = pages(operator, page, |page| {
        rows.extend(page);
        Ok(())
    });
    let unreadable = unreadable.await?;
    Ok((rows, unreadable))
}

/// Puts rows into the order of their keys as they come. A row that comes too early by no more than the
/// window's rows is given in its place; one that comes too late by more is given late.
#[derive(Debug)]
pub(crate) struct Window<K, T> {
    /// In boxes: a tree leaves near half of its nodes empty when keys come in their order.
    rows: BTreeMap<K, Box<T>>,
    size: usize,
}

impl<K: Ord, T> Window<K, T> {
    /// Rows that a listing of any length may hold.
    pub(crate) const ROWS: usize = 8192;

    /// A window of this many rows.
    pub(crate) fn new(size: usize) -> Self {
        Self { rows: BTreeMap::new(), size }
    }

    /// Takes a row in, and gives the first of those that are there once they are too many.
    pub(crate) fn push(&mut self, key: K, row: T) -> Option<T> {
        self.rows.insert(key, Box::new(row));
        if self.rows.len() > self.size { self.rows.pop_first().map(|(_, row)| *row) } else { None }
    }

    /// The key of the first row, if every further row drives one out.
    pub(crate) fn full_from(&self) -> Option<&K> {
        self.rows.first_key_value().filter(|_| self.rows.len() >= self.size).map(|(key, _)| key)
    }

    /// The rows that are left.
    pub(crate) fn rest(self) -> impl DoubleEndedIterator<Item = T> {
        self.rows.into_values().map(|row| *row)
    }
}

/// The columns of a listing: their names, and their cells for a row.
#[derive(Debug)]
pub(crate) struct Form<T> {
    /// The columns' names.
    pub(crate) header: &'static [&'static str],
    /// The cells of a row.
    pub(crate) cells: fn(&T) -> Vec<String>,
}

/// The form of a listing, as arguments.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FormArgs {
    /// Print one JSON document in place of the text
    #[arg(long)]
    pub(crate) json: bool,
    /// Print each row as a JSON document on a line of its own
    #[arg(long, conflicts_with = "json")]
    pub(crate) json_lines: bool,
    /// Print comma-separated values (RFC 4180), the columns' names first
    ///
    /// A cell that a spreadsheet would take for a formula gets an apostrophe in front. Control characters are
    /// spelt out.
    #[arg(long, conflicts_with_all = ["json", "json_lines"])]
    pub(crate) csv: bool,
}

impl FormArgs {
    /// Whether a person reads it.
    pub(crate) fn is_table(self) -> bool {
        !self.json && !self.json_lines && !self.csv
    }

    /// Refuses the forms of a listing, for a command with something else to print.
    pub(crate) fn check_is_no_listing(self) -> Result<(), Failure> {
        if self.json_lines || self.csv {
            Err(Failure::new(Exit::Usage, anyhow!("--json-lines and --csv are for lists of decisions")))
        } else {
            Ok(())
        }
    }

    /// The listing in this form: the table, the values, or the list under this name.
    pub(crate) fn output<T: Serialize>(
        self,
        table: Form<T>,
        values: Form<T>,
        list: &str,
    ) -> anyhow::Result<Output<T>> {
        let to = match self {
            Self { json: true, .. } => To::Json(JsonList::begin(list)?),
            Self { json_lines: true, .. } => To::Lines,
            Self { csv: true, .. } => {
                table::text(&csv::row(values.header.iter().copied()))?;
                To::Values(values.cells)
            }
            _ => To::Table(Columns::new(table.header), table.cells),
        };
        Ok(Output { to, printed: 0 })
    }
}

/// A listing on stdout: a table for people, values, JSON lines, or one JSON document with the list under a
/// name.
#[derive(Debug)]
pub(crate) struct Output<T> {
    to: To<T>,
    printed: usize,
}

#[derive(Debug)]
enum To<T> {
    Table(Columns, fn(&T) -> Vec<String>),
    Values(fn(&T) -> Vec<String>),
    Lines,
    Json(JsonList),
}

impl<T: Serialize> Output<T> {
    /// A table of this form.
    pub(crate) fn table(form: Form<T>) -> Self {
        Self { to: To::Table(Columns::new(form.header), form.cells), printed: 0 }
    }

    /// A JSON document whose list has this name.
    pub(crate) fn json(list: &str) -> anyhow::Result<Self> {
        Ok(Self { to: To::Json(JsonList::begin(list)?), printed: 0 })
    }

    /// Prints these rows.
    pub(crate) fn print(&mut self, rows: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        let printed = &mut self.printed;
        let mut rows = rows.into_iter().inspect(|_| *printed += 1);
        match &mut self.to {
            To::Table(columns, cells) => columns.print(rows.map(|row| cells(&row))),
            To::Values(cells) => {
                rows.try_for_each(|row| table::text(&csv::row(cells(&row).iter().map(String::as_str))))
            }
            To::Lines => rows.try_for_each(|row| table::json_lines(&[row])),
            To::Json(list) => rows.try_for_each(|row| list.item(&row)),
        }
    }

    /// The number of rows until here.
    pub(crate) fn printed(&self) -> usize {
        self.printed
    }

    /// Ends the listing, tells of the rows of `what` that cannot be read, and returns the exit code that
    /// follows. If there are no rows, a person reads `none`.
    pub(crate) fn end(self, none: &str, what: &str, unreadable: &[Unreadable]) -> anyhow::Result<Exit> {
        match self.to {
            To::Json(list) => list.end("unreadable", unreadable)?,
            To::Table(..) if self.printed == 0 => say!("{none}"),
            To::Table(..) | To::Values(_) | To::Lines => {}
        }
        Ok(operator::tell_unreadable(what, unreadable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_sorts_what_is_not_farther_from_its_place() {
        let mut window = Window::new(2);
        let mut given: Vec<_> = [2, 1, 4, 3, 6, 5].iter().filter_map(|row| window.push(*row, *row)).collect();
        given.extend(window.rest());
        assert_eq!(given, [1, 2, 3, 4, 5, 6]);
        let mut narrow = Window::new(1);
        let mut given: Vec<_> = [3, 2, 1].iter().filter_map(|row| narrow.push(*row, *row)).collect();
        given.extend(narrow.rest());
        assert_eq!(given, [2, 1, 3]);
    }

    #[test]
    fn a_full_window_keeps_the_greatest() {
        let mut window = Window::new(2);
        assert_eq!(window.full_from(), None);
        for row in [5, 1, 4] {
            window.push(row, row);
        }
        assert_eq!(window.full_from(), Some(&4));
        assert_eq!(window.rest().rev().collect::<Vec<_>>(), [5, 4]);
    }
}
