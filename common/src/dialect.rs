//! The dialects in which clients speak.

use serde::{Deserialize, Serialize};

/// Which clients' conventions a registration and its guests follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// buildah's registration and libkrun's guest, which names its workload.
    #[serde(rename = "v0")]
    Libkrun,
    /// keybroker's registration by reference values, and its guest, which names its workload by HOST_DATA.
    #[serde(rename = "rvp")]
    Keybroker,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::Libkrun, Self::Keybroker];
}
