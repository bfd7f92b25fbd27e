//! AMD's security bulletins as a dated table, and the verdict on a report by it.
//!
//! The verdict is for people: it refuses nothing, and releases nothing. Levels refuse a guest only where an
//! operator confirmed their rows, and asked for them as a floor ([`Advisories::floors`]).
//!
//! This release ships a table. An operator can put a file in its place, pinned by its digest. The program
//! never changes a number, and knows none beside the table's.

mod choice;
mod error;
mod floors;
mod month;
mod row;
mod verdict;

use std::sync::{Arc, LazyLock};

use jiff::civil::Date;
use keybroker_snp::silicon::Cpuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::encoding::Hex;

pub use self::{
    choice::{Choice, ChoiceError, PinnedFile},
    error::{AdvisoriesError, RowFault},
    floors::{Floors, FloorsError},
    month::Month,
    row::{Miss, Row},
    verdict::{TcbVerdict, Verdict},
};

/// The table that this release ships.
pub const SHIPPED: &str = include_str!("table.json");

/// The version of the file's form.
const FORMAT: u32 = 1;

/// The longest file that is read, in bytes.
pub const MAX_LEN: usize = 1 << 20;

/// The most rows of one silicon: a record names the bulletins of each.
pub const MAX_ROWS_OF_SILICON: usize = 64;

/// A dated table of AMD's bulletins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisories {
    table: Table,
    sha256: [u8; 32],
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Version of this form.
    format: u32,
    /// The day as of which it is complete, as far as its author knew.
    date: Date,
    /// One row for each bulletin and silicon.
    rows: Vec<Row>,
}

/// The member by which a file of another form is told.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Advisories {
    /// The table that this release ships, read once.
    pub fn shipped() -> Arc<Self> {
        // A test reads it. Without it nothing would be known of any silicon.
        static TABLE: LazyLock<Arc<Advisories>> = LazyLock::new(|| {
            let nothing = || Advisories { table: Table::default(), sha256: [0; 32] };
            Arc::new(Advisories::parse(SHIPPED.as_bytes()).unwrap_or_else(|_| nothing()))
        });
        Arc::clone(&TABLE)
    }

    /// Reads the file of an operator who says that it has this SHA-256. No byte is read before the digest
    /// holds.
    pub fn pinned(file: &[u8], sha256: Hex<32>) -> Result<Self, AdvisoriesError> {
        if file.len() > MAX_LEN {
            return Err(AdvisoriesError::Length);
        }
        let found = Hex(Sha256::digest(file).into());
        if found != sha256 {
            return Err(AdvisoriesError::Digest { found, pinned: sha256 });
        }
        Self::parse(file)
    }

    /// Reads a table.
    pub fn parse(file: &[u8]) -> Result<Self, AdvisoriesError> {
        if file.len() > MAX_LEN {
            return Err(AdvisoriesError::Length);
        }
        let form = |error: serde_json::Error| AdvisoriesError::Form(error.to_string());
        let Format { format } = serde_json::from_slice(file).map_err(form)?;
        if format != FORMAT {
            return Err(AdvisoriesError::Format { format });
        }
        let table: Table = serde_json::from_slice(file).map_err(form)?;
        for (index, row) in table.rows.iter().enumerate() {
            let before = table.rows.get(..index).unwrap_or_default();
            row.check(table.date, before).map_err(|fault| AdvisoriesError::Row {
                number: index + 1,
                bulletin: row.bulletin.clone(),
                silicon: row.silicon,
                fault,
            })?;
        }
        Ok(Self { table, sha256: Sha256::digest(file).into() })
    }

    /// The day as of which the table is complete, as far as its author knew.
    pub fn date(&self) -> Date {
        self.table.date
    }

    /// The file's SHA-256, by which it is pinned.
    pub fn sha256(&self) -> Hex<32> {
        Hex(self.sha256)
    }

    /// All rows, in the file's order.
    pub fn rows(&self) -> &[Row] {
        &self.table.rows
    }

    /// Has the log say, once at start, which table the verdicts in the records are by.
    pub fn announce(&self) {
        let unconfirmed = self.rows().iter().filter(|row| row.is_unconfirmed()).count();
        let (date, rows, sha256) = (self.date(), self.rows().len(), self.sha256());
        let told = "platforms are judged by a table of AMD's bulletins";
        tracing::info!(%date, rows, unconfirmed, %sha256, "{told}");
    }

    /// The rows of this silicon.
    pub fn rows_of(&self, silicon: Cpuid) -> impl Iterator<Item = &Row> {
        self.rows().iter().filter(move |row| row.silicon == silicon)
    }
}
