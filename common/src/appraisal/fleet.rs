//! What the operator demands of every guest, whatever its registration says.

use std::fmt;

use sha2::{Digest, Sha256};

use super::TcbFloors;
use crate::encoding::Hex;
use keybroker_snp::product::{Product, TcbVersion};

/// The operator's demands. No registration lowers them, and no policy lifts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Products whose reports are accepted.
    pub products: Vec<Product>,
    /// What the reported TCB must at least be in every component. A product that is not named here has no
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

/// Why a text sets no floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
#[non_exhaustive]
pub enum FloorError {
    /// Not of the form `PRODUCT:NAME=LEVEL,…`.
    Form,
    /// No product of this name.
    Product,
    /// A component is missing, comes twice, or is none of the product's.
    Components,
    /// Two floors for one product.
    Duplicate,
}

impl FloorError {
    /// What is wrong, as the continuation of a sentence about the setting.
    pub fn text(self) -> &'static str {
        match self {
            Self::Form => "is not of the form milan:bl=4,tee=0,snp=22,ucode=213 (turin: and fmc=1)",
            Self::Product => "names no product: milan, genoa or turin",
            Self::Components => {
                "must name bl, tee, snp and ucode once each, for turin fmc too, from 0 to 255"
            }
            Self::Duplicate => "sets two floors for one product",
        }
    }
}

impl TcbFloors {
    /// Adds a floor that is written as `milan:bl=4,tee=0,snp=22,ucode=213`, for Turin with `fmc=…` too.
    pub fn add(&mut self, text: &str) -> Result<(), FloorError> {
        let (product, levels) = text.split_once(':').ok_or(FloorError::Form)?;
        let product = Product::parse(product.trim()).ok_or(FloorError::Product)?;
        let place = self.of_mut(product);
        if place.is_some() {
            return Err(FloorError::Duplicate);
        }
        *place = Some(parse_tcb(product, levels)?);
        Ok(())
    }
}

/// Reads a TCB version of `product` that is written as `bl=4,tee=0,snp=22,ucode=213`, for Turin with `fmc=…`
/// too: every component once, in any order.
pub fn parse_tcb(product: Product, levels: &str) -> Result<TcbVersion, FloorError> {
    let [mut fmc, mut boot_loader, mut tee, mut snp, mut microcode] = [None; 5];
    for level in levels.split(',') {
        let (name, level) = level.split_once('=').ok_or(FloorError::Form)?;
        let component = match name.trim() {
            "fmc" if product == Product::Turin => &mut fmc,
            "bl" => &mut boot_loader,
            "tee" => &mut tee,
            "snp" => &mut snp,
            "ucode" => &mut microcode,
            _ => return Err(FloorError::Components),
        };
        let level = level.trim().parse().map_err(|_| FloorError::Components)?;
        if component.replace(level).is_some() {
            return Err(FloorError::Components);
        }
    }
    match (boot_loader, tee, snp, microcode) {
        (Some(boot_loader), Some(tee), Some(snp), Some(microcode))
            if fmc.is_some() == (product == Product::Turin) =>
        {
            Ok(TcbVersion { fmc, boot_loader, tee, snp, microcode })
        }
        _ => Err(FloorError::Components),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors(texts: &[&str]) -> Result<TcbFloors, FloorError> {
        let mut floors = TcbFloors::default();
        texts.iter().try_for_each(|text| floors.add(text))?;
        Ok(floors)
    }

    #[test]
    fn a_floor_names_its_product_and_every_component() {
        let milan = TcbVersion { fmc: None, boot_loader: 4, tee: 0, snp: 22, microcode: 213 };
        let turin = TcbVersion { fmc: Some(1), boot_loader: 2, tee: 3, snp: 4, microcode: 255 };
        let read = floors(&["milan:bl=4,tee=0,snp=22,ucode=213", "Turin: ucode=255, fmc=1,bl=2,tee=3,snp=4"]);
        assert_eq!(read, Ok(TcbFloors { milan: Some(milan), genoa: None, turin: Some(turin) }));
    }

    #[test]
    fn anything_else_is_no_floor() {
        for (text, error) in [
            ("", FloorError::Form),
            ("bl=4,tee=0,snp=22,ucode=213", FloorError::Form),
            ("milan:", FloorError::Form),
            ("rome:bl=4,tee=0,snp=22,ucode=213", FloorError::Product),
            ("milan:bl=4,tee=0,snp=22", FloorError::Components),
            ("milan:bl=4,tee=0,snp=22,ucode=256", FloorError::Components),
            ("milan:bl=4,tee=0,snp=22,ucode=213,bl=4", FloorError::Components),
            ("milan:fmc=1,bl=4,tee=0,snp=22,ucode=213", FloorError::Components),
            ("turin:bl=4,tee=0,snp=22,ucode=213", FloorError::Components),
            ("milan:bl=4,tee=0,snp=22,ucode=213,spl=1", FloorError::Components),
        ] {
            assert_eq!(floors(&[text]), Err(error), "{text}");
        }
        let twice = ["genoa:bl=1,tee=1,snp=1,ucode=1", "genoa:bl=2,tee=1,snp=1,ucode=1"];
        assert_eq!(floors(&twice), Err(FloorError::Duplicate));
    }
}
