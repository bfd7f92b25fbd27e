//! Floors out of a table: the numbers of confirmed rows, up to a month.

use std::collections::BTreeMap;

use jiff::civil::Date;
use keybroker_snp::silicon::Cpuid;

use super::{Advisories, Month, Row};
use crate::platform::{
    BySilicon, Condition, DemandError, Levels, MitigationBits, OfSilicon, PlatformDemands, SiliconKey,
};

/// Demands that the confirmed rows of a table make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floors {
    /// Floors of the reported TCB.
    pub minimum_tcb: BySilicon<Levels>,
    /// Bits that CURRENT_MIT_VECTOR must have.
    pub current_mitigations: BySilicon<MitigationBits>,
    /// Conditions. They hold for every guest, whatever its silicon.
    pub conditions: Vec<Condition>,
    /// The number of rows up to that month that demand something and set no floor: nobody confirmed them.
    pub left_out: usize,
}

/// Why a table sets no floor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FloorsError {
    /// The month is later than the table, which knows none of its bulletins.
    #[error(
        "the table is of {date}, and knows no bulletin of {month}: name an earlier month, or give a newer \
         file"
    )]
    Later {
        /// The month.
        month: Month,
        /// The table's date.
        date: Date,
    },
    /// No row up to that month that demands something is confirmed.
    #[error(
        "no operator has confirmed a row up to {month} that demands something (rows up to there: {rows}): read the \
         bulletins at AMD, and write `read_at_amd` and `confirmed` into a file of your own (--advisories)"
    )]
    NoneConfirmed {
        /// The last month.
        month: Month,
        /// The number of rows up to it.
        rows: usize,
    },
    /// A row demands something that no floor can.
    #[error("the row of {bulletin} for {} {}", silicon.text(), cause.text())]
    Demand {
        /// The row's bulletin.
        bulletin: String,
        /// The row's silicon.
        silicon: Cpuid,
        /// Why not.
        cause: DemandError,
    },
}

impl Advisories {
    /// The floors that the confirmed rows up to `month` set: of several levels the highest, and all bits and
    /// conditions. Fails if no operator confirmed any, and if the table is older than the month: the operator
    /// would believe in a floor that no row sets.
    pub fn floors(&self, month: Month) -> Result<Floors, FloorsError> {
        if month.first_day() > self.date() {
            return Err(FloorsError::Later { month, date: self.date() });
        }
        let until = self.rows().iter().filter(|row| row.published <= month);
        let (confirmed, others): (Vec<&Row>, Vec<&Row>) =
            until.partition(|row| row.confirmed.is_some() && row.is_shown());
        if confirmed.is_empty() {
            return Err(FloorsError::NoneConfirmed { month, rows: others.len() });
        }
        let mut floors = Floors {
            minimum_tcb: BySilicon::default(),
            current_mitigations: BySilicon::default(),
            conditions: Vec::new(),
            left_out: others.iter().filter(|row| row.is_shown()).count(),
        };
        let demand = |row: &Row, cause| FloorsError::Demand {
            bulletin: row.bulletin.clone(),
            silicon: row.silicon,
            cause,
        };
        confirmed.iter().try_for_each(|row| floors.add(row).map_err(|cause| demand(row, cause)))?;
        confirmed.iter().try_for_each(|row| floors.name(row.silicon).map_err(|cause| demand(row, cause)))?;
        Ok(floors)
    }
}

impl Floors {
    fn add(&mut self, row: &Row) -> Result<(), DemandError> {
        let key = SiliconKey::Silicon(row.silicon);
        if let Some(levels) = row.levels {
            raise(&mut self.minimum_tcb, key, levels, highest)?;
        }
        if let Some(bits) = row.mitigations {
            raise(&mut self.current_mitigations, key, bits, both)?;
        }
        add_all(&mut self.conditions, &row.conditions);
        Ok(())
    }

    /// Names silicon in each list that has rows, by a demand that every platform meets: a list refuses
    /// silicon that it does not name, and the rows of this silicon demand nothing there.
    fn name(&mut self, silicon: Cpuid) -> Result<(), DemandError> {
        let key = SiliconKey::Silicon(silicon);
        if !self.minimum_tcb.is_empty() && !self.minimum_tcb.names(key) {
            raise(&mut self.minimum_tcb, key, Levels { snp: Some(0), ..Levels::default() }, highest)?;
        }
        if !self.current_mitigations.is_empty() && !self.current_mitigations.names(key) {
            raise(&mut self.current_mitigations, key, MitigationBits::NONE, both)?;
        }
        Ok(())
    }

    /// Adds these floors to an operator's demands. Where both demand something of the same silicon, each
    /// component is held to the higher level, and every bit is demanded.
    pub fn raise(&self, demands: &mut PlatformDemands) -> Result<(), DemandError> {
        for (key, levels) in self.minimum_tcb.rows() {
            raise(&mut demands.minimum_tcb, key, *levels, highest)?;
        }
        for (key, bits) in self.current_mitigations.rows() {
            raise(&mut demands.current_mitigations, key, *bits, both)?;
        }
        add_all(&mut demands.conditions, &self.conditions);
        Ok(())
    }
}

fn add_all(conditions: &mut Vec<Condition>, more: &[Condition]) {
    for condition in more {
        if !conditions.contains(condition) {
            conditions.push(*condition);
        }
    }
}

/// Puts `value` into the row of `key`, joined with the value that is there.
fn raise<T: OfSilicon + Copy>(
    rows: &mut BySilicon<T>,
    key: SiliconKey,
    value: T,
    join: fn(T, T) -> T,
) -> Result<(), DemandError> {
    let mut all: BTreeMap<SiliconKey, T> = rows.rows().map(|(key, value)| (key, *value)).collect();
    all.entry(key).and_modify(|there| *there = join(*there, value)).or_insert(value);
    let mut joined = BySilicon::default();
    all.into_iter().try_for_each(|(key, value)| joined.insert(key, value))?;
    *rows = joined;
    Ok(())
}

/// The higher level of each component.
fn highest(one: Levels, other: Levels) -> Levels {
    Levels {
        fmc: one.fmc.max(other.fmc),
        boot_loader: one.boot_loader.max(other.boot_loader),
        tee: one.tee.max(other.tee),
        snp: one.snp.max(other.snp),
        microcode: one.microcode.max(other.microcode),
    }
}

/// The bits of both.
fn both(one: MitigationBits, other: MitigationBits) -> MitigationBits {
    MitigationBits::of(one.numbers().chain(other.numbers())).unwrap_or(one)
}
