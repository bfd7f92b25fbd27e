//! The table of AMD's bulletins, as arguments.

use std::{path::PathBuf, sync::Arc};

use keybroker_common::{
    advisories::{Advisories, Choice, ChoiceError, Month, PinnedFile},
    encoding::Hex,
};

use crate::{
    exit::{Exit, Failure},
    hex,
};

/// The table of AMD's bulletins.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "AMD's bulletins")]
pub(crate) struct AdvisoriesArgs {
    /// A file with a table of AMD's bulletins, in the place of the one that this release has. It only says
    /// how platforms stand, unless a floor is written as `advisories=2026-05`.
    #[arg(long, env = "KEYBROKER_ADVISORIES", requires = "advisories_sha256", value_name = "FILE")]
    advisories: Option<PathBuf>,
    /// The SHA-256 of that file, 64 hex digits. Another file is refused.
    #[arg(
        long,
        env = "KEYBROKER_ADVISORIES_SHA256",
        requires = "advisories",
        value_parser = hex::parse::<32>,
        value_name = "HEX"
    )]
    advisories_sha256: Option<Hex<32>>,
}

impl AdvisoriesArgs {
    /// The table, and the month up to which it sets floors.
    pub(crate) fn choice(&self, floor: Option<Month>) -> Choice {
        let file = self.advisories.clone().zip(self.advisories_sha256);
        Choice { file: file.map(|(path, sha256)| PinnedFile { path, sha256 }), floor }
    }

    /// Reads the table.
    pub(crate) fn read(&self) -> Result<Arc<Advisories>, Failure> {
        self.choice(None).read().map_err(refused)
    }
}

/// The failure for a table that cannot be used, or that sets no floor.
pub(crate) fn refused(error: ChoiceError) -> Failure {
    let hint = match error {
        ChoiceError::NoFloors { .. } | ChoiceError::Demands { .. } => {
            "docs/advisories.md says how a row is confirmed"
        }
        _ => "docs/advisories.md describes the file. `sha256sum FILE` prints its digest",
    };
    Failure::new(Exit::Configuration, error).hint(hint)
}
