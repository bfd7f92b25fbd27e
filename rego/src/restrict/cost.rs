//! The cost that evaluating rules and queries can have, with all that they need of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{forbidden::Forbidden, refusal::Refusal};
use crate::text::Position;

/// Deepest chain of rules that need each other, in levels of expressions.
const MAX_CHAIN: u32 = 256;

/// Largest value, as power of two of the values within it.
const MAX_SIZE: u32 = 29;
/// The same for a value that a registration or the claims bring: 16 KiB of text hold no more.
const GIVEN: u32 = 13;

/// The cost that evaluating something can have, with all that it needs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Levels of expressions on the stack.
    pub(super) depth: u32,
    /// Power of two of the largest value.
    pub(super) size: u32,
}

/// The needs of one rule or query, without the needs of those in turn.
pub(super) struct Needs {
    pub(super) at: Position,
    pub(super) rules: BTreeSet<String>,
    pub(super) depth: u32,
    /// Power of two of the largest value, whatever it is built of.
    pub(super) least: u32,
    /// Power of two by which values grow here.
    pub(super) growth: u32,
}

impl Needs {
    pub(super) fn with(&self, needed: impl Iterator<Item = Cost>) -> Result<Cost, Refusal> {
        let start = Cost { depth: 0, size: GIVEN };
        let most = needed.fold(start, |a, b| Cost { depth: a.depth.max(b.depth), size: a.size.max(b.size) });
        let cost = Cost { depth: most.depth + self.depth, size: most.size.max(self.least) + self.growth };
        if cost.depth > MAX_CHAIN {
            return Err((self.at, Forbidden::Depth));
        }
        if cost.size > MAX_SIZE {
            return Err((self.at, Forbidden::Growth));
        }
        Ok(cost)
    }
}

/// The cost of a rule with all that it needs. Its recursion ends where [`MAX_CHAIN`] does.
pub(super) fn cost(
    name: &str,
    needs: &BTreeMap<String, Needs>,
    known: &mut BTreeMap<String, Cost>,
    chain: &mut Vec<String>,
) -> Result<Cost, Refusal> {
    if let Some(cost) = known.get(name) {
        return Ok(*cost);
    }
    let Some(own) = needs.get(name) else { return Ok(Cost::default()) };
    if chain.iter().any(|above| above == name) {
        return Err((own.at, Forbidden::Recursion(name.to_owned())));
    }
    chain.push(name.to_owned());
    if chain.len() > MAX_CHAIN as usize {
        return Err((own.at, Forbidden::Depth));
    }
    let below: Result<Vec<Cost>, Refusal> =
        own.rules.iter().map(|rule| cost(rule, needs, known, chain)).collect();
    chain.pop();
    let cost = own.with(below?.into_iter())?;
    known.insert(name.to_owned(), cost);
    Ok(cost)
}
