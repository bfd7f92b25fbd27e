//! The id of a challenge and its session.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{CarriedId, Claim};

/// Names a challenge and the session that may come of it, and carries all that the broker needs to make the
/// challenge again: so nothing has to be stored for a guest that only asked.
///
/// Its text is 35 characters of base64url and, if the guest named one, the workload id. The 26 bytes are:
///
/// | bytes | meaning |
/// |---|---|
/// | 1 | the protocol in the upper half: 1 is libkrun's, keybroker's and the broker's own, 2 to 4 are Trustee's 0.1.0, 0.1.1 and 0.2.0, 5 to 7 are its 0.4.0 with SHA-256, SHA-384 and SHA-512. In the lower half the form of the claim: 0 and 3 name no workload (0 HOST_DATA will, 3 the request for secrets will), 1 names one as it is, 2 names one in base64url |
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
}

impl SessionId {
    /// The longest id: 99 characters, and libkrun's guest keeps no more of a cookie.
    pub const MAX_LEN: usize = Self::HEAD_LEN + CarriedId::MAX_LEN;
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
        let claim = Claim::parse(*form, claim)?;
        let (made_at, tag) = (u32::from_be_bytes(*made_at), tag.try_into().ok()?);
        Some(Self { head: Head { key: *key, made_at, random: *random, tag }, claim })
    }

    /// The value for the cookie.
    pub fn expose(&self) -> String {
        let mut bytes = self.head_bytes();
        bytes.extend_from_slice(&self.head.tag);
        let mut text = BASE64URL_NOPAD.encode(&bytes);
        bytes.zeroize();
        text.extend(self.claim.text());
        text
    }

    /// All that the tag is computed over: everything but the tag.
    pub fn tagged_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend(self.claim.workload_id().iter().flat_map(|id| id.as_str().bytes()));
        bytes
    }

    fn head_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::MAX_LEN);
        bytes.extend_from_slice(&[self.claim.form(), self.head.key]);
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
    use super::{
        super::{KbsVersion, TrusteeClaim, WorkloadId, claim::is_cookie_octet},
        *,
    };

    fn named(id: &str) -> Option<Claim> {
        CarriedId::new(WorkloadId::new(id).unwrap()).map(Claim::Named)
    }

    /// Trustee's claims of every version: without a workload, with one as it is, and with one in base64url.
    fn trustees() -> impl Iterator<Item = Claim> {
        let workloads = [None, Some("web"), Some("süß")]
            .map(|id| id.map(|id| CarriedId::new(WorkloadId::new(id).unwrap()).unwrap()));
        KbsVersion::ALL.into_iter().flat_map(move |version| {
            workloads.clone().map(|workload| Claim::Trustee(TrusteeClaim { version, workload }))
        })
    }

    fn made(claim: Claim) -> SessionId {
        SessionId::new(7, 0x6789_ABCD, [0x5A; 12], claim, |_| [0xC3; 8])
    }

    #[test]
    fn an_id_is_read_back_as_it_was_made() {
        let ids = ["w", &"a".repeat(64), "süß", "a;b", "a,b", "a=b", &"ü".repeat(24)];
        let named = ids.map(|id| named(id).unwrap());
        for claim in named.into_iter().chain([Claim::HostData, Claim::Later]).chain(trustees()) {
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
            plain.replacen("EQ", "gQ", 1),
            plain.replacen("EQ", "Iw", 1),
            head(&plain).replacen("EQ", "Iw", 1),
            "0f".repeat(16),
        ];
        for text in wrong {
            assert_eq!(SessionId::parse(&text), None, "{text}");
        }
        assert_eq!(good.len(), Head::TEXT_LEN + BASE64URL_NOPAD.encode_len("süß".len()));
    }

    #[test]
    fn no_two_claims_are_tagged_alike() {
        let mut tagged: Vec<_> = trustees().map(|claim| made(claim).tagged_bytes()).collect();
        let others = [named("web").unwrap(), named("süß").unwrap(), Claim::HostData, Claim::Later];
        tagged.extend(others.map(|claim| made(claim).tagged_bytes()));
        let count = tagged.len();
        tagged.sort();
        tagged.dedup();
        assert_eq!((tagged.len(), count), (22, 22));
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
