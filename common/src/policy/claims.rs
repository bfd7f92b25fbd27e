//! The claims of a report that a policy sees: `input`.
//!
//! At the root stand the claims that queries beside reference values name, all strings; under `input.snp` is
//! every field of the report, typed. `docs/claims.schema.json` is their JSON schema.

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::encoding::amd;
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
    report::{GuestPolicy, Report},
    silicon::Cpuid,
    verify::VerifiedReport,
};

/// The claims of one report. Numbers and booleans at the root are strings: `"1"`, `"true"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Claims {
    /// MEASUREMENT, hex.
    pub measurement: String,
    /// ABI_MAJOR of the guest policy.
    pub policy_abi_major: String,
    /// ABI_MINOR of the guest policy.
    pub policy_abi_minor: String,
    /// SMT of the guest policy.
    pub policy_smt_allowed: String,
    /// MIGRATE_MA of the guest policy.
    pub policy_migrate_ma: String,
    /// DEBUG of the guest policy.
    pub policy_debug_allowed: String,
    /// SINGLE_SOCKET of the guest policy.
    pub policy_single_socket: String,
    /// Bootloader of REPORTED_TCB.
    pub reported_tcb_bootloader: String,
    /// PSP operating system of REPORTED_TCB.
    pub reported_tcb_tee: String,
    /// SNP firmware of REPORTED_TCB.
    pub reported_tcb_snp: String,
    /// Microcode of REPORTED_TCB.
    pub reported_tcb_microcode: String,
    /// TSME_EN of PLATFORM_INFO.
    pub platform_tsme_enabled: String,
    /// SMT_EN of PLATFORM_INFO.
    pub platform_smt_enabled: String,
    /// The whole report.
    pub snp: SnpClaims,
}

/// A report, field by field (SEV-SNP firmware ABI, ATTESTATION_REPORT). Byte strings are lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnpClaims {
    /// VERSION of the report, 2 to 5.
    pub version: u32,
    /// Product line of the chip: `"milan"`, `"genoa"` or `"turin"`.
    #[cfg_attr(feature = "schema", schemars(with = "ProductName"))]
    #[serde(serialize_with = "amd::product::serialize")]
    pub product: Product,
    /// Which kind of key signed: `"vcek"` or `"vlek"`. `null` if the report says that none did.
    #[cfg_attr(feature = "schema", schemars(with = "Option<KeyName>"))]
    #[serde(serialize_with = "amd::optional_kind::serialize")]
    pub signing_key: Option<EndorsementKind>,
    /// CSP_ID of the VLEK's certificate, with its prefix (`CN=…`). `null` for a VCEK.
    pub csp_id: Option<String>,
    /// GUEST_SVN of the ID block.
    pub guest_svn: u32,
    /// POLICY: what the guest was launched under.
    pub policy: PolicyClaims,
    /// FAMILY_ID of the ID block, 16 bytes.
    pub family_id: String,
    /// IMAGE_ID of the ID block, 16 bytes.
    pub image_id: String,
    /// VMPL that asked for the report.
    pub vmpl: u32,
    /// PLATFORM_INFO: how the platform is set up.
    pub platform: PlatformClaims,
    /// AUTHOR_KEY_EN: `author_key_digest` means something.
    pub author_key_en: bool,
    /// MASK_CHIP_KEY: the firmware was told not to sign.
    pub mask_chip_key: bool,
    /// REPORT_DATA, 64 bytes.
    pub report_data: String,
    /// MEASUREMENT, 48 bytes.
    pub measurement: String,
    /// HOST_DATA, 32 bytes: chosen by the host.
    pub host_data: String,
    /// ID_KEY_DIGEST, 48 bytes: zero without an ID block.
    pub id_key_digest: String,
    /// AUTHOR_KEY_DIGEST, 48 bytes.
    pub author_key_digest: String,
    /// REPORT_ID, 32 bytes.
    pub report_id: String,
    /// REPORT_ID_MA, 32 bytes: all ones without a migration agent.
    pub report_id_ma: String,
    /// REPORTED_TCB: what the signing key was derived for.
    pub reported_tcb: Option<TcbClaims>,
    /// CURRENT_TCB: what the platform runs.
    pub current_tcb: Option<TcbClaims>,
    /// COMMITTED_TCB: below which the platform can't be rolled back.
    pub committed_tcb: Option<TcbClaims>,
    /// LAUNCH_TCB: what the platform ran when the guest was launched.
    pub launch_tcb: Option<TcbClaims>,
    /// CPUID family, model and stepping. `null` in version 2, which does not say.
    pub cpuid: Option<CpuidClaims>,
    /// CHIP_ID, 64 bytes: zero if it is masked or with a VLEK; a Turin's first 8 if the policy names it so.
    pub chip_id: String,
    /// Version of the SNP firmware that runs.
    pub current_version: FirmwareClaims,
    /// Version of the SNP firmware that is committed.
    pub committed_version: FirmwareClaims,
    /// LAUNCH_MIT_VECTOR. `null` before version 5.
    pub launch_mit_vector: Option<u64>,
    /// CURRENT_MIT_VECTOR. `null` before version 5.
    pub current_mit_vector: Option<u64>,
}

/// GUEST_POLICY.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyClaims {
    /// ABI_MAJOR.
    pub abi_major: u8,
    /// ABI_MINOR.
    pub abi_minor: u8,
    /// SMT: the guest may run with simultaneous multithreading on.
    pub smt_allowed: bool,
    /// MIGRATE_MA: a migration agent may be associated. The broker refuses it whatever a policy says.
    pub migrate_ma_allowed: bool,
    /// DEBUG: the host may read the guest's memory. The broker refuses it whatever a policy says.
    pub debug_allowed: bool,
    /// SINGLE_SOCKET: the guest runs on one socket only.
    pub single_socket: bool,
    /// CXL_ALLOW: CXL devices and memory may be there.
    pub cxl_allowed: bool,
    /// MEM_AES_256_XTS: memory must be encrypted with AES-256-XTS.
    pub mem_aes_256_xts: bool,
    /// RAPL_DIS: running average power limit must be off.
    pub rapl_disabled: bool,
    /// CIPHERTEXT_HIDING_DRAM: DRAM ciphertext must be hidden from the host.
    pub ciphertext_hiding: bool,
    /// PAGE_SWAP_DISABLE: pages must not be swapped, moved or the like.
    pub page_swap_disabled: bool,
}

/// PLATFORM_INFO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlatformClaims {
    /// SMT_EN: simultaneous multithreading is on.
    pub smt_enabled: bool,
    /// TSME_EN: transparent memory encryption is on.
    pub tsme_enabled: bool,
    /// ECC_EN: memory has error correction.
    pub ecc_enabled: bool,
    /// RAPL_DIS: running average power limit is off.
    pub rapl_disabled: bool,
    /// CIPHERTEXT_HIDING_DRAM_EN: DRAM ciphertext is hidden from the host.
    pub ciphertext_hiding_enabled: bool,
    /// ALIAS_CHECK_COMPLETE: no two addresses of memory are the same since the last boot.
    pub alias_check_complete: bool,
    /// TIO_EN: trusted I/O is on.
    pub tio_enabled: bool,
}

/// TCB_VERSION. `null` in its place: the report sets bytes that the product's layout reserves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TcbClaims {
    /// Firmware management controller: Turin only, `null` elsewhere.
    pub fmc: Option<u8>,
    /// Bootloader.
    pub boot_loader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// CPU microcode.
    pub microcode: u8,
}

/// CPUID_FAM_ID, CPUID_MOD_ID and CPUID_STEP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuidClaims {
    /// Combined family.
    pub family: u8,
    /// Combined model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// A version of the SNP firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FirmwareClaims {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// How a product is written.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "stands for its names in the schema")]
enum ProductName {
    Milan,
    Genoa,
    Turin,
}

/// How a signing key is written.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "stands for its names in the schema")]
enum KeyName {
    Vcek,
    Vlek,
}

impl Claims {
    /// Claims of no report, to try a policy with: every number is zero and every permission refused.
    pub fn sample() -> Self {
        Self::unverified(&Report::blank(), Product::Milan, None)
    }

    /// Claims of no report, which together have everything that a claim can be: for their names and kinds.
    pub fn samples() -> [Self; 3] {
        [Self::sample(), Self::full(), Self::scant()]
    }

    /// None of them is `null`.
    fn full() -> Self {
        let sample = Self::sample();
        let tcb = Some(TcbClaims { fmc: Some(0), boot_loader: 0, tee: 0, snp: 0, microcode: 0 });
        let snp = SnpClaims {
            signing_key: Some(EndorsementKind::Vcek),
            csp_id: Some(String::new()),
            reported_tcb: tcb.clone(),
            current_tcb: tcb.clone(),
            committed_tcb: tcb.clone(),
            launch_tcb: tcb,
            cpuid: Some(CpuidClaims { family: 0, model: 0, stepping: 0 }),
            launch_mit_vector: Some(0),
            current_mit_vector: Some(0),
            ..sample.snp
        };
        Self { snp, ..sample }
    }

    /// All of them are `null` that can be.
    fn scant() -> Self {
        let sample = Self::sample();
        let snp = SnpClaims {
            signing_key: None,
            csp_id: None,
            reported_tcb: None,
            current_tcb: None,
            committed_tcb: None,
            launch_tcb: None,
            cpuid: None,
            launch_mit_vector: None,
            current_mit_vector: None,
            ..sample.snp
        };
        Self { snp, ..sample }
    }

    /// The claims of a verified report.
    pub fn of(verified: &VerifiedReport) -> Self {
        Self::unverified(verified.report(), verified.product(), verified.csp_id())
    }

    /// The claims of a report that nobody verified: to try a policy with. Nothing may be granted on them.
    pub fn unverified(report: &Report, product: Product, csp_id: Option<&str>) -> Self {
        let policy = PolicyClaims::of(report.policy());
        let platform = PlatformClaims::of(report.platform_info());
        // An unreadable TCB has no levels at all: no comparison with "" holds.
        let tcb = report.reported_tcb(product);
        let level =
            |read: fn(&TcbVersion) -> u8| tcb.as_ref().map_or(String::new(), |tcb| read(tcb).to_string());
        Self {
            measurement: HEXLOWER.encode(report.measurement()),
            policy_abi_major: policy.abi_major.to_string(),
            policy_abi_minor: policy.abi_minor.to_string(),
            policy_smt_allowed: policy.smt_allowed.to_string(),
            policy_migrate_ma: policy.migrate_ma_allowed.to_string(),
            policy_debug_allowed: policy.debug_allowed.to_string(),
            policy_single_socket: policy.single_socket.to_string(),
            reported_tcb_bootloader: level(|tcb| tcb.boot_loader),
            reported_tcb_tee: level(|tcb| tcb.tee),
            reported_tcb_snp: level(|tcb| tcb.snp),
            reported_tcb_microcode: level(|tcb| tcb.microcode),
            platform_tsme_enabled: platform.tsme_enabled.to_string(),
            platform_smt_enabled: platform.smt_enabled.to_string(),
            snp: SnpClaims::of(report, product, csp_id, policy, platform),
        }
    }
}

impl SnpClaims {
    fn of(
        report: &Report,
        product: Product,
        csp_id: Option<&str>,
        policy: PolicyClaims,
        platform: PlatformClaims,
    ) -> Self {
        Self {
            version: report.version(),
            product,
            signing_key: report.signing_key(),
            csp_id: csp_id.map(str::to_owned),
            guest_svn: report.guest_svn(),
            policy,
            family_id: HEXLOWER.encode(report.family_id()),
            image_id: HEXLOWER.encode(report.image_id()),
            vmpl: report.vmpl(),
            platform,
            author_key_en: report.author_key_en(),
            mask_chip_key: report.mask_chip_key(),
            report_data: HEXLOWER.encode(report.report_data()),
            measurement: HEXLOWER.encode(report.measurement()),
            host_data: HEXLOWER.encode(report.host_data()),
            id_key_digest: HEXLOWER.encode(report.id_key_digest()),
            author_key_digest: HEXLOWER.encode(report.author_key_digest()),
            report_id: HEXLOWER.encode(report.report_id()),
            report_id_ma: HEXLOWER.encode(report.report_id_ma()),
            reported_tcb: report.reported_tcb(product).map(TcbClaims::of),
            current_tcb: report.current_tcb(product).map(TcbClaims::of),
            committed_tcb: report.committed_tcb(product).map(TcbClaims::of),
            launch_tcb: report.launch_tcb(product).map(TcbClaims::of),
            cpuid: CpuidClaims::of(report),
            chip_id: HEXLOWER.encode(report.chip_id()),
            current_version: FirmwareClaims::of(report.current_version()),
            committed_version: FirmwareClaims::of(report.committed_version()),
            launch_mit_vector: report.launch_mit_vector(),
            current_mit_vector: report.current_mit_vector(),
        }
    }
}

fn bit(bits: u64, index: u32) -> bool {
    bits >> index & 1 == 1
}

impl PolicyClaims {
    fn of(policy: GuestPolicy) -> Self {
        let (abi_major, abi_minor) = policy.abi();
        Self {
            abi_major,
            abi_minor,
            smt_allowed: policy.smt_allowed(),
            migrate_ma_allowed: policy.migrate_ma_allowed(),
            debug_allowed: policy.debug_allowed(),
            single_socket: policy.single_socket(),
            cxl_allowed: bit(policy.bits(), 21),
            mem_aes_256_xts: bit(policy.bits(), 22),
            rapl_disabled: bit(policy.bits(), 23),
            ciphertext_hiding: policy.ciphertext_hiding(),
            page_swap_disabled: bit(policy.bits(), 25),
        }
    }
}

impl PlatformClaims {
    fn of(info: u64) -> Self {
        Self {
            smt_enabled: bit(info, 0),
            tsme_enabled: bit(info, 1),
            ecc_enabled: bit(info, 2),
            rapl_disabled: bit(info, 3),
            ciphertext_hiding_enabled: bit(info, 4),
            alias_check_complete: bit(info, 5),
            tio_enabled: bit(info, 7),
        }
    }
}

impl TcbClaims {
    fn of(tcb: TcbVersion) -> Self {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = tcb;
        Self { fmc, boot_loader, tee, snp, microcode }
    }
}

impl CpuidClaims {
    fn of(report: &Report) -> Option<Self> {
        let Cpuid { family, model, stepping } = report.cpuid()?;
        Some(Self { family, model, stepping })
    }
}

impl FirmwareClaims {
    fn of((major, minor, build): (u8, u8, u8)) -> Self {
        Self { major, minor, build }
    }
}

/// The JSON schema of [`Claims`].
#[cfg(feature = "schema")]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Claims)
}
