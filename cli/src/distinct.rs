//! Launch measurements without doubles, and no more of them than a registration can have.

use std::collections::HashSet;

use keybroker_common::{http::REFERENCE_VALUES_LIMIT, requirements::Measurement};

/// Launch measurements, each once, in their order.
#[derive(Debug, Default)]
pub(crate) struct Distinct {
    list: Vec<Measurement>,
    known: HashSet<Measurement>,
}

/// Too many launch measurements.
#[derive(Debug, thiserror::Error)]
#[error(
    "with it there are more than {} launch measurements, the most that a registration can have",
    Distinct::MOST
)]
pub(crate) struct TooMany;

impl Distinct {
    /// The most that there may be: the body of a registration has no room for more.
    pub(crate) const MOST: usize = REFERENCE_VALUES_LIMIT / (2 * 48 + "\"\",".len());

    /// Adds those that are new: all, or none if they are too many.
    pub(crate) fn add(&mut self, more: &[Measurement]) -> Result<(), TooMany> {
        let new: Vec<_> = more.iter().copied().filter(|one| self.known.insert(*one)).collect();
        if self.list.len() + new.len() > Self::MOST {
            for one in &new {
                self.known.remove(one);
            }
            return Err(TooMany);
        }
        self.list.extend(new);
        Ok(())
    }

    /// All of them.
    pub(crate) fn list(&self) -> &[Measurement] {
        &self.list
    }

    /// The same.
    pub(crate) fn into_list(self) -> Vec<Measurement> {
        self.list
    }
}
