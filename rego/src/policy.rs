//! A policy that was compiled.

use std::fmt;

use regorus::Engine;

use crate::{chip::Chips, query::Query};

/// A policy that was checked and is ready to be evaluated, any number of times.
#[derive(Clone)]
pub struct Policy {
    pub(crate) engine: Engine,
    pub(crate) queries: Vec<Query>,
    pub(crate) chips: Chips,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("queries", &self.queries).finish_non_exhaustive()
    }
}
