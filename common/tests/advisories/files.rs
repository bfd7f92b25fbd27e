//! The file: everything that is wrong with one is said in words.

use keybroker_common::{
    advisories::{
        Advisories, AdvisoriesError, Choice, ChoiceError, MAX_LEN, MAX_ROWS_OF_SILICON, PinnedFile, SHIPPED,
    },
    encoding::Hex,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{file, row};

fn error(file: &str) -> String {
    Advisories::parse(file.as_bytes()).unwrap_err().to_string()
}

#[test]
fn the_shipped_table_is_read() {
    let shipped = Advisories::shipped();
    assert_eq!(shipped.date().to_string(), "2026-11-29");
    assert_eq!(*shipped, Advisories::parse(SHIPPED.as_bytes()).unwrap());
    assert_eq!(shipped.sha256(), Hex(Sha256::digest(SHIPPED).into()));
    assert!(shipped.rows().len() > 40);
    for row in shipped.rows() {
        assert!(row.silicon.name().is_some() && row.bulletin.starts_with("AMD-SB-"), "{row:?}");
    }
}

/// An operator's file is one: a row must not be confirmed by this project in anybody's name.
#[test]
fn the_shipped_table_confirms_nothing() {
    assert!(Advisories::shipped().rows().iter().all(|row| row.confirmed.is_none()));
}

#[test]
fn what_is_no_table_is_refused_in_words() {
    for (file, words) in [
        ("", "it is no table of advisories: EOF"),
        ("[]", "it is no table of advisories: "),
        ("{}", "missing field `format`"),
        (r#"{"format": 2, "rows": {}}"#, "its format is 2, and this release reads format 1"),
        (r#"{"format": 1, "rows": []}"#, "missing field `date`"),
        (r#"{"format": 1, "date": "soon", "rows": []}"#, "it is no table of advisories: "),
        (r#"{"format": 1, "date": "2026-12-31", "rows": [], "more": 1}"#, "unknown field `more`"),
        (r#"{"format": 1, "date": "2026-12-31", "rows": []} x"#, "trailing characters"),
    ] {
        let error = error(file);
        assert!(error.contains(words), "{file}: {error}");
    }
    let long = format!("{}{}", file(&[]), " ".repeat(MAX_LEN));
    assert_eq!(error(&long), "it has more than 1048576 bytes");
    assert!(Advisories::parse(file(&[]).as_bytes()).unwrap().rows().is_empty());
}

#[test]
fn a_row_that_cannot_be_is_refused_in_words() {
    let of = |members: Value| row("AMD-SB-1", "milan-b1", members);
    for (row, words) in [
        (of(json!({"bulletin": ""})), "row 1 (, milan-b1) must name its bulletin"),
        (of(json!({"bulletin": "AMD SB"})), "must name its bulletin with 1 to 24 letters"),
        (of(json!({"bulletin": "A".repeat(25)})), "must name its bulletin"),
        (of(json!({"published": "2026-13"})), "a month is written as 2026-05"),
        (of(json!({"published": "2026-5"})), "a month is written as 2026-05"),
        (of(json!({"published": "2027-01"})), "was published, or read at AMD, after the table's date"),
        (of(json!({"read_at_amd": "2027-01-01"})), "was published, or read at AMD, after the table's date"),
        (of(json!({"silicon": "milan"})), "silicon is a stepping by its name"),
        (of(json!({"silicon": "0x1"})), "silicon is a stepping by its name"),
        (of(json!({"levels": {}})), "has no level in `levels`"),
        (of(json!({"levels": {"fmc": 1}})), "which this silicon does not have"),
        (of(json!({"levels": {"snp": 256}})), "invalid value"),
        (of(json!({"levels": {"snp": null}})), "invalid type"),
        (of(json!({"levels": {"spl": 1}})), "unknown field `spl`"),
        (of(json!({"mitigations": []})), "no bit in `mitigations`"),
        (of(json!({"mitigations": [64]})), "bits from 0 to 63"),
        (of(json!({"conditions": ["dry"]})), "none of the platform's conditions"),
        (of(json!({"source": " "})), "must have a source"),
        (of(json!({"source": "x".repeat(1001)})), "must have a source"),
        (of(json!({"confirmed": ""})), "a name in `confirmed`"),
        (of(json!({"confirmed": "me", "read_at_amd": null})), "is confirmed, and does not say"),
        (of(json!({"levels": {"snp": 1}, "leve1s": {"snp": 2}})), "unknown field `leve1s`"),
    ] {
        let error = error(&file(std::slice::from_ref(&row)));
        assert!(error.contains(words), "{row}: {error}");
    }
}

/// Somebody may write a member twice, and another reader of JSON might take the other.
#[test]
fn no_member_comes_twice() {
    let twice = file(&[row("AMD-SB-1", "milan-b1", json!({"levels": {"snp": 1}}))])
        .replace(r#""snp":1"#, r#""snp":9,"snp":1"#);
    assert!(error(&twice).contains("duplicate field `snp`"), "{}", error(&twice));
}

#[test]
fn a_bulletin_has_one_row_for_each_silicon() {
    let rows = |silicon| [row("AMD-SB-1", "milan-b1", json!({})), row("AMD-SB-1", silicon, json!({}))];
    assert!(Advisories::parse(file(&rows("milan-x")).as_bytes()).is_ok());
    // Under whatever name.
    for silicon in ["milan-b1", "0x00A00F11", "0xa00f11"] {
        assert_eq!(error(&file(&rows(silicon))), "row 2 (AMD-SB-1, milan-b1) comes twice");
    }
}

#[test]
fn a_record_names_no_more_bulletins_than_fit() {
    let rows = |count: usize| {
        let rows = (0..count).map(|number| row(&format!("AMD-SB-{number}"), "milan-b1", json!({})));
        file(&rows.collect::<Vec<_>>())
    };
    assert!(Advisories::parse(rows(MAX_ROWS_OF_SILICON).as_bytes()).is_ok());
    assert!(error(&rows(MAX_ROWS_OF_SILICON + 1)).ends_with("is one of more than 64 rows for this silicon"));
}

#[test]
fn another_file_than_the_pinned_one_is_refused() {
    let file = file(&[]);
    let sha256 = Hex(Sha256::digest(&file).into());
    assert!(Advisories::pinned(file.as_bytes(), sha256).is_ok());
    let altered = file.replace("2026-12-31", "2026-12-30");
    let error = Advisories::pinned(altered.as_bytes(), sha256).unwrap_err();
    let found = Hex(Sha256::digest(&altered).into());
    assert_eq!(error, AdvisoriesError::Digest { found, pinned: sha256 });
    assert_eq!(error.to_string(), format!("its SHA-256 is {found}, and {sha256} was given"));
    // The digest is that of the bytes: a blank more is another file.
    assert!(Advisories::pinned(format!("{file}\n").as_bytes(), sha256).is_err());
    // The digest is wrong of nonsense, too.
    assert!(matches!(Advisories::pinned(b"{", sha256), Err(AdvisoriesError::Digest { .. })));
}

#[test]
fn an_operator_chooses_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("advisories.json");
    let choose = |bytes: &str| {
        let file = Some(PinnedFile { path: path.clone(), sha256: Hex(Sha256::digest(bytes).into()) });
        Choice { file, floor: None }
    };
    let text = file(&[]);
    let missing = choose(&text).read().unwrap_err().to_string();
    assert!(
        missing.starts_with("the table of advisories ") && missing.contains("cannot be read"),
        "{missing}"
    );
    std::fs::write(&path, &text).unwrap();
    assert_eq!(choose(&text).read().unwrap().date().to_string(), "2026-12-31");
    let other = choose("other").read().unwrap_err();
    assert!(matches!(other, ChoiceError::Refused { cause: AdvisoriesError::Digest { .. }, .. }), "{other}");
    let long = format!("{text}{}", " ".repeat(MAX_LEN));
    std::fs::write(&path, &long).unwrap();
    let long = choose(&long).read().unwrap_err();
    assert!(matches!(long, ChoiceError::Refused { cause: AdvisoriesError::Length, .. }), "{long}");
    assert_eq!(*Choice::default().read().unwrap(), *Advisories::shipped());
}
