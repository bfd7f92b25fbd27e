//! Floors by a month: the numbers of confirmed rows alone.

use keybroker_common::{
    advisories::{Advisories, Choice, ChoiceError, FloorsError, Month, PinnedFile},
    encoding::Hex,
    platform::{BySilicon, Condition, PlatformDemands},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{file, row, table};

fn month(text: &str) -> Month {
    Month::parse(text).unwrap()
}

/// A row that an operator confirmed.
fn confirmed(bulletin: &str, published: &str, silicon: &str, members: Value) -> Value {
    let mut row = row(bulletin, silicon, members);
    let more = json!({"published": published, "read_at_amd": "2026-12-01", "confirmed": "Ada, 2026-12-02"});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

fn rows() -> Vec<Value> {
    vec![
        confirmed("AMD-SB-1", "2026-01", "milan-b1", json!({"levels": {"snp": 24, "microcode": 219}})),
        confirmed("AMD-SB-2", "2026-03", "milan-b1", json!({"levels": {"snp": 27}, "mitigations": [2]})),
        confirmed(
            "AMD-SB-3",
            "2026-05",
            "milan-b1",
            json!({"levels": {"microcode": 200}, "mitigations": [1]}),
        ),
        confirmed(
            "AMD-SB-2",
            "2026-03",
            "genoa-b1",
            json!({"levels": {"snp": 23}, "conditions": ["alias-check"]}),
        ),
        confirmed("AMD-SB-4", "2026-06", "milan-b1", json!({"levels": {"snp": 99}})),
        // Read at AMD, and confirmed by nobody.
        row("AMD-SB-5", "milan-b1", json!({"levels": {"snp": 98}, "read_at_amd": "2026-12-01"})),
        row("AMD-SB-6", "milan-b1", json!({"levels": {"snp": 97}})),
    ]
}

fn floors_of(table: &Advisories, until: &str) -> String {
    let floors = table.floors(month(until)).unwrap();
    let conditions: Vec<_> = floors.conditions.iter().map(ToString::to_string).collect();
    format!("{} | {} | {}", floors.minimum_tcb, floors.current_mitigations, conditions.join(" "))
}

/// Silicon with a confirmed row is named in every list that has rows, so that no list refuses it for want of
/// one: with a demand that every platform meets.
#[test]
fn the_confirmed_rows_until_a_month_are_the_floor() {
    let table = table(&rows());
    assert_eq!(floors_of(&table, "2026-01"), "milan-b1:snp=24,ucode=219 |  | ");
    assert_eq!(
        floors_of(&table, "2026-03"),
        "milan-b1:snp=27,ucode=219;genoa-b1:snp=23 | milan-b1:2;genoa-b1:none | alias-check"
    );
    // A later bulletin with a lower level lowers nothing.
    assert_eq!(
        floors_of(&table, "2026-05"),
        "milan-b1:snp=27,ucode=219;genoa-b1:snp=23 | milan-b1:1+2;genoa-b1:none | alias-check"
    );
    assert_eq!(table.floors(month("2026-05")).unwrap().left_out, 2);
    assert_eq!(table.floors(month("2026-03")).unwrap().left_out, 0);
}

#[test]
fn silicon_whose_rows_have_no_level_is_named_all_the_same() {
    let rows = [
        confirmed("AMD-SB-1", "2026-01", "milan-b1", json!({"levels": {"snp": 24}})),
        confirmed("AMD-SB-1", "2026-01", "milan-x", json!({"mitigations": [1]})),
        confirmed("AMD-SB-1", "2026-01", "turin-c1", json!({"conditions": ["alias-check"]})),
    ];
    assert_eq!(
        floors_of(&table(&rows), "2026-01"),
        "milan-b1:snp=24;milan-x:snp=0;turin-c1:snp=0 | milan-b1:none;milan-x:1;turin-c1:none | alias-check"
    );
}

#[test]
fn no_row_is_a_floor_that_nobody_confirmed() {
    let error = |rows: &[Value], until| table(rows).floors(month(until)).unwrap_err();
    let unconfirmed = &rows()[5..];
    let none = error(unconfirmed, "2026-05");
    assert_eq!(none, FloorsError::NoneConfirmed { month: month("2026-05"), rows: 2 });
    assert!(none.to_string().contains("(rows up to there: 2)"), "{none}");
    // One that is confirmed and demands nothing is none either, nor is one of a later month.
    let empty = [confirmed("AMD-SB-1", "2026-01", "milan-b1", json!({}))];
    assert!(matches!(error(&empty, "2026-05"), FloorsError::NoneConfirmed { .. }));
    assert!(matches!(error(&rows()[..1], "2025-12"), FloorsError::NoneConfirmed { .. }));
    let shipped = Advisories::shipped().floors(month("2026-05")).unwrap_err();
    assert!(matches!(shipped, FloorsError::NoneConfirmed { .. }), "{shipped}");
}

#[test]
fn a_month_that_the_table_does_not_know_is_no_floor() {
    let table = table(&rows());
    assert!(table.floors(month("2026-12")).is_ok());
    let later = table.floors(month("2027-01")).unwrap_err();
    assert_eq!(later, FloorsError::Later { month: month("2027-01"), date: table.date() });
    assert!(
        later.to_string().starts_with("the table is of 2026-12-31, and knows no bulletin of 2027-01"),
        "{later}"
    );
}

#[test]
fn floors_join_the_demands_that_are_there() {
    let mut demands = PlatformDemands {
        minimum_tcb: BySilicon::parse(["milan-b1:bl=4,snp=20,ucode=230", "turin-c1:snp=4"]).unwrap(),
        current_mitigations: BySilicon::parse(["milan-b1:5"]).unwrap(),
        conditions: vec![Condition::NoSmt],
        ..PlatformDemands::default()
    };
    table(&rows()).floors(month("2026-03")).unwrap().raise(&mut demands).unwrap();
    assert_eq!(
        demands.minimum_tcb.to_string(),
        "milan-b1:bl=4,snp=27,ucode=230;genoa-b1:snp=23;turin-c1:snp=4"
    );
    // Turin has no row of the operator's bits: its guests were refused before, and are.
    assert_eq!(demands.current_mitigations.to_string(), "milan-b1:2+5;genoa-b1:none");
    let both = [Condition::NoSmt, Condition::AliasCheck];
    assert_eq!(demands.conditions, both);
    // Once more: nothing comes twice.
    let before = demands.clone();
    table(&rows()).floors(month("2026-03")).unwrap().raise(&mut demands).unwrap();
    assert_eq!(demands, before);
}

/// The higher level counts for each component, whichever row comes first.
#[test]
fn no_row_lowers_a_level_of_another() {
    for name in ["fmc", "boot_loader", "tee", "snp", "microcode"] {
        for levels in [[7, 9], [9, 7]] {
            let row = |(number, level): (usize, i32)| {
                confirmed(
                    &format!("AMD-SB-{number}"),
                    "2026-01",
                    "turin-c1",
                    json!({"levels": {name: level}}),
                )
            };
            let rows: Vec<_> = levels.into_iter().enumerate().map(row).collect();
            let floors = table(&rows).floors(month("2026-01")).unwrap();
            let (_, found) = floors.minimum_tcb.rows().next().unwrap();
            let found: Vec<_> = found.components().into_iter().filter_map(|(_, level)| level).collect();
            assert_eq!(found, [9], "{name}: {levels:?}");
        }
    }
}

#[test]
fn a_floor_is_written_as_a_month() {
    for text in ["advisories=2026-05", " advisories = 2026-05 "] {
        assert_eq!(Month::of_floor(text), Some(Ok(month("2026-05"))), "{text}");
    }
    for text in
        ["advisories=", "advisories=May", "advisories=2026-5", "advisories=2026-00", "advisories=2026-05-01"]
    {
        assert!(matches!(Month::of_floor(text), Some(Err(_))), "{text}");
    }
    for text in ["", "milan-b1:snp=27", "advisories", "advisory=2026-05"] {
        assert_eq!(Month::of_floor(text), None, "{text}");
    }
}

#[test]
fn a_choice_that_sets_no_floor_is_an_error_in_words() {
    let choice = Choice { file: None, floor: Some(month("2026-05")) };
    let error = choice.resolve(&mut PlatformDemands::default()).unwrap_err();
    assert!(matches!(error, ChoiceError::NoFloors { .. }));
    assert!(
        error
            .to_string()
            .starts_with("the floor advisories=2026-05 is not set: no operator has confirmed a row "),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("own.json"), file(&rows()));
    std::fs::write(&path, &file).unwrap();
    let pinned = PinnedFile { path, sha256: Hex(Sha256::digest(&file).into()) };
    let choice = Choice { file: Some(pinned), floor: Some(month("2026-01")) };
    let mut demands = PlatformDemands::default();
    let table = choice.resolve(&mut demands).unwrap();
    assert_eq!(table.date().to_string(), "2026-12-31");
    assert_eq!(demands.minimum_tcb.to_string(), "milan-b1:snp=24,ucode=219");
}
