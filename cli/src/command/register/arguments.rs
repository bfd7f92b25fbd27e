//! The flags that say what a registration demands of a guest, and what the guest gets.

use std::path::PathBuf;

use anyhow::anyhow;
use keybroker_common::platform::{ChipId, Condition, FirmwareVersion};
use keybroker_snp::product::Product;

use super::{from::abi, init_data::OF_DISK};
use crate::{
    advisories::AdvisoriesArgs,
    bounded,
    exit::{Exit, Failure},
    measurements::MeasurementArgs,
    platform,
    policy_fault::Sources,
};

/// The requirements on a guest, and its secrets.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registration")]
pub(super) struct DocumentArgs {
    /// The JSON document of a registration; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ANY, conflicts_with_all = BY_REFERENCE_VALUES)]
    #[arg(conflicts_with_all = NOT_AS_BUILDAH, conflicts_with_all = OF_DISK)]
    pub(super) from: Option<PathBuf>,
    #[command(flatten)]
    pub(super) measurements: MeasurementArgs,
    /// The key that signs the guest's ID block, as a file with either half or as its digest. Several: one of
    /// them must have signed
    #[arg(long, value_name = "FILE|DIGEST")]
    pub(super) id_key: Vec<String>,
    /// The author key that certified the ID key, likewise
    #[arg(long, value_name = "FILE|DIGEST")]
    pub(super) author_key: Option<String>,
    /// The file of the passphrase, with --workload-id or beside a document of such a registration; one line
    /// break at its end is dropped; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Require that the guest policy forbids SMT
    #[arg(long)]
    pub(super) forbid_smt: bool,
    /// The least ABI that the guest policy must demand, with --workload-id alone: 1.55
    #[arg(long, value_name = "MAJOR.MINOR", value_parser = abi, requires = "workload_id")]
    #[arg(conflicts_with_all = NOT_AS_BUILDAH, conflicts_with_all = OF_DISK)]
    pub(super) minimum_abi: Option<(u8, u8)>,
    /// A secret that the guest gets under a name; for guests of Trustee the name is repository/type/tag
    #[arg(long, value_name = "NAME=FILE", value_parser = resource)]
    pub(super) resource: Vec<(String, PathBuf)>,
    /// A query in Rego that must give true
    #[arg(long, value_name = "REGO")]
    pub(super) query: Vec<String>,
    /// A module in Rego for the queries
    #[arg(long, value_name = "FILE", requires = "query")]
    pub(super) policy: Option<PathBuf>,
    /// A JSON object that the queries see as `data`
    #[arg(long, value_name = "FILE")]
    pub(super) reference_values: Option<PathBuf>,
    /// A requirement on the guest's ID block or policy, as the document names it: id_key_digest=HEX,
    /// minimum_guest_svn=2, single_socket=true
    #[arg(long, value_name = "NAME=VALUE", value_parser = demand)]
    pub(super) require: Vec<(String, String)>,
    /// The least reported TCB of some silicon: milan-b1:bl=4,tee=0,snp=27,ucode=222. Silicon is a stepping's
    /// name, its CPUID signature (0x00A00F11), or for reports of version 2 a product; a guest on other
    /// silicon is refused. `advisories=2026-05` stands for the numbers of AMD's bulletins up to that month,
    /// by rows that you confirmed in a table of your own (--advisories); the command prints them, and sends
    /// them
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor_or_month)]
    pub(super) minimum_tcb: Vec<String>,
    /// The least committed TCB, in the same form
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor)]
    pub(super) minimum_committed_tcb: Vec<String>,
    /// The least current TCB, in the same form
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor)]
    pub(super) minimum_current_tcb: Vec<String>,
    /// The least TCB at launch, in the same form
    #[arg(long, value_name = "FLOOR", value_parser = platform::floor)]
    pub(super) minimum_launch_tcb: Vec<String>,
    /// Bits that CURRENT_MIT_VECTOR of some silicon must have: milan-b1:1+2+4
    #[arg(long, value_name = "BITS", value_parser = platform::bits)]
    pub(super) current_mitigations: Vec<String>,
    /// Bits that LAUNCH_MIT_VECTOR must have, in the same form
    #[arg(long, value_name = "BITS", value_parser = platform::bits)]
    pub(super) launch_mitigations: Vec<String>,
    /// A condition of the platform: alias-check, iommu-writes, tsme, no-smt, rapl-disabled, ecc,
    /// ciphertext-hiding, or committed (no provisional firmware)
    #[arg(long, value_name = "CONDITION", value_parser = platform::condition)]
    pub(super) require_platform: Vec<Condition>,
    /// The least version of the SNP firmware
    #[arg(long, value_name = "MAJOR.MINOR.BUILD", value_parser = platform::firmware)]
    pub(super) minimum_firmware: Option<FirmwareVersion>,
    /// A product that the guest may run on
    #[arg(long, value_name = "milan|genoa|turin", value_parser = platform::product)]
    pub(super) accept_product: Vec<Product>,
    /// A chip that the guest may run on, by its id: 128 hex digits, or 16 of a Turin
    #[arg(long, value_name = "HEX", value_parser = platform::chip)]
    pub(super) accept_chip: Vec<ChipId>,
    #[command(flatten)]
    pub(super) advisories: AdvisoriesArgs,
}

/// The flags with which --workload-id does not register as buildah does, beside those of a disk.
const NOT_AS_BUILDAH: [&str; 2] = ["init_data", "dialect"];

/// The flags of registrations with a workload id, and of both kinds: --from replaces them.
const ANY: [&str; 5] = ["workload_id", "measurement", "measurements", "forbid_smt", "minimum_abi"];

/// The flags that a registration as buildah makes it cannot have: --from replaces them as well, but for
/// secrets.
const BY_REFERENCE_VALUES: [&str; 16] = [
    "id_key",
    "author_key",
    "query",
    "policy",
    "reference_values",
    "require",
    "minimum_tcb",
    "minimum_committed_tcb",
    "minimum_current_tcb",
    "minimum_launch_tcb",
    "current_mitigations",
    "launch_mitigations",
    "require_platform",
    "minimum_firmware",
    "accept_product",
    "accept_chip",
];

impl DocumentArgs {
    /// Where a policy of the registration is written.
    pub(super) fn policy_sources(&self) -> Sources<'_> {
        let in_files = || Sources {
            module: self.policy.as_deref(),
            queries: None,
            reference_values: self.reference_values.as_deref(),
            given: &self.query,
        };
        self.from.as_deref().map_or_else(in_files, Sources::document)
    }

    /// Refuses flags that a registration as buildah makes it cannot have.
    pub(super) fn check_as_buildah(&self) -> Result<(), Failure> {
        let given = [
            ("--id-key", !self.id_key.is_empty()),
            ("--author-key", self.author_key.is_some()),
            ("--resource", !self.resource.is_empty()),
            ("--query", !self.query.is_empty()),
            ("--policy", self.policy.is_some()),
            ("--reference-values", self.reference_values.is_some()),
            ("--require", !self.require.is_empty()),
            ("--minimum-tcb", !self.minimum_tcb.is_empty()),
            ("--minimum-committed-tcb", !self.minimum_committed_tcb.is_empty()),
            ("--minimum-current-tcb", !self.minimum_current_tcb.is_empty()),
            ("--minimum-launch-tcb", !self.minimum_launch_tcb.is_empty()),
            ("--current-mitigations", !self.current_mitigations.is_empty()),
            ("--launch-mitigations", !self.launch_mitigations.is_empty()),
            ("--require-platform", !self.require_platform.is_empty()),
            ("--minimum-firmware", self.minimum_firmware.is_some()),
            ("--accept-product", !self.accept_product.is_empty()),
            ("--accept-chip", !self.accept_chip.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                let error = anyhow!("{flag} cannot be used with --workload-id alone");
                Err(Failure::new(Exit::Usage, error).hint(
                    "add --disk, --init-data or --dialect trustee, or leave --workload-id out: the broker draws \
                     an id then",
                ))
            }
        }
    }

    /// Refuses to read standard input twice, or from a terminal, where others see a secret being typed.
    pub(super) fn check_standard_input(&self) -> Result<(), Failure> {
        let files = [&self.from, &self.passphrase_file, &self.policy, &self.reference_values];
        let resources = self.resource.iter().map(|(_, path)| path);
        let files = files.into_iter().flatten().chain(self.measurements.files());
        let times = files.chain(resources).filter(|path| bounded::is_stdin(path)).count();
        match times {
            0 => Ok(()),
            1 => bounded::check_piped(),
            _ => {
                let error = anyhow!("only one of the files can be standard input");
                Err(Failure::new(Exit::Usage, error))
            }
        }
    }
}

fn pair(text: &str) -> Result<(&str, &str), &'static str> {
    text.split_once('=').ok_or("must be NAME=VALUE")
}

fn resource(text: &str) -> Result<(String, PathBuf), &'static str> {
    let (name, path) = text.split_once('=').ok_or("must be NAME=FILE")?;
    Ok((name.to_owned(), path.into()))
}

fn demand(text: &str) -> Result<(String, String), &'static str> {
    pair(text).map(|(name, value)| (name.to_owned(), value.to_owned()))
}
