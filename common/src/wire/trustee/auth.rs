//! The version, hash functions and workload that a request for a challenge names.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Invalid;
use crate::ids::{CarriedId, Claim, KbsVersion, ReportHash, TrusteeClaim};

/// The names of an Azure confidential VM with SEV-SNP: kbs-types writes the first up to 0.12, and the second
/// since then.
pub const AZURE: [&str; 2] = ["azsnpvtpm", "az-snp-vtpm"];

/// The `extra-params` of 0.1.1 and later.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    /// The hash functions that the guest has for REPORT_DATA: `sha256`, `sha384`, `sha512`, and others that
    /// are passed over.
    #[serde(rename = "supported-hash-algorithms", default)]
    hashes: Vec<String>,
}

/// Whether a request for a challenge is Trustee's, of whatever version: so that its client is told in its own
/// form what is wrong with it.
pub fn asks(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Sent<'a> {
        version: String,
        #[serde(rename = "extra-params", borrow)]
        extra_params: &'a RawValue,
    }
    serde_json::from_slice(body).is_ok_and(|Sent { version, extra_params }| {
        version == "0.1.0" || !extra_params.get().starts_with('"')
    })
}

/// The claim of a guest that speaks `version`, names `workload` in its URL, and offers this from 0.1.1 on.
/// `None` of `offered` stands for the empty text that 0.1.0 sends.
pub fn claim(
    version: &str,
    offered: Option<&Offered>,
    workload: Option<CarriedId>,
) -> Result<Claim, Invalid> {
    let version = match (version, offered) {
        ("0.1.0", None) => KbsVersion::V0_1_0,
        ("0.1.1", Some(_)) => KbsVersion::V0_1_1,
        ("0.2.0", Some(_)) => KbsVersion::V0_2_0,
        ("0.4.0", Some(offered)) => KbsVersion::V0_4_0(offered.hash()?),
        _ => return Err(Invalid::Version),
    };
    Ok(Claim::Trustee(TrusteeClaim { version, workload }))
}

impl Offered {
    /// The hash function for REPORT_DATA: SHA-384 where the guest has it or says nothing, and else the
    /// longest that it has.
    fn hash(&self) -> Result<ReportHash, Invalid> {
        let offered = |hash: &ReportHash| self.hashes.iter().any(|name| name == hash.name());
        if self.hashes.is_empty() {
            return Ok(ReportHash::Sha384);
        }
        let in_order = [ReportHash::Sha384, ReportHash::Sha512, ReportHash::Sha256];
        in_order.into_iter().find(offered).ok_or(Invalid::ReportHash)
    }
}

impl ReportHash {
    /// Its name in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// The challenge's `extra-params`, in JSON: the hash function, where it is another than SHA-384.
pub fn selected_hash(claim: &Claim) -> String {
    match claim {
        Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_4_0(hash), .. })
            if *hash != ReportHash::Sha384 =>
        {
            format!(r#"{{"selected-hash-algorithm":"{}"}}"#, hash.name())
        }
        _ => r#""""#.to_owned(),
    }
}
