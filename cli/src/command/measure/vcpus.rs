//! vCPUs on a command line: their type, and the guest features.

use std::{fmt, num::NonZeroU32};

use keybroker_common::config;
use keybroker_snp::measurement::{
    qemu::MOST_VCPUS,
    vcpu::{GuestFeatures, MODELS, VcpuModel, parse_signature},
};
use serde::{Serialize, Serializer};

use crate::hex;

/// Reads a number of vCPUs.
pub(super) fn vcpus(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU32| number.get() <= MOST_VCPUS);
    number.ok_or_else(|| format!("a guest has 1 to {MOST_VCPUS} vCPUs; several numbers are written 1,2,4"))
}

/// The type of a guest's vCPUs. The measurement covers the CPUID signature alone, and several of QEMU's
/// models share one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct VcpuType {
    #[serde(rename = "vcpu_type")]
    name: String,
    #[serde(rename = "vcpu_signature", serialize_with = "padded")]
    pub(super) signature: u32,
}

impl VcpuType {
    /// Reads one of QEMU's models, a product's short name, or a CPUID signature.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let signature = parse_signature(text).ok_or_else(|| unknown(text))?;
        let name = VcpuModel::parse(text).map_or(text, |model| model.name).to_owned();
        Ok(Self { name, signature })
    }

    /// The type of this signature.
    pub(super) fn of(signature: u32) -> Self {
        let model = VcpuModel::of_signature(signature);
        Self {
            name: model.map_or_else(|| format!("{signature:#010x}"), |model| model.name.to_owned()),
            signature,
        }
    }
}

/// The words about a type that is not known, with the one that may have been meant.
fn unknown(text: &str) -> String {
    if text.starts_with("0x") {
        return "not a CPUID signature, which is written 0x00a00f11".to_owned();
    }
    let names = MODELS.iter().map(|model| model.name);
    match config::nearest(text, names.clone()) {
        Some(nearest) => format!("QEMU has no vCPU type of this name: did you mean {nearest}?"),
        None => format!(
            "QEMU has no vCPU type of this name. It has {}. A CPUID signature is written 0x00a00f11",
            names.collect::<Vec<_>>().join(", ")
        ),
    }
}

impl fmt::Display for VcpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn padded<S: Serializer>(signature: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{signature:#010x}"))
}

/// Reads guest features: a number, in hex with 0x in front.
pub(super) fn features(text: &str) -> Result<GuestFeatures, &'static str> {
    let digits = hex::digits(text);
    let number = if digits.len() < text.len() { u64::from_str_radix(digits, 16) } else { text.parse() };
    match number {
        Ok(bits) if bits & GuestFeatures::SNP.0 != 0 => Ok(GuestFeatures(bits)),
        Ok(_) => Err("bit 0 is missing, which every guest of SEV-SNP has: 0x1, 0x21"),
        Err(_) => Err("not a number such as 0x21"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_vcpus_is_one_that_kvm_gives() {
        assert_eq!(vcpus("4096"), Ok(NonZeroU32::new(4096).unwrap()));
        for text in ["0", "4097", "-1", "", "two", "1-4"] {
            let error = vcpus(text).unwrap_err();
            assert_eq!(error, "a guest has 1 to 4096 vCPUs; several numbers are written 1,2,4", "{text}");
        }
    }

    #[test]
    fn a_type_is_a_model_or_a_signature() {
        let signature = |text: &str| VcpuType::parse(text).map(|vcpu| vcpu.signature);
        assert_eq!(signature("EPYC-Milan"), Ok(0x00A0_0F11));
        assert_eq!(signature("milan"), signature("EPYC-Milan"));
        assert_eq!(signature("0x00a00f11"), signature("EPYC-Milan"));
        assert_eq!(VcpuType::of(0x00A0_0F11).to_string(), "EPYC-Milan");
        assert_eq!(VcpuType::of(1).to_string(), "0x00000001");
        for (text, said) in [
            ("EPYC-Millan", "did you mean EPYC-Milan"),
            ("host", "It has EPYC, "),
            ("0x", "not a CPUID signature"),
            ("0x100000000", "not a CPUID signature"),
        ] {
            let error = VcpuType::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn features_are_numbers_with_the_bit_of_snp() {
        assert_eq!(features("0x21"), Ok(GuestFeatures(0x21)));
        assert_eq!(features("33"), Ok(GuestFeatures(0x21)));
        for text in ["0x20", "0", "", "0x", "x", "-1"] {
            assert!(features(text).is_err(), "{text}");
        }
    }
}
