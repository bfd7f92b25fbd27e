//! For tables at random.

use keybroker_common::advisories::Verdict;
use keybroker_simulator::{Tcb, report::ReportFields};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{report, row, table, verdict};

const SILICON: [&str; 3] = ["milan-b1", "genoa-x", "turin-c1"];
/// The components, as the file names them, in the order of [`levels`].
const COMPONENTS: [&str; 5] = ["fmc", "boot_loader", "tee", "snp", "microcode"];

/// The demands of a row: levels of 1 or more, bits and the alias check.
type Demand = ([Option<u8>; 5], Vec<u8>, bool);

fn demand() -> impl Strategy<Value = Demand> {
    let level = || prop::option::of(1_u8..);
    ([level(), level(), level(), level(), level()], prop::collection::vec(0_u8..64, 0..3), any::<bool>())
}

fn members((levels, bits, alias_check): &Demand, turin: bool) -> Value {
    let named = COMPONENTS.iter().zip(levels).filter(|(name, _)| turin || **name != "fmc");
    let levels: serde_json::Map<_, _> =
        named.filter_map(|(name, level)| Some(((*name).to_owned(), Value::from((*level)?)))).collect();
    let mut members = json!({"read_at_amd": "2026-12-01"});
    if !levels.is_empty() {
        members["levels"] = levels.into();
    }
    if !bits.is_empty() {
        members["mitigations"] = json!(bits);
    }
    if *alias_check {
        members["conditions"] = json!(["alias-check"]);
    }
    members
}

/// The least platform that meets all of them.
fn least(demands: &[Demand]) -> ([u8; 5], u64, u64) {
    let level = |place: usize| demands.iter().filter_map(|(levels, ..)| levels[place]).max().unwrap_or(0);
    let bits = demands.iter().flat_map(|(_, bits, _)| bits).fold(0_u64, |vector, bit| vector | 1 << bit);
    let alias_check = demands.iter().any(|(.., alias_check)| *alias_check);
    ([0, 1, 2, 3, 4].map(level), bits, u64::from(alias_check) << 5)
}

fn at(tcb: [u8; 5], vector: u64, platform_info: u64) -> impl FnOnce(&mut ReportFields) {
    move |fields| {
        let [fmc, boot_loader, tee, snp, microcode] = tcb;
        fields.reported_tcb = Tcb { fmc, boot_loader, tee, snp, microcode };
        (fields.current_mit_vector, fields.platform_info) = (vector, platform_info);
    }
}

proptest! {
    /// A platform at or above every row is never behind; lowering one component that a row names, or taking
    /// one bit, puts it behind exactly the bulletins that demand it.
    #[test]
    fn a_platform_is_behind_what_it_lacks(
        silicon in prop::sample::select(SILICON.to_vec()),
        demands in prop::collection::vec(demand(), 1..6),
        (above, extra) in (any::<[u8; 5]>(), any::<u64>()),
        lowered in 0_usize..5,
    ) {
        let turin = silicon == "turin-c1";
        let bulletin = |index: usize| format!("AMD-SB-{index}");
        let rows = demands.iter().enumerate();
        let rows = rows.map(|(index, demand)| row(&bulletin(index), silicon, members(demand, turin)));
        let table = table(&rows.collect::<Vec<_>>());
        let (tcb, bits, info) = least(&demands);
        let judge = |tcb, bits, info| verdict(&table, silicon, &report(silicon, [0; 5], at(tcb, bits, info)));

        // A row that demands nothing shows nothing: with one, nobody is up to date.
        let shown = |demand: &Demand| members(demand, turin).as_object().is_some_and(|row| row.len() > 1);
        let met = if demands.iter().all(shown) { Verdict::UpToDate } else { Verdict::BehindNothing };
        prop_assert_eq!(judge(tcb, bits, info).verdict, met);
        let raised = [0, 1, 2, 3, 4].map(|place: usize| tcb[place].saturating_add(above[place]));
        prop_assert_eq!(judge(raised, bits | extra, info | extra).verdict, met);

        let behind = |missed: &dyn Fn(&Demand) -> bool| {
            let missed = demands.iter().enumerate().filter(|(_, demand)| missed(demand));
            missed.map(|(index, _)| bulletin(index)).collect::<Vec<_>>()
        };
        if tcb[lowered] > 0 && (turin || lowered > 0) {
            let mut below = raised;
            below[lowered] = tcb[lowered] - 1;
            let judged = judge(below, bits, info);
            prop_assert_eq!(judged.verdict, Verdict::Behind);
            prop_assert_eq!(judged.bulletins, behind(&|(levels, ..)| levels[lowered] == Some(tcb[lowered])));
        }
        if bits != 0 {
            let bit = u8::try_from(bits.trailing_zeros()).unwrap();
            let judged = judge(raised, bits & !(1 << bit), info);
            prop_assert_eq!(judged.bulletins, behind(&|(_, bits, _)| bits.contains(&bit)));
        }
        if info != 0 {
            prop_assert_eq!(judge(raised, bits, 0).bulletins, behind(&|(.., alias_check)| *alias_check));
        }
    }

    /// A file is read or refused: nothing else.
    #[test]
    fn any_bytes_are_a_table_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = keybroker_common::advisories::Advisories::parse(&bytes);
    }
}
