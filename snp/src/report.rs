//! The attestation report (SEV-SNP firmware ABI, ATTESTATION_REPORT), as received.
//!
//! [`Report::parse`] establishes that the bytes have the form of a report of a known version. It does not
//! establish that a chip signed them: that is [`crate::verify`](mod@crate::verify).

use std::fmt;

use crate::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
    silicon::Cpuid,
};

/// Why bytes are no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not exactly 1184 bytes.
    #[error("a report has 1184 bytes, this has {0}")]
    Size(usize),
    /// A version whose layout this broker does not know.
    #[error("report version {version} is not one of 2, 3, 4, 5{}", later(*.0), version = .0)]
    Version(u32),
    /// SIGNATURE_ALGO is not 1, ECDSA P-384 with SHA-384.
    #[error("signature algorithm {0} is not 1 (ECDSA P-384 with SHA-384)")]
    SignatureAlgorithm(u32),
    /// A reserved bit of the key-information word (48h) is set, or SIGNING_KEY is neither VCEK, VLEK nor
    /// none.
    #[error("the key information {0:#x} has reserved bits set")]
    KeyInfo(u32),
    /// A byte behind R, S or the signature is not zero.
    #[error("the padding of the signature is not zero")]
    SignaturePadding,
}

/// The thing that a release would need to read the reports of a later version.
fn later(version: u32) -> &'static str {
    if version > 5 {
        ": this release would need its layout. Firmware ABI 1.59 has an extended TCB of 256 bits in the report"
    } else {
        ""
    }
}

/// The guest policy (SEV-SNP firmware ABI, GUEST_POLICY). The host chooses it at launch; the chip enforces
/// and reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(u64);

impl GuestPolicy {
    /// Bits that ABI 1.58 and earlier give a meaning, or fix to one.
    const KNOWN: u64 = 0x03FF_FFFF;

    /// Reads a policy word.
    pub fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The word as it stands in the report.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Lowest ABI version that the guest may run under, (major, minor).
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }

    /// The guest may run with simultaneous multithreading on.
    pub fn smt_allowed(self) -> bool {
        self.bit(16)
    }

    /// Bit 17, which the ABI fixes to one.
    pub fn reserved_one(self) -> bool {
        self.bit(17)
    }

    /// A migration agent may be associated with the guest: another VM that can read and move its state.
    pub fn migrate_ma_allowed(self) -> bool {
        self.bit(18)
    }

    /// The host may read and write the guest's memory.
    pub fn debug_allowed(self) -> bool {
        self.bit(19)
    }

    /// The guest runs on one socket only.
    pub fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// The guest runs only where DRAM ciphertext is hidden from the host.
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(24)
    }

    /// Whether a bit is set that no known ABI version gives a meaning: what it would permit is unknown.
    pub fn unknown_bits(self) -> bool {
        self.0 & !Self::KNOWN != 0
    }
}

/// A report in the form of a known version, with the bytes as received. Untrusted.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    bytes: Box<[u8; Report::SIZE]>,
}

/// Offsets of the ABI's ATTESTATION_REPORT.
mod offset {
    pub(crate) const VERSION: usize = 0x000;
    pub(crate) const GUEST_SVN: usize = 0x004;
    pub(crate) const POLICY: usize = 0x008;
    pub(crate) const FAMILY_ID: usize = 0x010;
    pub(crate) const IMAGE_ID: usize = 0x020;
    pub(crate) const VMPL: usize = 0x030;
    pub(crate) const SIGNATURE_ALGO: usize = 0x034;
    pub(crate) const CURRENT_TCB: usize = 0x038;
    pub(crate) const PLATFORM_INFO: usize = 0x040;
    pub(crate) const KEY_INFO: usize = 0x048;
    pub(crate) const REPORT_DATA: usize = 0x050;
    pub(crate) const MEASUREMENT: usize = 0x090;
    pub(crate) const HOST_DATA: usize = 0x0C0;
    pub(crate) const ID_KEY_DIGEST: usize = 0x0E0;
    pub(crate) const AUTHOR_KEY_DIGEST: usize = 0x110;
    pub(crate) const REPORT_ID: usize = 0x140;
    pub(crate) const REPORT_ID_MA: usize = 0x160;
    pub(crate) const REPORTED_TCB: usize = 0x180;
    pub(crate) const CPUID: usize = 0x188;
    pub(crate) const CHIP_ID: usize = 0x1A0;
    pub(crate) const COMMITTED_TCB: usize = 0x1E0;
    pub(crate) const CURRENT_VERSION: usize = 0x1E8;
    pub(crate) const COMMITTED_VERSION: usize = 0x1EC;
    pub(crate) const LAUNCH_TCB: usize = 0x1F0;
    pub(crate) const LAUNCH_MIT_VECTOR: usize = 0x1F8;
    pub(crate) const CURRENT_MIT_VECTOR: usize = 0x200;
    pub(crate) const SIGNATURE_R: usize = 0x2A0;
    pub(crate) const SIGNATURE_S: usize = 0x2E8;
    pub(crate) const SIGNATURE_END: usize = 0x330;
}

/// R and S are little-endian numbers of 384 bits in fields of 72 bytes.
const SCALAR_LEN: usize = 48;

impl Report {
    /// Size of every report, in bytes.
    pub const SIZE: usize = 0x4A0;
    /// How many bytes, from the first, the chip signs.
    pub const SIGNED_LEN: usize = offset::SIGNATURE_R;

    /// Checks size, version, signature algorithm, reserved bits of the key information and the signature's
    /// padding.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let bytes: [u8; Self::SIZE] = bytes.try_into().map_err(|_| ParseError::Size(bytes.len()))?;
        let report = Self { bytes: Box::new(bytes) };
        if !(2..=5).contains(&report.version()) {
            return Err(ParseError::Version(report.version()));
        }
        let algorithm = u32::from_le_bytes(report.field::<{ offset::SIGNATURE_ALGO }, 4>());
        if algorithm != 1 {
            return Err(ParseError::SignatureAlgorithm(algorithm));
        }
        if report.key_info() >> 5 != 0 || !matches!(report.key_info() >> 2 & 7, 0 | 1 | 7) {
            return Err(ParseError::KeyInfo(report.key_info()));
        }
        if !report.signature_padding().all(|byte| byte == 0) {
            return Err(ParseError::SignaturePadding);
        }
        Ok(report)
    }

    /// A report that says nothing, of version 2: no chip signed it, and none would.
    pub fn blank() -> Self {
        let mut bytes = Box::new([0; Self::SIZE]);
        for (offset, value) in [(offset::VERSION, 2), (offset::SIGNATURE_ALGO, 1)] {
            bytes.iter_mut().skip(offset).take(1).for_each(|byte| *byte = value);
        }
        Self { bytes }
    }

    /// `LEN` bytes at `AT`. That the range lies within the report is checked when this is compiled.
    fn slice<const AT: usize, const LEN: usize>(&self) -> &[u8; LEN] {
        const { assert!(AT + LEN <= Self::SIZE) };
        // The assertion above makes the fallback unreachable.
        self.bytes.get(AT..).and_then(|tail| tail.first_chunk()).unwrap_or(&[0; LEN])
    }

    fn field<const AT: usize, const LEN: usize>(&self) -> [u8; LEN] {
        *self.slice::<AT, LEN>()
    }

    /// The report as received.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }

    /// The bytes that the signature covers, as received.
    pub fn signed_bytes(&self) -> &[u8; Self::SIGNED_LEN] {
        self.slice::<0, { Self::SIGNED_LEN }>()
    }

    /// R and S, big-endian, as fixed-size ECDSA signatures are verified.
    pub fn signature(&self) -> [u8; 2 * SCALAR_LEN] {
        let mut signature = [0; 2 * SCALAR_LEN];
        let (r, s) = signature.split_at_mut(SCALAR_LEN);
        r.copy_from_slice(self.slice::<{ offset::SIGNATURE_R }, SCALAR_LEN>());
        s.copy_from_slice(self.slice::<{ offset::SIGNATURE_S }, SCALAR_LEN>());
        r.reverse();
        s.reverse();
        signature
    }

    fn signature_padding(&self) -> impl Iterator<Item = u8> + '_ {
        let r = self.slice::<{ offset::SIGNATURE_R + SCALAR_LEN }, { 72 - SCALAR_LEN }>();
        let s = self.slice::<{ offset::SIGNATURE_S + SCALAR_LEN }, { 72 - SCALAR_LEN }>();
        let rest = self.slice::<{ offset::SIGNATURE_END }, { Self::SIZE - offset::SIGNATURE_END }>();
        r.iter().chain(s).chain(rest).copied()
    }

    /// VERSION of the report: 2 to 5.
    pub fn version(&self) -> u32 {
        u32::from_le_bytes(self.field::<{ offset::VERSION }, 4>())
    }

    /// GUEST_SVN of the ID block.
    pub fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(self.field::<{ offset::GUEST_SVN }, 4>())
    }

    /// POLICY.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy::new(u64::from_le_bytes(self.field::<{ offset::POLICY }, 8>()))
    }

    /// FAMILY_ID of the ID block.
    pub fn family_id(&self) -> &[u8; 16] {
        self.slice::<{ offset::FAMILY_ID }, 16>()
    }

    /// IMAGE_ID of the ID block.
    pub fn image_id(&self) -> &[u8; 16] {
        self.slice::<{ offset::IMAGE_ID }, 16>()
    }

    /// VMPL that asked for the report.
    pub fn vmpl(&self) -> u32 {
        u32::from_le_bytes(self.field::<{ offset::VMPL }, 4>())
    }

    /// PLATFORM_INFO, as it stands.
    pub fn platform_info(&self) -> u64 {
        u64::from_le_bytes(self.field::<{ offset::PLATFORM_INFO }, 8>())
    }

    fn key_info(&self) -> u32 {
        u32::from_le_bytes(self.field::<{ offset::KEY_INFO }, 4>())
    }

    /// AUTHOR_KEY_EN: an author key certified the ID key, and its digest is in the report.
    pub fn author_key_en(&self) -> bool {
        self.key_info() & 1 == 1
    }

    /// MASK_CHIP_KEY: the firmware was told not to sign.
    pub fn mask_chip_key(&self) -> bool {
        self.key_info() >> 1 & 1 == 1
    }

    /// SIGNING_KEY: which kind of key signed. `None` if the report says that none did.
    pub fn signing_key(&self) -> Option<EndorsementKind> {
        match self.key_info() >> 2 & 7 {
            0 => Some(EndorsementKind::Vcek),
            1 => Some(EndorsementKind::Vlek),
            _ => None,
        }
    }

    /// REPORT_DATA: what the guest had the chip sign.
    pub fn report_data(&self) -> &[u8; 64] {
        self.slice::<{ offset::REPORT_DATA }, 64>()
    }

    /// MEASUREMENT of the launch.
    pub fn measurement(&self) -> &[u8; 48] {
        self.slice::<{ offset::MEASUREMENT }, 48>()
    }

    /// HOST_DATA: chosen by the host at launch.
    pub fn host_data(&self) -> &[u8; 32] {
        self.slice::<{ offset::HOST_DATA }, 32>()
    }

    /// ID_KEY_DIGEST: zero without an ID block.
    pub fn id_key_digest(&self) -> &[u8; 48] {
        self.slice::<{ offset::ID_KEY_DIGEST }, 48>()
    }

    /// AUTHOR_KEY_DIGEST: meaningful with [`Report::author_key_en`] alone.
    pub fn author_key_digest(&self) -> &[u8; 48] {
        self.slice::<{ offset::AUTHOR_KEY_DIGEST }, 48>()
    }

    /// REPORT_ID: the guest's.
    pub fn report_id(&self) -> &[u8; 32] {
        self.slice::<{ offset::REPORT_ID }, 32>()
    }

    /// REPORT_ID_MA: the migration agent's, all ones without one.
    pub fn report_id_ma(&self) -> &[u8; 32] {
        self.slice::<{ offset::REPORT_ID_MA }, 32>()
    }

    /// CHIP_ID: zero where the host masks it.
    pub fn chip_id(&self) -> &[u8; 64] {
        self.slice::<{ offset::CHIP_ID }, 64>()
    }

    /// Whether CHIP_ID is all zeros: the host had the firmware leave it out (MASK_CHIP_ID).
    pub fn chip_is_masked(&self) -> bool {
        self.chip_id().iter().all(|byte| *byte == 0)
    }

    /// CPUID of the CPU. `None` in version 2, which does not say.
    pub fn cpuid(&self) -> Option<Cpuid> {
        let [family, model, stepping] = self.field::<{ offset::CPUID }, 3>();
        (self.version() >= 3).then_some(Cpuid { family, model, stepping })
    }

    /// CURRENT_MAJOR, CURRENT_MINOR and CURRENT_BUILD of the SNP firmware.
    pub fn current_version(&self) -> (u8, u8, u8) {
        let [build, minor, major] = self.field::<{ offset::CURRENT_VERSION }, 3>();
        (major, minor, build)
    }

    /// COMMITTED_MAJOR, COMMITTED_MINOR and COMMITTED_BUILD of the SNP firmware.
    pub fn committed_version(&self) -> (u8, u8, u8) {
        let [build, minor, major] = self.field::<{ offset::COMMITTED_VERSION }, 3>();
        (major, minor, build)
    }

    /// LAUNCH_MIT_VECTOR: the mitigations that the firmware had verified at launch. `None` before version 5.
    pub fn launch_mit_vector(&self) -> Option<u64> {
        let vector = u64::from_le_bytes(self.field::<{ offset::LAUNCH_MIT_VECTOR }, 8>());
        (self.version() >= 5).then_some(vector)
    }

    /// CURRENT_MIT_VECTOR: those that it has verified now. `None` before version 5.
    pub fn current_mit_vector(&self) -> Option<u64> {
        let vector = u64::from_le_bytes(self.field::<{ offset::CURRENT_MIT_VECTOR }, 8>());
        (self.version() >= 5).then_some(vector)
    }

    /// REPORTED_TCB in `product`'s layout: the version that the signing key was derived for.
    pub fn reported_tcb(&self, product: Product) -> Option<TcbVersion> {
        TcbVersion::from_raw(product, self.field::<{ offset::REPORTED_TCB }, 8>())
    }

    /// CURRENT_TCB in `product`'s layout.
    pub fn current_tcb(&self, product: Product) -> Option<TcbVersion> {
        TcbVersion::from_raw(product, self.field::<{ offset::CURRENT_TCB }, 8>())
    }

    /// CURRENT_TCB and COMMITTED_TCB as they stand, in the layout of whatever product.
    pub fn current_and_committed_tcb(&self) -> ([u8; 8], [u8; 8]) {
        (self.field::<{ offset::CURRENT_TCB }, 8>(), self.field::<{ offset::COMMITTED_TCB }, 8>())
    }

    /// COMMITTED_TCB in `product`'s layout.
    pub fn committed_tcb(&self, product: Product) -> Option<TcbVersion> {
        TcbVersion::from_raw(product, self.field::<{ offset::COMMITTED_TCB }, 8>())
    }

    /// LAUNCH_TCB in `product`'s layout.
    pub fn launch_tcb(&self, product: Product) -> Option<TcbVersion> {
        TcbVersion::from_raw(product, self.field::<{ offset::LAUNCH_TCB }, 8>())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("version", &self.version()).finish_non_exhaustive()
    }
}
