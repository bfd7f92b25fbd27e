//! The requirements of a registration beside measurements, field by field.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

use super::{super::json, RegistrationFault as Fault};
use crate::{
    encoding::Hex,
    ids::HostData,
    requirements::{AppraisalPolicy, BoundBy, InitDataRequirement, TcbFloors},
};
use keybroker_snp::product::Product;

/// How the guests of a registration are told from others: who chose HOST_DATA.
pub(super) enum Launch {
    /// The broker drew it, and it selects the registration.
    Drawn(HostData),
    /// The client chooses it, and may require it: the guest's URL names the workload.
    Named,
    /// The client chooses it. It is the digest of this init data, where that binds it.
    InitData(InitDataRequirement),
}

/// `require` as sent. A field that is absent requires nothing; one that is there requires something, or is
/// refused.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Require {
    #[serde(deserialize_with = "json::present")]
    host_data: Option<String>,
    /// The key that signed the guest's ID block.
    #[serde(deserialize_with = "json::present")]
    id_key_digest: Option<String>,
    /// The key that certified that one.
    #[serde(deserialize_with = "json::present")]
    author_key_digest: Option<String>,
    /// FAMILY_ID of the ID block. Only beside a key: anybody can sign an ID block with a key of their own.
    #[serde(deserialize_with = "json::present")]
    family_id: Option<String>,
    /// IMAGE_ID of the ID block. Only beside a key.
    #[serde(deserialize_with = "json::present")]
    image_id: Option<String>,
    /// The least GUEST_SVN of the ID block. Only beside a key.
    #[serde(deserialize_with = "json::present")]
    minimum_guest_svn: Option<u32>,
    /// The guest policy must bind the guest to one socket.
    #[serde(deserialize_with = "json::present")]
    single_socket: Option<bool>,
    /// The guest policy must forbid SMT.
    #[serde(deserialize_with = "json::present")]
    smt: Option<bool>,
    /// The guest policy must demand that ciphertext is hidden from the host.
    #[serde(deserialize_with = "json::present")]
    ciphertext_hiding: Option<bool>,
}

/// The floors of a TCB as sent.
pub(super) struct Floors {
    pub(super) reported: Option<TcbFloors>,
    pub(super) committed: Option<TcbFloors>,
    pub(super) launch: Option<TcbFloors>,
}

/// The policy of a registration whose guests are launched so.
pub(super) fn policy(require: &Require, floors: &Floors, launch: Launch) -> Result<AppraisalPolicy, Fault> {
    let (host_data, init_data) = match launch {
        Launch::Drawn(_) if require.host_data.is_some() => return Err(Fault::HostData),
        Launch::Drawn(host_data) => (Some(Hex(host_data.to_bytes())), None),
        Launch::Named => (hex("host_data", require.host_data.as_deref())?, None),
        Launch::InitData(required) => {
            let chosen = hex("host_data", require.host_data.as_deref())?;
            let digest = Hex(required.digest.host_data());
            if required.bound_by == BoundBy::HostData && chosen.is_some_and(|chosen| chosen != digest) {
                return Err(Fault::OtherHostData);
            }
            (chosen, Some(required))
        }
    };
    let policy = AppraisalPolicy {
        forbid_smt: wanted("smt", require.smt, false)?,
        require_single_socket: wanted("single_socket", require.single_socket, true)?,
        require_ciphertext_hiding: wanted("ciphertext_hiding", require.ciphertext_hiding, true)?,
        minimum_abi: None,
        minimum_tcb: checked("minimum_tcb", floors.reported)?,
        minimum_committed_tcb: checked("minimum_committed_tcb", floors.committed)?,
        minimum_launch_tcb: checked("minimum_launch_tcb", floors.launch)?,
        host_data,
        init_data,
        id_key_digest: digest("id_key_digest", require.id_key_digest.as_deref())?,
        author_key_digest: digest("author_key_digest", require.author_key_digest.as_deref())?,
        family_id: hex("family_id", require.family_id.as_deref())?,
        image_id: hex("image_id", require.image_id.as_deref())?,
        minimum_guest_svn: match require.minimum_guest_svn {
            Some(0) => return Err(Fault::Nothing("minimum_guest_svn")),
            other => other,
        },
    };
    signed(&policy)?;
    Ok(policy)
}

/// Whether the field requires what it can require. The other value would be a wish that nothing fulfils.
fn wanted(field: &'static str, sent: Option<bool>, required: bool) -> Result<bool, Fault> {
    match sent {
        None => Ok(false),
        Some(sent) if sent == required => Ok(true),
        Some(_) => Err(Fault::Nothing(field)),
    }
}

fn hex<const N: usize>(field: &'static str, sent: Option<&str>) -> Result<Option<Hex<N>>, Fault> {
    let decode = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok().map(Hex);
    sent.map(|text| decode(text).ok_or(Fault::Hex(field, 2 * N))).transpose()
}

fn digest(field: &'static str, sent: Option<&str>) -> Result<Option<Hex<48>>, Fault> {
    match hex(field, sent)? {
        Some(Hex(digest)) if digest == [0; 48] => Err(Fault::Zeros(field)),
        other => Ok(other),
    }
}

/// Anybody who launches a guest may give it an ID block, signed with a key of their own: so the ID block
/// counts under a required key alone.
fn signed(policy: &AppraisalPolicy) -> Result<(), Fault> {
    let fields = [
        ("family_id", policy.family_id.is_some()),
        ("image_id", policy.image_id.is_some()),
        ("minimum_guest_svn", policy.minimum_guest_svn.is_some()),
    ];
    let key = policy.id_key_digest.is_some() || policy.author_key_digest.is_some();
    match fields.into_iter().find(|(_, required)| *required) {
        Some((field, _)) if !key => Err(Fault::Unsigned(field)),
        _ => Ok(()),
    }
}

fn checked(field: &'static str, floors: Option<TcbFloors>) -> Result<Option<TcbFloors>, Fault> {
    let Some(floors) = floors else { return Ok(None) };
    if floors == TcbFloors::default() {
        return Err(Fault::NoFloor(field));
    }
    let fits =
        |product| floors.of(product).is_none_or(|tcb| tcb.fmc.is_some() == (product == Product::Turin));
    if Product::ALL.into_iter().all(fits) { Ok(Some(floors)) } else { Err(Fault::Fmc(field)) }
}
