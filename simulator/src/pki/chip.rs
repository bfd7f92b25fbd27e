//! A chip: its identity and its secrets.

use aws_lc_rs::digest;

use super::keys::{Curve, VekKey};
use crate::product::{Product, Tcb};

/// A secure processor. Everything about it follows from its product and a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    product: Product,
    chip_id: [u8; 64],
    /// The firmware that it runs and reports. A VCEK exists for each version that it has run.
    pub tcb: Tcb,
}

impl Chip {
    /// The chip of `product` with that seed, on the product's usual TCB.
    pub fn new(product: Product, seed: u8) -> Self {
        let hash = digest::digest(&digest::SHA512, format!("chip {product} {seed}").as_bytes());
        let mut chip_id = [0; 64];
        for (to, from) in chip_id.iter_mut().zip(hash.as_ref()).take(product.hwid_len()) {
            *to = *from;
        }
        Self { product, chip_id, tcb: Tcb::of(product) }
    }

    /// The same chip with other firmware.
    pub fn at(&self, tcb: Tcb) -> Self {
        Self { tcb, ..self.clone() }
    }

    /// Its product.
    pub fn product(&self) -> Product {
        self.product
    }

    /// CHIP_ID as in reports: Turin's has 8 bytes, then zeros.
    pub fn chip_id(&self) -> [u8; 64] {
        self.chip_id
    }

    /// The part of CHIP_ID that certificates and the KDS use: 64 bytes, 8 on Turin.
    pub fn hwid(&self) -> &[u8] {
        self.chip_id.get(..self.product.hwid_len()).unwrap_or(&self.chip_id)
    }

    /// The chip's key at `tcb`. Another TCB gives another key, as on hardware: a certificate for the wrong
    /// TCB is sound, but verifies nothing that this chip signs.
    pub fn vcek_key(&self, tcb: Tcb) -> VekKey {
        VekKey::derive(Curve::P384, &[self.chip_id.as_slice(), &tcb.encode(self.product)].concat())
    }
}

/// The key of a cloud provider's chips at `tcb`: the provider's chips share it.
pub(super) fn vlek_key(product: Product, csp_id: &str, tcb: Tcb) -> VekKey {
    VekKey::derive(
        Curve::P384,
        &[csp_id.as_bytes(), product.name().as_bytes(), &tcb.encode(product)].concat(),
    )
}
