//! The dialects in which clients speak.

use serde::{Deserialize, Serialize};

/// Which clients' conventions a registration and its guests follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Dialect {
    /// buildah's registration and libkrun's guest, which names its workload.
    #[serde(rename = "v0")]
    Libkrun = 1,
    /// keybroker's registration by reference values, and its guest, which names its workload by HOST_DATA.
    #[serde(rename = "rvp")]
    Keybroker = 2,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::Libkrun, Self::Keybroker];

    /// Its number, as it stands in what is hashed.
    pub fn number(self) -> u8 {
        self as u8
    }
}
