//! The stored form of a registration's policy: all of its fields side by side.

use keybroker_snp::product::Product;
use serde::{Deserialize, Serialize};

use super::{Abi, AppraisalPolicy, EvidenceForm, InitDataRequirement, KeyDigests};
use crate::{
    encoding::{Hex, amd},
    platform::{
        BySilicon, ChipId, Condition, DemandError, FirmwareVersion, Levels, MitigationBits, PlatformDemands,
    },
};

/// The fields in the order in which they are written. Those that came later are written only where they
/// demand something, so that an earlier release refuses a registration that it cannot hold a guest to.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stored {
    forbid_smt: bool,
    require_single_socket: bool,
    require_ciphertext_hiding: bool,
    minimum_abi: Option<Abi>,
    minimum_tcb: BySilicon<Levels>,
    minimum_committed_tcb: BySilicon<Levels>,
    minimum_launch_tcb: BySilicon<Levels>,
    host_data: Option<Hex<32>>,
    id_key_digest: Option<KeyDigests>,
    author_key_digest: Option<Hex<48>>,
    family_id: Option<Hex<16>>,
    image_id: Option<Hex<16>>,
    minimum_guest_svn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_data: Option<InitDataRequirement>,
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    minimum_current_tcb: BySilicon<Levels>,
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    current_mitigations: BySilicon<MitigationBits>,
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    launch_mitigations: BySilicon<MitigationBits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    products: Option<Vec<Named>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chips: Option<Vec<ChipId>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platform: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_firmware: Option<FirmwareVersion>,
    #[serde(skip_serializing_if = "EvidenceForm::is_snp")]
    evidence: EvidenceForm,
}

/// A product by its name in lower case.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Named(#[serde(with = "amd::product")] Product);

impl From<AppraisalPolicy> for Stored {
    fn from(policy: AppraisalPolicy) -> Self {
        let AppraisalPolicy {
            forbid_smt,
            require_single_socket,
            require_ciphertext_hiding,
            minimum_abi,
            platform,
            host_data,
            id_key_digest,
            author_key_digest,
            family_id,
            image_id,
            minimum_guest_svn,
            init_data,
            evidence,
        } = policy;
        let PlatformDemands {
            products,
            chips,
            minimum_tcb,
            minimum_committed_tcb,
            minimum_current_tcb,
            minimum_launch_tcb,
            current_mitigations,
            launch_mitigations,
            conditions,
            minimum_firmware,
        } = platform;
        Self {
            forbid_smt,
            require_single_socket,
            require_ciphertext_hiding,
            minimum_abi,
            minimum_tcb,
            minimum_committed_tcb,
            minimum_launch_tcb,
            host_data,
            id_key_digest,
            author_key_digest,
            family_id,
            image_id,
            minimum_guest_svn,
            init_data,
            minimum_current_tcb,
            current_mitigations,
            launch_mitigations,
            products: products.map(|products| products.into_iter().map(Named).collect()),
            chips,
            platform: conditions,
            minimum_firmware,
            evidence,
        }
    }
}

impl TryFrom<Stored> for AppraisalPolicy {
    type Error = DemandError;

    fn try_from(stored: Stored) -> Result<Self, DemandError> {
        // An empty list admits nothing, which nobody can have meant.
        let empty = stored.products.as_ref().is_some_and(Vec::is_empty)
            || stored.chips.as_ref().is_some_and(Vec::is_empty);
        if empty {
            return Err(DemandError::Nothing);
        }
        Ok(Self {
            forbid_smt: stored.forbid_smt,
            require_single_socket: stored.require_single_socket,
            require_ciphertext_hiding: stored.require_ciphertext_hiding,
            minimum_abi: stored.minimum_abi,
            platform: PlatformDemands {
                products: stored.products.map(|products| products.into_iter().map(|Named(it)| it).collect()),
                chips: stored.chips,
                minimum_tcb: stored.minimum_tcb,
                minimum_committed_tcb: stored.minimum_committed_tcb,
                minimum_current_tcb: stored.minimum_current_tcb,
                minimum_launch_tcb: stored.minimum_launch_tcb,
                current_mitigations: stored.current_mitigations,
                launch_mitigations: stored.launch_mitigations,
                conditions: stored.platform,
                minimum_firmware: stored.minimum_firmware,
            },
            host_data: stored.host_data,
            id_key_digest: stored.id_key_digest,
            author_key_digest: stored.author_key_digest,
            family_id: stored.family_id,
            image_id: stored.image_id,
            minimum_guest_svn: stored.minimum_guest_svn,
            init_data: stored.init_data,
            evidence: stored.evidence,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An empty list, or a row of no levels, is no demand that a release ever wrote: somebody altered the
    /// row.
    #[test]
    fn a_stored_demand_demands_something() {
        let read = |stored: Value| serde_json::from_value::<AppraisalPolicy>(stored).ok();
        assert!(read(json!({"products": ["milan"], "chips": ["07".repeat(64)]})).is_some());
        for stored in [
            json!({"products": []}),
            json!({"chips": []}),
            json!({"minimum_tcb": {}}),
            json!({"minimum_tcb": {"milan-x": {}}}),
            json!({"current_mitigations": {}}),
            json!({"id_key_digest": []}),
            json!({"evidence": null}),
            json!({"evidence": "az-tdx-vtpm"}),
            json!({"platform": ["smt"]}),
            json!({"minimum_something_tcb": null}),
        ] {
            assert_eq!(read(stored.clone()), None, "{stored}");
        }
    }
}
