//! The checks of appraisal, by name, and who demands them.

use std::fmt;

use keybroker_snp::few::list;

use crate::{
    encoding::Hex,
    platform::{BySilicon, ChipId, OfSilicon},
    requirements::{Abi, AppraisalPolicy},
};
use Demand::{Floor, Policy, ReferenceValues};

/// The party that demands a check.
#[derive(Debug, Clone, Copy)]
pub enum Demand {
    /// The broker or its operator, of every guest.
    Floor,
    /// Every registration, by its reference values.
    ReferenceValues,
    /// A registration, if its policy does: the demand's name, and the requirement in words.
    Policy(&'static str, fn(&AppraisalPolicy) -> Option<String>),
}

checks!(enumerate);

const OTHER_REGISTRATION: &str =
    "If the guest should be accepted, register the workload again with other requirements.";
const UPDATE_FIRMWARE: &str = "Update the host's firmware and commit to it (snphost commit). Before you raise \
    a floor, compare it with what the other hosts report. If no row names the \
    silicon, and such hosts may serve, add one.";
const COMMIT_FIRMWARE: &str =
    "Commit to the newer firmware on the host (snphost commit). Nobody can take a commit back.";
const START_AGAIN: &str = "Update the host if it still has the older firmware, then start the guest again.";
const SET_UP_HOST: &str = "The record's cause names the condition. Correct the host's BIOS settings, update its \
    firmware, or commit to the firmware that it runs (snphost commit).";

impl AppraisalPolicy {
    /// The policy's demands, in the order of the checks: the name of each, and the requirement in words.
    pub fn demands(&self) -> impl Iterator<Item = (&'static str, String)> {
        AppraisalCheck::all().filter_map(|check| match check.demand() {
            Policy(name, required) => Some((name, required(self)?)),
            Floor | ReferenceValues => None,
        })
    }
}

fn flag(required: bool, what: &str) -> Option<String> {
    required.then(|| what.to_owned())
}

fn abi(Abi { major, minor }: Abi) -> String {
    format!("at least {major}.{minor}, by the guest policy")
}

fn rows<T: OfSilicon + fmt::Display>(rows: &BySilicon<T>) -> Option<String> {
    (!rows.is_empty()).then(|| format!("{rows}; no other silicon").replace(';', "; ").replace(";  ", "; "))
}

fn some<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

fn names<T: fmt::Display>(list: Option<&[T]>) -> Option<String> {
    list.map(|list| list.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

fn chips(chips: &[ChipId]) -> String {
    format!("one of {}: {}", chips.len(), list(chips))
}

fn hex<const N: usize>(required: Option<Hex<N>>) -> Option<String> {
    required.map(|value| value.to_string())
}

fn at_least(least: impl fmt::Display) -> String {
    format!("at least {least}")
}
