//! The name of one VCEK, at AMD's KDS and in the store.

use std::fmt::{self, Write as _};

use data_encoding::HEXLOWER;
use keybroker_common::broker::Presented;
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
    report::Report,
    vek::{Identity, Vek},
};

/// The name of one VCEK: a chip and the TCB that it reports. Its certificate never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VcekId {
    product: Product,
    hwid: Vec<u8>,
    tcb: TcbVersion,
}

impl VcekId {
    /// The VCEK that should have signed `report`, if its chip is one of `product`. `None` if it cannot be:
    /// the chip id is masked, of another product's length, or the reported TCB is not in the product's
    /// layout.
    pub fn of(report: &Report, product: Product) -> Option<Self> {
        let (hwid, rest) = report.chip_id().split_at_checked(product.hwid_len())?;
        let masked = hwid.iter().all(|byte| *byte == 0);
        // No chip with an id of 64 bytes has zeros behind the eighth.
        let short = report.chip_id().iter().skip(8).all(|byte| *byte == 0);
        if masked || rest.iter().any(|byte| *byte != 0) || short != (product.hwid_len() == 8) {
            return None;
        }
        Some(Self { product, hwid: hwid.to_vec(), tcb: report.reported_tcb(product)? })
    }

    /// The VCEKs that may have signed the report that a guest presents, the likeliest first.
    pub(crate) fn candidates(presented: &Presented<'_>) -> Vec<Self> {
        let Presented { report, claimed_product, .. } = *presented;
        if report.signing_key() != Some(EndorsementKind::Vcek) {
            return Vec::new();
        }
        let products = match report.cpuid() {
            Some(cpuid) => cpuid.product().into_iter().collect(),
            None => {
                let mut products = Product::ALL.to_vec();
                products.sort_by_key(|product| Some(*product) != claimed_product);
                products
            }
        };
        products.into_iter().filter_map(|product| Self::of(report, product)).collect()
    }

    /// The VCEK of a chip at a TCB. `None` unless both are in the form of `product`'s: `hwid` of its length
    /// and not all zeros, an FMC level on Turin alone.
    pub fn new(product: Product, hwid: &[u8], tcb: TcbVersion) -> Option<Self> {
        let masked = hwid.iter().all(|byte| *byte == 0);
        let fits = hwid.len() == product.hwid_len() && tcb.fmc.is_some() == product.has_fmc();
        (fits && !masked).then(|| Self { product, hwid: hwid.to_vec(), tcb })
    }

    /// The VCEK that `vek` certifies. `None` for a VLEK.
    pub fn of_certificate(vek: &Vek) -> Option<Self> {
        match &vek.identity {
            Identity::Chip(hwid) => Self::new(vek.product, hwid, vek.tcb),
            Identity::Provider(_) => None,
        }
    }

    /// Reads the key in the endorsement cache, as it is displayed.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let (product, hwid, tcb) = (parts.next()?, parts.next()?, parts.next()?);
        let product = Product::ALL.into_iter().find(|known| known.name() == product)?;
        let mut levels = Vec::new();
        for level in tcb.split('.') {
            levels.push(level.parse().ok()?);
        }
        let (fmc, levels) = match (product, levels.as_slice()) {
            (Product::Turin, [fmc, levels @ ..]) => (Some(*fmc), levels),
            (_, levels) => (None, levels),
        };
        let [boot_loader, tee, snp, microcode] = *levels else { return None };
        let tcb = TcbVersion { fmc, boot_loader, tee, snp, microcode };
        let id = Self::new(product, &HEXLOWER.decode(hwid.as_bytes()).ok()?, tcb)?;
        (id.to_string() == key).then_some(id)
    }

    /// The chip's HWID: 64 bytes, 8 on Turin.
    pub fn hwid(&self) -> &[u8] {
        &self.hwid
    }

    /// The TCB that the key is derived for.
    pub fn tcb(&self) -> TcbVersion {
        self.tcb
    }

    /// The product that it is asked for under.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Whether `vek` is the certificate of this very VCEK.
    pub fn names(&self, vek: &Vek) -> bool {
        matches!(&vek.identity, Identity::Chip(hwid) if *hwid == self.hwid)
            && vek.product == self.product
            && vek.tcb == self.tcb
    }

    /// `/vcek/v1/Milan/<hwid>?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115`; on Turin with `fmcSPL` first.
    pub fn path(&self) -> String {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = self.tcb;
        let mut path = format!("/vcek/v1/{}/{}?", self.product, HEXLOWER.encode(&self.hwid));
        if let Some(fmc) = fmc {
            // Writing to a String cannot fail.
            let _ = write!(path, "fmcSPL={fmc:02}&");
        }
        let _ =
            write!(path, "blSPL={boot_loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
        path
    }
}

impl fmt::Display for VcekId {
    /// The key in the endorsement cache: `Milan/<hwid>/3.0.8.115`, with the FMC's level first on Turin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = self.tcb;
        write!(f, "{}/{}/", self.product, HEXLOWER.encode(&self.hwid))?;
        if let Some(fmc) = fmc {
            write!(f, "{fmc}.")?;
        }
        write!(f, "{boot_loader}.{tee}.{snp}.{microcode}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(chip_id: &[u8], tcb: [u8; 8]) -> Report {
        let mut bytes = [0; Report::SIZE];
        bytes[0] = 2;
        bytes[0x34] = 1;
        bytes[0x180..0x188].copy_from_slice(&tcb);
        bytes[0x1A0..0x1A0 + chip_id.len()].copy_from_slice(chip_id);
        Report::parse(&bytes).unwrap()
    }

    #[test]
    fn milans_url_has_the_long_id_and_four_levels() {
        let report = report(&[0xAB; 64], [3, 0, 0, 0, 0, 0, 8, 115]);
        let id = VcekId::of(&report, Product::Milan).unwrap();
        let hwid = "ab".repeat(64);
        assert_eq!(id.path(), format!("/vcek/v1/Milan/{hwid}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"));
        assert_eq!(id.to_string(), format!("Milan/{hwid}/3.0.8.115"));
    }

    #[test]
    fn turins_url_has_the_short_id_and_five_levels() {
        let report = report(&[0xAB; 8], [1, 2, 3, 4, 0, 0, 0, 81]);
        let id = VcekId::of(&report, Product::Turin).unwrap();
        assert_eq!(
            id.path(),
            "/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=81"
        );
        assert_eq!(id.to_string(), "Turin/abababababababab/1.2.3.4.81");
    }

    #[test]
    fn a_key_of_the_cache_is_read_as_it_is_written() {
        let tcb = TcbVersion { fmc: None, boot_loader: 3, tee: 0, snp: 8, microcode: 115 };
        let turin = TcbVersion { fmc: Some(1), ..tcb };
        for id in [
            VcekId::new(Product::Milan, &[0xAB; 64], tcb).unwrap(),
            VcekId::new(Product::Turin, &[0xAB; 8], turin).unwrap(),
        ] {
            assert_eq!(VcekId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(VcekId::new(Product::Milan, &[0xAB; 8], tcb), None);
        assert_eq!(VcekId::new(Product::Turin, &[0xAB; 8], tcb), None);
        assert_eq!(VcekId::new(Product::Milan, &[0; 64], tcb), None);
        let hwid = "ab".repeat(64);
        for key in [
            "Milan/vcek/chain",
            "Milan/vcek/crl/silence",
            &format!("milan/{hwid}/3.0.8.115"),
            &format!("Milan/{hwid}/3.0.8"),
            &format!("Milan/{hwid}/03.0.8.115"),
            &format!("Milan/{hwid}/3.0.8.115/x"),
            &format!("Turin/{hwid}/1.3.0.8.115"),
        ] {
            assert_eq!(VcekId::parse(key), None, "{key}");
        }
    }

    #[test]
    fn a_masked_chip_is_never_asked_for() {
        for product in Product::ALL {
            assert_eq!(VcekId::of(&report(&[0; 64], [0; 8]), product), None);
        }
    }

    #[test]
    fn the_length_of_the_chip_id_must_be_the_products() {
        assert_eq!(VcekId::of(&report(&[0xAB; 64], [0; 8]), Product::Turin), None);
        assert_eq!(VcekId::of(&report(&[0xAB; 8], [0; 8]), Product::Milan), None);
        assert_eq!(VcekId::of(&report(&[0xAB; 8], [0; 8]), Product::Genoa), None);
    }

    #[test]
    fn a_reserved_tcb_byte_is_never_asked_for() {
        assert_eq!(VcekId::of(&report(&[0xAB; 64], [3, 0, 1, 0, 0, 0, 8, 115]), Product::Milan), None);
    }
}
