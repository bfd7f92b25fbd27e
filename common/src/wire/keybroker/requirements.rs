//! The requirements of a registration beside measurements, field by field.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

use super::{super::json, RegistrationFault as Fault};
use crate::{
    encoding::Hex,
    ids::HostData,
    platform::{
        BySilicon, ChipId, Condition, DemandError, FirmwareVersion, Levels, MitigationBits, OfSilicon,
        PlatformDemands, Rows,
    },
    requirements::{AppraisalPolicy, BoundBy, EvidenceForm, InitDataRequirement, KeyDigests},
};
use keybroker_snp::product::Product;

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

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
    /// The key that signed the guest's ID block, or several of which one did.
    #[serde(deserialize_with = "json::present")]
    id_key_digest: Option<OneOrMore>,
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
    /// The form of the evidence, where it is not the bare report: `az-snp-vtpm`.
    #[serde(deserialize_with = "json::present")]
    evidence: Option<String>,
    /// Products that are admitted.
    #[serde(deserialize_with = "json::present")]
    products: Option<Vec<String>>,
    /// Chips that are admitted, by id.
    #[serde(deserialize_with = "json::present")]
    chips: Option<Vec<String>>,
    /// Bits of CURRENT_MIT_VECTOR, by silicon.
    #[serde(deserialize_with = "json::optional_object")]
    current_mitigations: Option<Rows<Vec<u8>>>,
    /// Bits of LAUNCH_MIT_VECTOR, by silicon.
    #[serde(deserialize_with = "json::optional_object")]
    launch_mitigations: Option<Rows<Vec<u8>>>,
    /// Conditions of the platform, by name.
    #[serde(deserialize_with = "json::present")]
    platform: Option<Vec<String>>,
    /// The least version of the SNP firmware.
    #[serde(deserialize_with = "json::present")]
    minimum_firmware: Option<String>,
}

/// The floors of a TCB as sent.
pub(super) struct Floors {
    pub(super) reported: Option<Rows<Levels>>,
    pub(super) committed: Option<Rows<Levels>>,
    pub(super) current: Option<Rows<Levels>>,
    pub(super) launch: Option<Rows<Levels>>,
}

/// The policy of a registration whose guests are launched so.
pub(super) fn policy(require: Require, floors: Floors, launch: Launch) -> Result<AppraisalPolicy, Fault> {
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
        host_data,
        init_data,
        id_key_digest: require.id_key_digest.as_ref().map(keys).transpose()?,
        author_key_digest: digest("author_key_digest", require.author_key_digest.as_deref())?,
        family_id: hex("family_id", require.family_id.as_deref())?,
        image_id: hex("image_id", require.image_id.as_deref())?,
        minimum_guest_svn: match require.minimum_guest_svn {
            Some(0) => return Err(Fault::Nothing("minimum_guest_svn")),
            other => other,
        },
        evidence: evidence(require.evidence.as_deref())?,
        platform: platform(require, floors)?,
    };
    signed(&policy)?;
    possible(&policy)?;
    Ok(policy)
}

fn evidence(sent: Option<&str>) -> Result<EvidenceForm, Fault> {
    match sent.map(EvidenceForm::named) {
        None => Ok(EvidenceForm::Snp),
        Some(Some(form)) if !form.is_snp() => Ok(form),
        Some(_) => Err(Fault::Evidence),
    }
}

/// On Azure HOST_DATA is zero, and the launch measurement is the paravisor's: neither can bind anything of
/// the guest's own.
fn possible(policy: &AppraisalPolicy) -> Result<(), Fault> {
    let unbound = policy.init_data.as_ref().is_none_or(|required| required.bound_by == BoundBy::Nothing);
    match policy.evidence {
        EvidenceForm::AzSnpVtpm if policy.host_data.is_some() || !unbound => Err(Fault::BoundOnAzure),
        _ => Ok(()),
    }
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

/// The keys of which one must have signed.
fn keys(sent: &OneOrMore) -> Result<KeyDigests, Fault> {
    let field = "id_key_digest";
    let read = |text: &String| digest(field, Some(text)).and_then(|digest| digest.ok_or(Fault::Keys(field)));
    let digests = sent.as_slice().iter().map(read).collect::<Result<Vec<_>, _>>()?;
    digests.try_into().map_err(|_| Fault::Keys(field))
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

/// The demands on the platform.
fn platform(require: Require, floors: Floors) -> Result<PlatformDemands, Fault> {
    let bits = |field, sent: Option<Rows<Vec<u8>>>| {
        let bits = |numbers| MitigationBits::of(numbers).ok_or(DemandError::Bits);
        let rows = sent.map(|rows| rows.try_map(bits)).transpose();
        rows.map_err(|error| Fault::Demand(field, error)).and_then(|rows| checked(field, rows))
    };
    let product = |name: &str| {
        let named = Product::ALL.into_iter().find(|product| product.name().to_ascii_lowercase() == name);
        named.ok_or(DemandError::Product)
    };
    let firmware = require.minimum_firmware.as_deref().map(FirmwareVersion::parse).transpose();
    Ok(PlatformDemands {
        products: all("require.products", require.products.as_deref(), product)?,
        chips: all("require.chips", require.chips.as_deref(), ChipId::parse)?,
        minimum_tcb: checked("minimum_tcb", floors.reported)?,
        minimum_committed_tcb: checked("minimum_committed_tcb", floors.committed)?,
        minimum_current_tcb: checked("minimum_current_tcb", floors.current)?,
        minimum_launch_tcb: checked("minimum_launch_tcb", floors.launch)?,
        current_mitigations: bits("require.current_mitigations", require.current_mitigations)?,
        launch_mitigations: bits("require.launch_mitigations", require.launch_mitigations)?,
        conditions: all("require.platform", require.platform.as_deref(), Condition::parse)?
            .unwrap_or_default(),
        minimum_firmware: firmware.map_err(|error| Fault::Demand("require.minimum_firmware", error))?,
    })
}

/// Each of a list that has some.
fn all<T>(
    field: &'static str,
    sent: Option<&[String]>,
    parse: impl Fn(&str) -> Result<T, DemandError>,
) -> Result<Option<Vec<T>>, Fault> {
    let Some(sent) = sent else { return Ok(None) };
    if sent.is_empty() {
        return Err(Fault::Demand(field, DemandError::Nothing));
    }
    let all: Result<_, _> = sent.iter().map(|text| parse(text)).collect();
    all.map(Some).map_err(|error| Fault::Demand(field, error))
}

fn checked<T: OfSilicon>(field: &'static str, rows: Option<Rows<T>>) -> Result<BySilicon<T>, Fault> {
    let Some(rows) = rows else { return Ok(BySilicon::default()) };
    rows.checked().map_err(|error| Fault::Demand(field, error))
}
