//! The beginning of a chip's id, as an argument that selects by chip.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use keybroker_kds::VcekId;

use crate::hex;

/// The beginning of a chip's id in hex: at least 16 digits, which is a Turin's whole HWID.
#[derive(Debug, Clone)]
pub(crate) struct ChipPrefix(String);

impl ChipPrefix {
    /// Reads digits in upper or lower case, with or without 0x in front.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let digits = hex::digits(text);
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
        let whole = bytes.is_ok_and(|bytes| (8..=64).contains(&bytes.len()));
        if whole { Ok(Self(digits.to_ascii_lowercase())) } else { Err("not 16 to 128 hex digits".to_owned()) }
    }

    /// Whether the chip of `id` has such an id.
    pub(crate) fn names(&self, id: &VcekId) -> bool {
        self.begins(&HEXLOWER.encode(id.hwid()))
    }

    /// Whether `chip_id`, in lower case, begins so. A Turin's CHIP_ID is its HWID and zeros: both name it.
    pub(crate) fn begins(&self, chip_id: &str) -> bool {
        format!("{chip_id:0<128}").starts_with(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use keybroker_snp::product::{Product, TcbVersion};

    use super::*;

    #[test]
    fn sixteen_digits_name_a_turin_as_128_do() {
        let tcb = TcbVersion { fmc: Some(1), boot_loader: 1, tee: 1, snp: 4, microcode: 72 };
        let turin = VcekId::new(Product::Turin, &[0xCD; 8], tcb).unwrap();
        let milan = [[0xCD; 8], [1; 8], [0; 8], [0; 8], [0; 8], [0; 8], [0; 8], [0; 8]].concat();
        let milan = VcekId::new(Product::Milan, &milan, TcbVersion { fmc: None, ..tcb }).unwrap();
        let (short, zeros) = ("CD".repeat(8), "00".repeat(56));
        for text in [short.clone(), format!("0x{short}"), format!("{short}{zeros}"), format!("{short}0000")] {
            assert!(ChipPrefix::parse(&text).unwrap().names(&turin), "{text}");
        }
        assert!(ChipPrefix::parse(&short).unwrap().names(&milan), "how it begins");
        assert!(!ChipPrefix::parse(&format!("{short}{zeros}")).unwrap().names(&milan));
        for text in ["cd", "cdcdcdcdcdcdcdc", "xdcdcdcdcdcdcdcd", "", "0x"] {
            assert!(ChipPrefix::parse(text).is_err(), "{text}");
        }
    }
}
