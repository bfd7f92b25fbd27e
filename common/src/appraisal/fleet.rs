//! The operator's demands on every guest, whatever its registration says.

use std::fmt;

use sha2::{Digest, Sha256};

use keybroker_snp::product::Product;

use crate::{encoding::Hex, platform::PlatformDemands};

/// The operator's demands. No registration lowers them, and no policy lifts them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The demands on the platform.
    pub platform: PlatformDemands,
    /// Cloud providers whose VLEKs are accepted, as their CSP ids (`CN=…`). By default none is.
    pub accepted_csp_ids: Vec<String>,
    /// The operator says that guests on a platform of any TCB are admitted, so that no floor is missed by
    /// mistake. A floor that is set holds all the same.
    pub any_tcb: bool,
}

impl Fleet {
    /// Whether no TCB has a floor, and the operator does not say that this is meant.
    pub fn lacks_floor(&self) -> bool {
        !self.platform.has_floor() && !self.any_tcb
    }

    /// SHA-256 of the demands as [`Display`](fmt::Display) writes them.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_string()).into()
    }

    /// Has the log say, once at start, what the digest in the records stands for.
    pub fn announce(&self) {
        tracing::info!(demands = %self, sha256 = %Hex(self.digest()), "demanded of every guest");
        if self.lacks_floor() {
            tracing::warn!("{NO_FLOOR}");
        }
        for (version, floors) in self.platform.floors() {
            for product in floors.products_alone() {
                tracing::warn!(
                    "the floor of {product}'s {} TCB holds for reports of version 2 alone: guests with later reports \
                     are refused until a floor names their stepping",
                    version.name()
                );
            }
        }
    }
}

/// The warning about a broker that serves guests on a platform of any TCB, and was not told to.
pub const NO_FLOOR: &str = "no floor of the TCB is set: guests on firmware with known vulnerabilities are admitted. \
    Set --minimum-tcb (KEYBROKER_MINIMUM_TCB), or say --accept-any-tcb (KEYBROKER_ACCEPT_ANY_TCB)";

/// In one line, as the operator set them.
impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, accepted_csp_ids, any_tcb } = self;
        let PlatformDemands {
            products,
            chips,
            minimum_tcb: _,
            minimum_committed_tcb: _,
            minimum_current_tcb: _,
            minimum_launch_tcb: _,
            current_mitigations,
            launch_mitigations,
            conditions,
            minimum_firmware,
        } = platform;
        f.write_str("products")?;
        let every = Product::ALL;
        products.as_deref().unwrap_or(&every).iter().try_for_each(|product| write!(f, " {product}"))?;
        if let Some(chips) = chips {
            f.write_str("; chips")?;
            chips.iter().try_for_each(|chip| write!(f, " {chip}"))?;
        }
        for (version, floors) in platform.floors() {
            if !floors.is_empty() {
                write!(f, "; {} TCB {floors}", version.name())?;
            }
        }
        for (name, bits) in [("mitigations", current_mitigations), ("launch mitigations", launch_mitigations)]
        {
            if !bits.is_empty() {
                write!(f, "; {name} {bits}")?;
            }
        }
        if !conditions.is_empty() {
            f.write_str("; platform")?;
            conditions.iter().try_for_each(|condition| write!(f, " {condition}"))?;
        }
        if let Some(firmware) = minimum_firmware {
            write!(f, "; firmware {firmware}")?;
        }
        if *any_tcb && !platform.has_floor() {
            f.write_str("; any TCB")?;
        }
        f.write_str("; VLEKs of")?;
        if accepted_csp_ids.is_empty() {
            f.write_str(" nobody")?;
        }
        accepted_csp_ids.iter().try_for_each(|id| write!(f, " {id:?}"))
    }
}
