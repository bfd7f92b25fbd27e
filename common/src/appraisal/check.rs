//! The checks of appraisal, by name, and who demands them.

use crate::{
    encoding::Hex,
    requirements::{Abi, AppraisalPolicy, TcbFloors},
};
use Demand::{Floor, Policy, ReferenceValues};
use keybroker_snp::product::Product;

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
    a floor, compare it with what the other hosts report.";

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

fn floors(floors: TcbFloors) -> String {
    let floor = |product| floors.of(product).map(|floor| format!("{product}: at least {floor}"));
    let floors: Vec<_> = Product::ALL.into_iter().filter_map(floor).collect();
    if floors.is_empty() {
        "of no product".to_owned()
    } else {
        format!("{}; no other product", floors.join(", "))
    }
}

fn hex<const N: usize>(required: Option<Hex<N>>) -> Option<String> {
    required.map(|value| value.to_string())
}

fn at_least(number: u32) -> String {
    format!("at least {number}")
}
