//! Floors of TCB versions.

use keybroker_snp::product::{Product, TcbVersion};
use serde::{Deserialize, Serialize};

use crate::encoding::amd;

/// Floors of a TCB version, by product: levels of different products cannot be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcbFloors {
    /// Milan's.
    #[serde(with = "amd::optional_tcb", skip_serializing_if = "Option::is_none")]
    pub milan: Option<TcbVersion>,
    /// Genoa's, Bergamo's and Siena's.
    #[serde(with = "amd::optional_tcb", skip_serializing_if = "Option::is_none")]
    pub genoa: Option<TcbVersion>,
    /// Turin's.
    #[serde(with = "amd::optional_tcb", skip_serializing_if = "Option::is_none")]
    pub turin: Option<TcbVersion>,
}

impl TcbFloors {
    /// The floor of `product`.
    pub fn of(&self, product: Product) -> Option<TcbVersion> {
        match product {
            Product::Milan => self.milan,
            Product::Genoa => self.genoa,
            Product::Turin => self.turin,
        }
    }

    /// The place of `product`'s floor.
    pub fn of_mut(&mut self, product: Product) -> &mut Option<TcbVersion> {
        match product {
            Product::Milan => &mut self.milan,
            Product::Genoa => &mut self.genoa,
            Product::Turin => &mut self.turin,
        }
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
    /// The fault, as the continuation of a sentence about the setting.
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
