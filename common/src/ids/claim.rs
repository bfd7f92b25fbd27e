//! The identity that a guest claims with its request for a challenge, as a session id carries it.

use data_encoding::BASE64URL_NOPAD;

use super::WorkloadId;

/// A workload id that a session id carries: it fits into the cookie.
///
/// An id of cookie characters stands there as it is, any other in base64url. The broker never puts a digest
/// in its place: it could look up nothing by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CarriedId {
    workload_id: WorkloadId,
    plain: bool,
}

impl CarriedId {
    /// The most characters that a cookie has for a workload id: as many as buildah's ids have.
    pub const MAX_LEN: usize = 64;

    /// `None` if a session id cannot carry `workload_id`.
    pub fn new(workload_id: WorkloadId) -> Option<Self> {
        let plain = workload_id.as_str().bytes().all(is_cookie_octet);
        let carried = Self { workload_id, plain };
        (carried.len() <= Self::MAX_LEN).then_some(carried)
    }

    /// The workload that it names.
    pub fn workload_id(&self) -> &WorkloadId {
        &self.workload_id
    }

    fn len(&self) -> usize {
        let bytes = self.workload_id.as_str().len();
        if self.plain { bytes } else { BASE64URL_NOPAD.encode_len(bytes) }
    }

    fn text(&self) -> String {
        let text = self.workload_id.as_str();
        if self.plain { text.to_owned() } else { BASE64URL_NOPAD.encode(text.as_bytes()) }
    }

    /// Reads what [`Self::text`] wrote: each id has one form.
    fn parse(text: &str, plain: bool) -> Option<Self> {
        let text = if plain {
            text.to_owned()
        } else {
            String::from_utf8(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?
        };
        Self::new(WorkloadId::new(text).ok()?).filter(|carried| carried.plain == plain)
    }
}

/// A character that may stand in a cookie's value (RFC 6265, 4.1.1).
pub(super) fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// The identity that a guest claims when it asks for a challenge. Nothing is looked up by it yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The workload that it names, in libkrun's dialect.
    Named(CarriedId),
    /// The workload that its report's HOST_DATA will select, in keybroker's dialect.
    HostData,
    /// The workload that the request for its secrets will name, in the broker's own protocol.
    Later,
    /// A guest of Trustee's, by a version of its protocol.
    Trustee(TrusteeClaim),
}

/// The claim of a guest that speaks Trustee's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrusteeClaim {
    /// The version that it speaks.
    pub version: KbsVersion,
    /// The workload that the path of the broker's URL names. Without one, HOST_DATA of the report selects it.
    pub workload: Option<CarriedId>,
}

/// A version of Trustee's protocol (KBS), with what the challenge settles under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KbsVersion {
    /// 0.1.0. Its request for a challenge is, byte for byte, one that keybroker's guest may send as well.
    V0_1_0,
    /// 0.1.1.
    V0_1_1,
    /// 0.2.0.
    V0_2_0,
    /// 0.4.0, in which REPORT_DATA is a hash by the function that the challenge selects.
    V0_4_0(ReportHash),
}

/// A hash function for REPORT_DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportHash {
    /// SHA-256.
    Sha256,
    /// SHA-384, which a challenge means that selects none.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl KbsVersion {
    /// Every version, and every hash function of 0.4.0.
    pub const ALL: [Self; 6] = [
        Self::V0_1_0,
        Self::V0_1_1,
        Self::V0_2_0,
        Self::V0_4_0(ReportHash::Sha256),
        Self::V0_4_0(ReportHash::Sha384),
        Self::V0_4_0(ReportHash::Sha512),
    ];

    /// The version as guests write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_1_1 => "0.1.1",
            Self::V0_2_0 => "0.2.0",
            Self::V0_4_0(_) => "0.4.0",
        }
    }

    /// Its number in a session id, beside [`Claim::PROTOCOL`].
    fn number(self) -> u8 {
        match self {
            Self::V0_1_0 => 2,
            Self::V0_1_1 => 3,
            Self::V0_2_0 => 4,
            Self::V0_4_0(ReportHash::Sha256) => 5,
            Self::V0_4_0(ReportHash::Sha384) => 6,
            Self::V0_4_0(ReportHash::Sha512) => 7,
        }
    }
}

impl Claim {
    /// The protocol of every guest but Trustee's.
    const PROTOCOL: u8 = 1;
    const HOST_DATA: u8 = 0;
    const PLAIN: u8 = 1;
    const ENCODED: u8 = 2;
    const LATER: u8 = 3;

    /// The one byte that says all of it but the workload id: in the upper half the protocol, in the lower
    /// half the form of the workload id.
    pub(super) fn form(&self) -> u8 {
        let id_form = |id: &CarriedId| if id.plain { Self::PLAIN } else { Self::ENCODED };
        match self {
            Self::HostData => Self::PROTOCOL << 4 | Self::HOST_DATA,
            Self::Named(id) => Self::PROTOCOL << 4 | id_form(id),
            Self::Later => Self::PROTOCOL << 4 | Self::LATER,
            Self::Trustee(TrusteeClaim { version, workload }) => {
                version.number() << 4 | workload.as_ref().map_or(Self::HOST_DATA, id_form)
            }
        }
    }

    /// Reads what [`Self::form`] and [`Self::text`] wrote: each claim has one form.
    pub(super) fn parse(form: u8, text: &str) -> Option<Self> {
        let workload = match form & 0xF {
            Self::HOST_DATA if text.is_empty() => None,
            Self::LATER if text.is_empty() && form >> 4 == Self::PROTOCOL => return Some(Self::Later),
            Self::PLAIN => Some(CarriedId::parse(text, true)?),
            Self::ENCODED => Some(CarriedId::parse(text, false)?),
            _ => return None,
        };
        if form >> 4 == Self::PROTOCOL {
            return Some(workload.map_or(Self::HostData, Self::Named));
        }
        let version = KbsVersion::ALL.into_iter().find(|version| version.number() == form >> 4)?;
        Some(Self::Trustee(TrusteeClaim { version, workload }))
    }

    /// The workload id as it stands in the session id, if the claim carries one.
    pub(super) fn text(&self) -> Option<String> {
        self.carried().map(CarriedId::text)
    }

    /// The workload that the claim names.
    pub fn workload_id(&self) -> Option<&WorkloadId> {
        self.carried().map(CarriedId::workload_id)
    }

    fn carried(&self) -> Option<&CarriedId> {
        match self {
            Self::Named(id) => Some(id),
            Self::Trustee(claim) => claim.workload.as_ref(),
            Self::HostData | Self::Later => None,
        }
    }
}
