//! The requirements of a registration on the evidence, as data. The rules that hold evidence to them are
//! [`appraisal`](crate::appraisal)'s.

pub mod init_data;
mod keys;
mod stored;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use keybroker_native::EvidenceForm;

pub use self::{
    init_data::{BoundBy, InitDataRequirement},
    keys::{KeyDigests, KeyDigestsError},
};

use crate::{encoding::Hex, platform::PlatformDemands};

/// A launch measurement: 48 bytes, 96 hex digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measurement(#[serde(with = "crate::encoding::hex_array")] pub [u8; 48]);

impl fmt::Display for Measurement {
    /// 96 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0).fmt(f)
    }
}

/// The values that the evidence must equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// The launch measurements of the workload: the report's must be one of them. None at all admits nobody,
    /// unless the policy requires an ID key, which then vouches for the measurement in the ID block that it
    /// signed.
    pub measurements: Vec<Measurement>,
}

/// An ABI version of the SEV-SNP firmware, as in the guest policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// ABI_MAJOR.
    pub major: u8,
    /// ABI_MINOR.
    pub minor: u8,
}

/// The other requirements on the evidence. A field that is `None` or `false` requires nothing. If a field
/// requires something that the evidence lacks, appraisal denies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "stored::Stored", into = "stored::Stored")]
pub struct AppraisalPolicy {
    /// The guest policy must forbid simultaneous multithreading.
    pub forbid_smt: bool,
    /// The guest policy must bind the guest to one socket.
    pub require_single_socket: bool,
    /// The guest policy must demand that DRAM ciphertext is hidden from the host.
    pub require_ciphertext_hiding: bool,
    /// The guest policy must demand at least this ABI version.
    pub minimum_abi: Option<Abi>,
    /// The platform must satisfy these.
    pub platform: PlatformDemands,
    /// HOST_DATA must equal this. The host chooses it: alone it proves nothing.
    pub host_data: Option<Hex<32>>,
    /// The ID block must have been signed with one of these keys.
    pub id_key_digest: Option<KeyDigests>,
    /// The ID key must have been certified by the author key of this digest.
    pub author_key_digest: Option<Hex<48>>,
    /// FAMILY_ID of the ID block must equal this. Means something only with a required ID or author key.
    pub family_id: Option<Hex<16>>,
    /// IMAGE_ID of the ID block must equal this. Means something only with a required ID or author key.
    pub image_id: Option<Hex<16>>,
    /// GUEST_SVN of the ID block must be at least this. Means something only with a required ID or author
    /// key.
    pub minimum_guest_svn: Option<u32>,
    /// The guest must have been given this init data.
    pub init_data: Option<InitDataRequirement>,
    /// The guest must present its report in this form, and in no other: the bare report, unless the
    /// registration demands another.
    pub evidence: EvidenceForm,
}
