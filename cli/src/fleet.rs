//! The operator's demands on every guest, as arguments.

use std::sync::Arc;

use keybroker_common::{
    advisories::Advisories,
    appraisal::Fleet,
    platform::{ChipId, Condition, FirmwareVersion, PlatformDemands},
};
use keybroker_snp::product::Product;

use crate::{
    advisories::{self, AdvisoriesArgs},
    exit::Failure,
    platform::{self, rows, some},
};

/// The demands that every guest must meet, whatever its registration says.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Demands on every guest")]
pub(crate) struct FleetArgs {
    /// Accept reports signed with the VLEK of this cloud provider, named by its CSP id. By default no VLEK is
    /// accepted. May be given several times (in the variable: separated by `;`).
    #[arg(long, env = "KEYBROKER_ACCEPT_CSP_IDS", value_delimiter = ';', value_name = "ID")]
    pub(crate) accept_csp_id: Vec<String>,
    /// Accept only guests on this product. By default all products are accepted. May be given several times,
    /// to accept several (in the variable: separated by `;`).
    #[arg(
        long,
        env = "KEYBROKER_ACCEPT_PRODUCTS",
        value_delimiter = ';',
        value_parser = platform::product,
        value_name = "milan|genoa|turin"
    )]
    accept_product: Vec<Product>,
    /// Accept only guests on this chip: its id has 128 hex digits, or 16 on a Turin. By default all chips are
    /// accepted. May be given several times (in the variable: separated by `;`).
    #[arg(
        long,
        env = "KEYBROKER_ACCEPT_CHIPS",
        value_delimiter = ';',
        value_parser = platform::chip,
        value_name = "HEX"
    )]
    accept_chip: Vec<ChipId>,
    /// The least reported TCB of some silicon: `milan-b1:bl=4,tee=0,snp=27,ucode=222`. Silicon is a
    /// stepping's name, its CPUID signature (`0x00A00F11`), or for reports of version 2 a product. Guests on
    /// silicon that no floor names are then refused. May be given once for each (in the variable: separated
    /// by `;`).
    ///
    /// `advisories=2026-05` stands for the numbers of AMD's bulletins up to that month, by rows that you
    /// confirmed in a table of your own (--advisories).
    #[arg(
        long,
        env = "KEYBROKER_MINIMUM_TCB",
        value_delimiter = ';',
        value_parser = platform::floor_or_month,
        value_name = "FLOOR"
    )]
    minimum_tcb: Vec<String>,
    /// The least committed TCB, likewise.
    #[arg(
        long,
        env = "KEYBROKER_MINIMUM_COMMITTED_TCB",
        value_delimiter = ';',
        value_parser = platform::floor,
        value_name = "FLOOR"
    )]
    minimum_committed_tcb: Vec<String>,
    /// The least current TCB, likewise.
    #[arg(
        long,
        env = "KEYBROKER_MINIMUM_CURRENT_TCB",
        value_delimiter = ';',
        value_parser = platform::floor,
        value_name = "FLOOR"
    )]
    minimum_current_tcb: Vec<String>,
    /// The least TCB at the guest's launch, likewise.
    #[arg(
        long,
        env = "KEYBROKER_MINIMUM_LAUNCH_TCB",
        value_delimiter = ';',
        value_parser = platform::floor,
        value_name = "FLOOR"
    )]
    minimum_launch_tcb: Vec<String>,
    /// Bits that CURRENT_MIT_VECTOR of some silicon must have: `milan-b1:1+2+4`. Likewise.
    #[arg(
        long,
        env = "KEYBROKER_CURRENT_MITIGATIONS",
        value_delimiter = ';',
        value_parser = platform::bits,
        value_name = "BITS"
    )]
    current_mitigations: Vec<String>,
    /// Bits that LAUNCH_MIT_VECTOR must have, likewise.
    #[arg(
        long,
        env = "KEYBROKER_LAUNCH_MITIGATIONS",
        value_delimiter = ';',
        value_parser = platform::bits,
        value_name = "BITS"
    )]
    launch_mitigations: Vec<String>,
    /// A condition of the platform: alias-check, iommu-writes, tsme, no-smt, rapl-disabled, ecc,
    /// ciphertext-hiding, or committed (no provisional firmware). May be given several times (in the
    /// variable: separated by `;`).
    #[arg(
        long,
        env = "KEYBROKER_REQUIRE_PLATFORM",
        value_delimiter = ';',
        value_parser = platform::condition,
        value_name = "CONDITION"
    )]
    require_platform: Vec<Condition>,
    /// The least version of the SNP firmware.
    #[arg(
        long,
        env = "KEYBROKER_MINIMUM_FIRMWARE",
        value_parser = platform::firmware,
        value_name = "MAJOR.MINOR.BUILD"
    )]
    minimum_firmware: Option<FirmwareVersion>,
    /// Accept guests on a platform of any TCB. Without it and without a floor, the broker serves on the
    /// loopback alone.
    #[arg(long, env = "KEYBROKER_ACCEPT_ANY_TCB", value_parser = clap::builder::BoolishValueParser::new())]
    accept_any_tcb: bool,
    #[command(flatten)]
    advisories: AdvisoriesArgs,
}

impl FleetArgs {
    /// The demands, if they are consistent, with the floors that the table of AMD's bulletins sets; and the
    /// table.
    pub(crate) fn read(&self) -> Result<(Fleet, Arc<Advisories>), Failure> {
        let (minimum_tcb, month) = platform::by_month("--minimum-tcb", &self.minimum_tcb)?;
        let mut fleet = Fleet {
            platform: PlatformDemands {
                products: some(&self.accept_product),
                chips: some(&self.accept_chip),
                minimum_tcb,
                minimum_committed_tcb: rows("--minimum-committed-tcb", &self.minimum_committed_tcb)?,
                minimum_current_tcb: rows("--minimum-current-tcb", &self.minimum_current_tcb)?,
                minimum_launch_tcb: rows("--minimum-launch-tcb", &self.minimum_launch_tcb)?,
                current_mitigations: rows("--current-mitigations", &self.current_mitigations)?,
                launch_mitigations: rows("--launch-mitigations", &self.launch_mitigations)?,
                conditions: self.require_platform.clone(),
                minimum_firmware: self.minimum_firmware,
            },
            accepted_csp_ids: self.accept_csp_id.clone(),
            any_tcb: self.accept_any_tcb,
        };
        let table =
            self.advisories.choice(month).resolve(&mut fleet.platform).map_err(advisories::refused)?;
        Ok((fleet, table))
    }
}
