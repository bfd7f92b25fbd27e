//! The demands on the platform: each is the operator's, or a registration's, and both must hold.

use std::fmt;

use keybroker_snp::{
    few::list,
    product::{Product, TcbVersion},
    report::Report,
    verify::Outcome,
};

use super::{AppraisalError, Inputs};
use crate::platform::{
    BySilicon, ChipId, Condition, FirmwareVersion, Levels, MitigationBits, OfSilicon, PlatformDemands, Row,
    SiliconKey, Version,
};

/// The party that makes a demand. Both parties' demands hold, so the stricter one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemandedBy {
    /// The operator, of every guest.
    Operator,
    /// The registration, of its own.
    Registration,
}

impl DemandedBy {
    fn demands<'a>(self, inputs: &Inputs<'a>) -> &'a PlatformDemands {
        match self {
            Self::Operator => &inputs.fleet.platform,
            Self::Registration => &inputs.policy.platform,
        }
    }
}

impl fmt::Display for DemandedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "the operator",
            Self::Registration => "the registration",
        })
    }
}

/// The fault of a platform, as the continuation of a sentence about the party that demands otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformFault {
    /// A product that is not admitted.
    #[error("admits {}, the chip is a {found}", list(.admitted))]
    Product {
        /// The chip's.
        found: Product,
        /// Those that are admitted.
        admitted: Vec<Product>,
    },
    /// A chip that is not admitted.
    #[error(
        "admits {admitted} chips by their ids, and not {}",
        .found.map_or("one that the host masks".to_owned(), |chip| chip.to_string())
    )]
    Chip {
        /// The chip's id. `None` if the host masks it.
        found: Option<ChipId>,
        /// How many chips are admitted.
        admitted: usize,
    },
    /// A TCB version is below its floor.
    #[error(
        "demands a {} TCB of at least {required}, the report has {}",
        .version.name(), .found.map_or("one that is unreadable".to_owned(), |tcb| tcb.to_string())
    )]
    Tcb {
        /// Which version.
        version: Version,
        /// In the report; `None` if it sets reserved bits.
        found: Option<TcbVersion>,
        /// The floor.
        required: Levels,
    },
    /// A mitigation is missing.
    #[error(
        "demands the mitigations {required} {}, {}",
        .when.words(), lacks(*.missing)
    )]
    Mitigations {
        /// Which vector.
        when: When,
        /// The bits that the report lacks. `None` if its version has no vectors.
        missing: Option<MitigationBits>,
        /// The bits that it must have.
        required: MitigationBits,
    },
    /// There are rows for some silicon, and none for this.
    #[error(
        "says for some silicon which {what} it demands, and nothing for {silicon}{}",
        alone(*.silicon, *.product_named)
    )]
    Unnamed {
        /// The kind of the demand, in words.
        what: &'static str,
        /// The silicon, or for a report of version 2 the product.
        silicon: SiliconKey,
        /// Whether the silicon's product has a row.
        product_named: bool,
    },
    /// A condition does not hold.
    #[error("demands {condition}, and the platform {}", .condition.missed())]
    Condition {
        /// Which.
        condition: Condition,
    },
    /// The firmware is too old.
    #[error("demands firmware {required} or later, the platform runs {found}")]
    Firmware {
        /// In the report.
        found: FirmwareVersion,
        /// The least.
        required: FirmwareVersion,
    },
}

fn lacks(missing: Option<MitigationBits>) -> String {
    missing.map_or("the report is of a version that tells none".to_owned(), |bits| {
        format!("the report lacks {bits}")
    })
}

/// The hint for an operator who named the product and not the stepping, or the reverse.
fn alone(silicon: SiliconKey, product_named: bool) -> &'static str {
    match silicon {
        SiliconKey::Silicon(_) if product_named => {
            ": the row of its product is for reports of version 2, which name no stepping"
        }
        SiliconKey::Silicon(_) => "",
        SiliconKey::Product(_) => {
            ": the report is of version 2, which names no stepping, so a row of its product holds"
        }
    }
}

/// One of the mitigation vectors in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// CURRENT_MIT_VECTOR.
    Current,
    /// LAUNCH_MIT_VECTOR.
    Launch,
}

impl When {
    fn words(self) -> &'static str {
        match self {
            Self::Current => "now",
            Self::Launch => "at the launch",
        }
    }

    fn of(self, report: &Report) -> Option<u64> {
        match self {
            Self::Current => report.current_mit_vector(),
            Self::Launch => report.launch_mit_vector(),
        }
    }
}

type Checked = Outcome<AppraisalError>;

fn require(by: DemandedBy, holds: bool, fault: impl FnOnce() -> PlatformFault) -> Checked {
    if holds { Outcome::Passed } else { Outcome::Failed(AppraisalError::Platform { by, fault: fault() }) }
}

/// Holds a report to the row of its silicon. Some silicon's levels say nothing of another's, so silicon that
/// is not named is refused as soon as any is.
fn by_silicon<T: OfSilicon>(
    inputs: &Inputs<'_>,
    by: DemandedBy,
    rows: &BySilicon<T>,
    what: &'static str,
    check: impl FnOnce(Product, &T) -> Checked,
) -> Checked {
    if rows.is_empty() {
        return Outcome::Passed;
    }
    let Some(product) = inputs.product else { return Outcome::NotChecked };
    match rows.row(inputs.report, product) {
        Row::NoDemand => Outcome::Passed,
        Row::Held(row) => check(product, row),
        Row::Unnamed(silicon) => require(by, false, || PlatformFault::Unnamed {
            what,
            silicon,
            product_named: rows.names(SiliconKey::Product(product)),
        }),
    }
}

pub(super) fn product(inputs: &Inputs<'_>, by: DemandedBy) -> Checked {
    let Some(admitted) = &by.demands(inputs).products else { return Outcome::Passed };
    let Some(found) = inputs.product else { return Outcome::NotChecked };
    require(by, admitted.contains(&found), || PlatformFault::Product { found, admitted: admitted.clone() })
}

pub(super) fn chip(inputs: &Inputs<'_>, by: DemandedBy) -> Checked {
    let Some(admitted) = &by.demands(inputs).chips else { return Outcome::Passed };
    let found = ChipId::of(inputs.report);
    let holds = found.is_some_and(|found| admitted.contains(&found));
    require(by, holds, || PlatformFault::Chip { found, admitted: admitted.len() })
}

pub(super) fn minimum_tcb(inputs: &Inputs<'_>, by: DemandedBy, version: Version) -> Checked {
    let demands = by.demands(inputs);
    let (rows, what) = match version {
        Version::Reported => (&demands.minimum_tcb, "reported TCB"),
        Version::Committed => (&demands.minimum_committed_tcb, "committed TCB"),
        Version::Current => (&demands.minimum_current_tcb, "current TCB"),
        Version::Launch => (&demands.minimum_launch_tcb, "launch TCB"),
    };
    by_silicon(inputs, by, rows, what, |product, required| {
        let found = version.of(inputs.report, product);
        let holds = found.is_some_and(|found| required.hold_for(&found));
        require(by, holds, || PlatformFault::Tcb { version, found, required: *required })
    })
}

pub(super) fn mitigations(inputs: &Inputs<'_>, by: DemandedBy, when: When) -> Checked {
    let demands = by.demands(inputs);
    let (rows, what) = match when {
        When::Current => (&demands.current_mitigations, "mitigations"),
        When::Launch => (&demands.launch_mitigations, "mitigations at the launch"),
    };
    by_silicon(inputs, by, rows, what, |_, required| {
        let missing = when.of(inputs.report).map(|vector| required.missing_in(vector));
        require(by, missing == Some(None), || PlatformFault::Mitigations {
            when,
            missing: missing.flatten(),
            required: *required,
        })
    })
}

pub(super) fn conditions(inputs: &Inputs<'_>, by: DemandedBy) -> Checked {
    let missed = by.demands(inputs).conditions.iter().find(|condition| !condition.holds(inputs.report));
    missed.map_or(Outcome::Passed, |condition| {
        require(by, false, || PlatformFault::Condition { condition: *condition })
    })
}

pub(super) fn firmware(inputs: &Inputs<'_>, by: DemandedBy) -> Checked {
    let Some(required) = by.demands(inputs).minimum_firmware else { return Outcome::Passed };
    let found = FirmwareVersion::from(inputs.report.current_version());
    require(by, found >= required, || PlatformFault::Firmware { found, required })
}
