//! An operator's choice: which table, and whether it sets floors.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    sync::Arc,
};

use super::{Advisories, AdvisoriesError, FloorsError, MAX_LEN, Month};
use crate::{
    encoding::Hex,
    platform::{DemandError, PlatformDemands},
};

/// A file in the place of the table that this release ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256. Another file is refused.
    pub sha256: Hex<32>,
}

/// An operator's choice of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The file. `None`: the table that this release ships.
    pub file: Option<PinnedFile>,
    /// The month up to which the table's confirmed rows are floors. `None`: it sets none.
    pub floor: Option<Month>,
}

/// Why there is no table, or no floor out of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// The file cannot be read.
    #[error("the table of advisories {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It is not used.
    #[error("the table of advisories {} is not used: {cause}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: AdvisoriesError,
    },
    /// The table sets no floor.
    #[error("the floor advisories={month} is not set: {cause}")]
    NoFloors {
        /// The month.
        month: Month,
        /// Why not.
        cause: FloorsError,
    },
    /// The floors cannot stand beside the other demands.
    #[error("the floor advisories={month} cannot stand beside the other demands: a row {}", cause.text())]
    Demands {
        /// The month.
        month: Month,
        /// Why not.
        cause: DemandError,
    },
}

impl Choice {
    /// Reads the table.
    pub fn read(&self) -> Result<Arc<Advisories>, ChoiceError> {
        let Some(PinnedFile { path, sha256 }) = &self.file else { return Ok(Advisories::shipped()) };
        let mut file = Vec::new();
        // One byte more than a table may have: so that a longer file is refused for its length.
        let most = u64::try_from(MAX_LEN).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(path).and_then(|opened| opened.take(most).read_to_end(&mut file));
        read.map_err(|cause| ChoiceError::Unreadable { path: path.clone(), cause })?;
        let table = Advisories::pinned(&file, *sha256);
        table.map(Arc::new).map_err(|cause| ChoiceError::Refused { path: path.clone(), cause })
    }

    /// Reads the table, and adds the floors that it sets to an operator's demands.
    pub fn resolve(&self, demands: &mut PlatformDemands) -> Result<Arc<Advisories>, ChoiceError> {
        let table = self.read()?;
        if let Some(month) = self.floor {
            let floors = table.floors(month).map_err(|cause| ChoiceError::NoFloors { month, cause })?;
            if floors.left_out > 0 {
                tracing::warn!(
                    rows = floors.left_out,
                    "the floor advisories={month} leaves out rows that no operator has confirmed"
                );
            }
            floors.raise(demands).map_err(|cause| ChoiceError::Demands { month, cause })?;
        }
        Ok(table)
    }
}
