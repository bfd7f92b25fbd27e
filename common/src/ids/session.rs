//! The id of a challenge and its session.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop};

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
    /// The most characters that a cookie has for a workload id.
    pub const MAX_LEN: usize = SessionId::MAX_LEN - Head::TEXT_LEN;

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

impl Claim {
    fn carried(&self) -> Option<&CarriedId> {
        match self {
            Self::Named(id) => Some(id),
            Self::HostData | Self::Later => None,
        }
    }
}

/// A character that may stand in a cookie's value (RFC 6265, 4.1.1).
fn is_cookie_octet(byte: u8) -> bool {
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
}

/// Names a challenge and the session that may come of it, and carries all that the broker needs to make the
/// challenge again: so nothing has to be stored for a guest that only asked.
///
/// Its text is 35 characters of base64url and, if the guest named one, the workload id. The 26 bytes are:
///
/// | bytes | meaning |
/// |---|---|
/// | 1 | the version, 1, in the upper half; in the lower half the form of the claim, and with it the dialects: 0 and 3 name no workload (0 HOST_DATA will, 3 the request for secrets will), 1 names one as it is, 2 names one in base64url |
/// | 1 | the number of the key under which it was made |
/// | 4 | when it was made: seconds since 1970, big-endian |
/// | 12 | random |
/// | 8 | the tag: by it the broker recognises an id of its own ([`Challenges`](crate::challenge::Challenges)) |
///
/// Anybody who knows it can ask in the guest's place, so it is redacted from `Debug` and has no `Display`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId {
    head: Head,
    claim: Claim,
}

#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
struct Head {
    key: u8,
    made_at: u32,
    random: [u8; 12],
    tag: [u8; 8],
}

impl Head {
    const LEN: usize = 26;
    const TEXT_LEN: usize = SessionId::HEAD_LEN;
    const VERSION: u8 = 1 << 4;
    const HOST_DATA: u8 = Self::VERSION;
    const PLAIN: u8 = Self::VERSION | 1;
    const ENCODED: u8 = Self::VERSION | 2;
    const LATER: u8 = Self::VERSION | 3;
}

impl SessionId {
    /// The longest id: libkrun's guest keeps so many characters of a cookie.
    pub const MAX_LEN: usize = 99;
    /// The tag's length, in bytes.
    pub const TAG_LEN: usize = 8;
    /// The length of an id that carries no workload id, in characters.
    pub const HEAD_LEN: usize = 35;

    /// An id that carries `claim`, made under the key with this number at `made_at` (seconds since 1970);
    /// `tag` computes the tag over all of that.
    pub fn new(
        key: u8,
        made_at: u32,
        random: [u8; 12],
        claim: Claim,
        tag: impl FnOnce(&[u8]) -> [u8; Self::TAG_LEN],
    ) -> Self {
        let mut id = Self { head: Head { key, made_at, random, tag: [0; Self::TAG_LEN] }, claim };
        id.head.tag = tag(&id.tagged_bytes());
        id
    }

    /// Reads a cookie's value, in the one form that [`Self::expose`] writes. That the broker made it is not
    /// established here.
    pub fn parse(cookie: &str) -> Option<Self> {
        if cookie.len() > Self::MAX_LEN {
            return None;
        }
        let (head, claim) = cookie.split_at_checked(Head::TEXT_LEN)?;
        let bytes: [u8; Head::LEN] = BASE64URL_NOPAD.decode(head.as_bytes()).ok()?.try_into().ok()?;
        let ([form, key], rest) = bytes.split_first_chunk::<2>()?;
        let (made_at, rest) = rest.split_first_chunk::<4>()?;
        let (random, tag) = rest.split_first_chunk::<12>()?;
        let claim = match *form {
            Head::HOST_DATA if claim.is_empty() => Claim::HostData,
            Head::LATER if claim.is_empty() => Claim::Later,
            Head::PLAIN => Claim::Named(CarriedId::parse(claim, true)?),
            Head::ENCODED => Claim::Named(CarriedId::parse(claim, false)?),
            _ => return None,
        };
        let (made_at, tag) = (u32::from_be_bytes(*made_at), tag.try_into().ok()?);
        Some(Self { head: Head { key: *key, made_at, random: *random, tag }, claim })
    }

    /// The value for the cookie.
    pub fn expose(&self) -> String {
        let mut bytes = self.head_bytes();
        bytes.extend_from_slice(&self.head.tag);
        let mut text = BASE64URL_NOPAD.encode(&bytes);
        bytes.zeroize();
        text.extend(self.claim.carried().map(CarriedId::text));
        text
    }

    /// All that the tag is computed over: everything but the tag.
    pub fn tagged_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend(self.claim.carried().iter().flat_map(|id| id.workload_id.as_str().bytes()));
        bytes
    }

    fn head_bytes(&self) -> Vec<u8> {
        let form = match &self.claim {
            Claim::HostData => Head::HOST_DATA,
            Claim::Later => Head::LATER,
            Claim::Named(id) if id.plain => Head::PLAIN,
            Claim::Named(_) => Head::ENCODED,
        };
        let mut bytes = Vec::with_capacity(Self::MAX_LEN);
        bytes.extend_from_slice(&[form, self.head.key]);
        bytes.extend_from_slice(&self.head.made_at.to_be_bytes());
        bytes.extend_from_slice(&self.head.random);
        bytes
    }

    /// The tag.
    pub fn tag(&self) -> &[u8; Self::TAG_LEN] {
        &self.head.tag
    }

    /// The number of the key under which it was made.
    pub fn key(&self) -> u8 {
        self.head.key
    }

    /// When it was made, in seconds since 1970.
    pub fn made_at(&self) -> u32 {
        self.head.made_at
    }

    /// The identity that the guest claimed.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Option<Claim> {
        CarriedId::new(WorkloadId::new(id).unwrap()).map(Claim::Named)
    }

    fn made(claim: Claim) -> SessionId {
        SessionId::new(7, 0x6789_ABCD, [0x5A; 12], claim, |_| [0xC3; 8])
    }

    #[test]
    fn an_id_is_read_back_as_it_was_made() {
        let ids = ["w", &"a".repeat(64), "süß", "a;b", "a,b", "a=b", &"ü".repeat(24)];
        for claim in ids.map(|id| named(id).unwrap()).into_iter().chain([Claim::HostData, Claim::Later]) {
            let id = made(claim);
            let text = id.expose();
            assert!(text.len() <= SessionId::MAX_LEN && text.bytes().all(is_cookie_octet), "{text}");
            assert_eq!(SessionId::parse(&text), Some(id), "{text}");
        }
    }

    #[test]
    fn buildahs_id_stands_in_it_as_it_is() {
        let id = "0123456789abcdef".repeat(4);
        let text = made(named(&id).unwrap()).expose();
        assert_eq!((text.len(), text.get(..7)), (99, Some("EQdniav")));
        assert!(text.ends_with(&id), "{text}");
    }

    #[test]
    fn a_workload_id_that_does_not_fit_is_not_carried() {
        for id in ["a".repeat(65), "ü".repeat(25), format!("{};", "a".repeat(48))] {
            assert_eq!(named(&id), None, "{id}");
        }
    }

    #[test]
    fn every_other_text_is_no_id() {
        let good = made(named("süß").unwrap()).expose();
        let plain = made(named("w").unwrap()).expose();
        let head = |text: &str| text.get(..Head::TEXT_LEN).unwrap().to_owned();
        let wrong = [
            String::new(),
            head(&good),
            head(&plain),
            format!("{}w", head(&made(Claim::HostData).expose())),
            format!("{}w", head(&made(Claim::Later).expose())),
            format!("{good}="),
            // An id has one form: what needs no base64url is not read in it.
            format!("{}dw", head(&good)), // "w"
            format!("{}süß", head(&plain)),
            format!("{}{}", head(&plain), "a".repeat(65)),
            // Another version, another form of claim, bits behind the last byte.
            format!("A{}", plain.get(1..).unwrap()),
            plain.replacen("EQ", "FA", 1),
            plain.replacen("EQ", "Ew", 1),
            "0f".repeat(16),
        ];
        for text in wrong {
            assert_eq!(SessionId::parse(&text), None, "{text}");
        }
        assert_eq!(good.len(), Head::TEXT_LEN + BASE64URL_NOPAD.encode_len("süß".len()));
    }

    #[test]
    fn no_field_is_left_out_of_the_tagged_bytes() {
        let base = made(named("w").unwrap()).tagged_bytes();
        let others = [
            SessionId::new(8, 0x6789_ABCD, [0x5A; 12], named("w").unwrap(), |_| [0; 8]),
            SessionId::new(7, 0x6789_ABCE, [0x5A; 12], named("w").unwrap(), |_| [0; 8]),
            SessionId::new(7, 0x6789_ABCD, [0x5B; 12], named("w").unwrap(), |_| [0; 8]),
            made(named("v").unwrap()),
            made(Claim::HostData),
            made(Claim::Later),
        ];
        for other in others {
            assert_ne!(other.tagged_bytes(), base);
        }
        assert_eq!(
            SessionId::new(7, 0x6789_ABCD, [0x5A; 12], named("w").unwrap(), |_| [0; 8]).tagged_bytes(),
            base
        );
    }
}
