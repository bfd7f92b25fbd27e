//! The operator's demands on every guest, whatever its registration says.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{encoding::Hex, requirements::TcbFloors};
use keybroker_snp::product::Product;

/// The operator's demands. No registration lowers them, and no policy lifts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Products whose reports are accepted.
    pub products: Vec<Product>,
    /// The reported TCB must be at least this in every component. A product that is not named here has no
    /// floor.
    pub minimum_tcb: TcbFloors,
    /// Cloud providers whose VLEKs are accepted, as their CSP ids (`CN=…`).
    pub accepted_csp_ids: Vec<String>,
}

impl Default for Fleet {
    /// Every product, without a floor; no provider's VLEKs.
    fn default() -> Self {
        Self {
            products: Product::ALL.to_vec(),
            minimum_tcb: TcbFloors::default(),
            accepted_csp_ids: Vec::new(),
        }
    }
}

impl Fleet {
    /// SHA-256 of the demands as [`Display`](fmt::Display) writes them.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_string()).into()
    }

    /// Has the log say, once at start, what the digest in the records stands for.
    pub fn announce(&self) {
        tracing::info!(demands = %self, sha256 = %Hex(self.digest()), "demanded of every guest");
    }
}

/// In one line, as the operator set them.
impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { products, minimum_tcb, accepted_csp_ids } = self;
        f.write_str("products")?;
        for product in products {
            write!(f, " {product}")?;
            if let Some(floor) = minimum_tcb.of(*product) {
                write!(f, " from {floor}")?;
            }
        }
        f.write_str("; VLEKs of")?;
        if accepted_csp_ids.is_empty() {
            f.write_str(" nobody")?;
        }
        accepted_csp_ids.iter().try_for_each(|id| write!(f, " {id:?}"))
    }
}
