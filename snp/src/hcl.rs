//! The report of an Azure confidential VM, as its virtual TPM hands it out.
//!
//! There the paravisor (HCL, since 2024 OpenHCL) asks the chip, not the guest's operating system. It writes
//! claims in JSON, has their SHA-256 signed as REPORT_DATA, and leaves both in one blob. The guest reads the
//! blob from the NV index 0x01400001. Before that it writes 64 bytes of its own into the index 0x01400002:
//! the claims repeat them as `user-data`.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `HCLA` |
//! | 4 | 4 | version of the header, 1 or 2 |
//! | 8 | 4 | size of all that follows here, the claims included |
//! | 12 | 20 | kind of request, status, reserved: not read |
//! | 32 | 1184 | the chip's report |
//! | 1216 | 4 | size from here to the end of the claims |
//! | 1220 | 4 | version of these five numbers, 1 |
//! | 1224 | 4 | kind of report: 2 is SEV-SNP, 4 is TDX |
//! | 1228 | 4 | hash of the claims: 1 is SHA-256 |
//! | 1232 | 4 | size of the claims |
//! | 1236 | | the claims, then zeros up to the end of the index |
//!
//! Numbers are little-endian. [`HclReport::parse`] establishes this form, and that no two sizes disagree. It
//! does not establish that the claims are the ones that the chip signed: that holds once the report is
//! verified and its REPORT_DATA is [`HclReport::expected_report_data`].

use std::{borrow::Cow, fmt};

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, error::Category};
use sha2::{Digest, Sha256};

use crate::report::Report;

/// Why bytes are no blob of an Azure confidential VM, or why its claims carry no 64 bytes of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HclError {
    /// Too short for any claims, or longer than any NV index.
    #[error("an HCL report has {min} to {max} bytes, this has {0}",
        min = HclReport::MIN_SIZE, max = HclReport::MAX_SIZE)]
    Size(usize),
    /// The first four bytes are not `HCLA`.
    #[error("an HCL report begins with HCLA, and this does not")]
    Magic,
    /// A version of the header whose layout this broker does not know.
    #[error("version {0} of an HCL report's header is not one of 1, 2")]
    HeaderVersion(u32),
    /// A version of the five numbers whose layout this broker does not know.
    #[error("version {0} of an HCL report's data is not 1")]
    DataVersion(u32),
    /// The report inside is not AMD's.
    #[error("the HCL report holds a report of kind {0}, and this broker reads kind 2 (SEV-SNP) alone{hint}",
        hint = if *.0 == 4 { "; 4 is Intel TDX" } else { "" })]
    ReportKind(u32),
    /// The claims are hashed by another algorithm.
    #[error("the HCL report's claims are hashed by algorithm {0}, and not by 1 (SHA-256)")]
    Hash(u32),
    /// The claims would end behind the last byte.
    #[error("the HCL report says that its claims have {claims} bytes, and {room} follow")]
    ClaimsSize {
        /// The number in the blob.
        claims: u32,
        /// How many bytes follow.
        room: usize,
    },
    /// The size of the claims and the two sizes that include it disagree.
    #[error("the sizes in the HCL report disagree with each other")]
    SizesDisagree,
    /// Something follows the claims.
    #[error("bytes other than zero follow the claims of the HCL report")]
    Trailing,
    /// The claims are not JSON.
    #[error("the claims of the HCL report are not JSON")]
    ClaimsSyntax,
    /// The claims are JSON, and no object.
    #[error("the claims of the HCL report are not an object")]
    ClaimsForm,
    /// The claims do not say what the guest wrote.
    #[error("the claims of the HCL report have no user-data: nothing was written to the NV index 0x01400002")]
    NoUserData,
    /// The claims say twice what the guest wrote.
    #[error("the claims of the HCL report have user-data twice")]
    UserDataTwice,
    /// The value of `user-data` is not 64 bytes.
    #[error("user-data in the claims of the HCL report is not 64 bytes in hex")]
    UserDataForm,
}

/// The blob in its known form. Untrusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HclReport<'a> {
    report: &'a [u8; Report::SIZE],
    claims: &'a [u8],
}

impl<'a> HclReport<'a> {
    /// Where the claims begin: the size of a blob without any.
    pub const MIN_SIZE: usize = HEADER + Report::SIZE + DATA;
    /// No blob is longer. The paravisor's NV index has 2600 bytes, an earlier one had 2048.
    pub const MAX_SIZE: usize = 4096;

    /// Checks the whole form, up to the zeros behind the claims. The claims are not read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HclError> {
        let size = HclError::Size(bytes.len());
        if bytes.len() > Self::MAX_SIZE {
            return Err(size);
        }
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(size)?;
        let (report, rest) = rest.split_first_chunk::<{ Report::SIZE }>().ok_or(size)?;
        let (data, rest) = rest.split_first_chunk::<DATA>().ok_or(size)?;
        let [magic, header_version, total] = words(header);
        let [data_size, data_version, kind, hash, claims] = words(data);

        if magic != u32::from_le_bytes(*b"HCLA") {
            return Err(HclError::Magic);
        }
        if !matches!(header_version, 1 | 2) {
            return Err(HclError::HeaderVersion(header_version));
        }
        if data_version != 1 {
            return Err(HclError::DataVersion(data_version));
        }
        if kind != 2 {
            return Err(HclError::ReportKind(kind));
        }
        if hash != 1 {
            return Err(HclError::Hash(hash));
        }
        let too_large = HclError::ClaimsSize { claims, room: rest.len() };
        let claims = usize::try_from(claims).map_err(|_| too_large)?;
        let (claims, behind) = rest.split_at_checked(claims).ok_or(too_large)?;
        let says = |word: u32, size: usize| usize::try_from(word).is_ok_and(|word| word == size);
        if !says(data_size, DATA + claims.len()) || !says(total, Self::MIN_SIZE + claims.len()) {
            return Err(HclError::SizesDisagree);
        }
        if behind.iter().any(|byte| *byte != 0) {
            return Err(HclError::Trailing);
        }
        Ok(Self { report, claims })
    }

    /// The chip's report.
    pub fn report(&self) -> &'a [u8; Report::SIZE] {
        self.report
    }

    /// The claims, as the paravisor hashed them.
    pub fn claims(&self) -> &'a [u8] {
        self.claims
    }

    /// The REPORT_DATA that makes the claims the paravisor's: their SHA-256, then zeros.
    ///
    /// SHA-256 fills half of the field, and the paravisor leaves the other half zero. Other bytes there were
    /// not written by a paravisor that this broker knows.
    pub fn expected_report_data(&self) -> [u8; 64] {
        let mut expected = [0; 64];
        let (hash, _) = expected.split_at_mut(32);
        hash.copy_from_slice(&Sha256::digest(self.claims));
        expected
    }

    /// The 64 bytes that the guest wrote before the paravisor asked the chip: the member `user-data` of the
    /// claims, in hex of either case. Zeros mean that the guest wrote nothing.
    pub fn user_data(&self) -> Result<[u8; 64], HclError> {
        let mut deserializer = serde_json::Deserializer::from_slice(self.claims);
        let found = deserializer
            .deserialize_map(UserData)
            .and_then(|found| deserializer.end().map(|()| found))
            .map_err(|error| match error.classify() {
                Category::Data => HclError::ClaimsForm,
                _ => HclError::ClaimsSyntax,
            })?;
        let hex = match found {
            Found::Nothing => return Err(HclError::NoUserData),
            Found::Twice => return Err(HclError::UserDataTwice),
            Found::Once(Value::String(hex)) => hex,
            Found::Once(_) => return Err(HclError::UserDataForm),
        };
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| HclError::UserDataForm)?;
        bytes.try_into().map_err(|_| HclError::UserDataForm)
    }
}

impl fmt::Debug for HclReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HclReport").field("claims", &self.claims.len()).finish_non_exhaustive()
    }
}

/// Size of what precedes the report.
const HEADER: usize = 32;
/// Size of the five numbers between the report and the claims.
const DATA: usize = 20;

/// The first `N` little-endian words of `bytes`; those that it is too short for are zero.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let (chunks, _) = bytes.as_chunks::<4>();
    let mut words = [0; N];
    words.iter_mut().zip(chunks).for_each(|(word, chunk)| *word = u32::from_le_bytes(*chunk));
    words
}

/// How often the claims have `user-data`.
enum Found {
    Nothing,
    Once(Value),
    Twice,
}

/// Looks for `user-data` among an object's own members. serde_json keeps the last of two members of one name:
/// a reader that keeps the first would see other 64 bytes.
struct UserData;

impl<'de> Visitor<'de> for UserData {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::Nothing;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if name == "user-data" {
                let value = map.next_value()?;
                found = if let Found::Nothing = found { Found::Once(value) } else { Found::Twice };
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
