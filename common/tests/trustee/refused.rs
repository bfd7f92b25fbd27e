//! Texts that are no evidence, and the fault of each.

use keybroker_common::wire::trustee::evidence::{
    EvidenceFault::{self, Bytes, Duplicate, Layouts, Missing, Number, Object, Syntax, Unknown},
    Member, read,
};
use serde_json::Value;

use crate::shapes::{Shape, evidence, sample};

/// Every number of a report, by the object that it is in, and how many bits its field has.
const NUMBERS: [(&str, &str, usize, &[Shape]); 40] = {
    const ALL: &[Shape] = &Shape::ALL;
    const A: &[Shape] = &[Shape::A];
    const LATER: &[Shape] = &[Shape::B, Shape::C];
    [
        (REPORT, "version", 32, ALL),
        (REPORT, "guest_svn", 32, ALL),
        (REPORT, "policy", 64, ALL),
        (REPORT, "vmpl", 32, ALL),
        (REPORT, "sig_algo", 32, ALL),
        (REPORT, "plat_info", 64, ALL),
        (REPORT, "_author_key_en", 32, A),
        (REPORT, "_reserved_0", 32, A),
        (REPORT, "current_build", 8, A),
        (REPORT, "current_minor", 8, A),
        (REPORT, "current_major", 8, A),
        (REPORT, "_reserved_2", 8, A),
        (REPORT, "committed_build", 8, A),
        (REPORT, "committed_minor", 8, A),
        (REPORT, "committed_major", 8, A),
        (REPORT, "_reserved_3", 8, A),
        (REPORT, "key_info", 32, LATER),
        ("current", "major", 8, LATER),
        ("current", "minor", 8, LATER),
        ("current", "build", 8, LATER),
        ("committed", "major", 8, LATER),
        ("committed", "minor", 8, LATER),
        ("committed", "build", 8, LATER),
        ("current_tcb", "fmc", 8, LATER),
        ("current_tcb", "bootloader", 8, ALL),
        ("current_tcb", "tee", 8, ALL),
        ("current_tcb", "snp", 8, ALL),
        ("current_tcb", "microcode", 8, ALL),
        ("reported_tcb", "bootloader", 8, ALL),
        ("reported_tcb", "tee", 8, ALL),
        ("reported_tcb", "snp", 8, ALL),
        ("reported_tcb", "microcode", 8, ALL),
        ("committed_tcb", "bootloader", 8, ALL),
        ("committed_tcb", "tee", 8, ALL),
        ("committed_tcb", "snp", 8, ALL),
        ("committed_tcb", "microcode", 8, ALL),
        ("launch_tcb", "bootloader", 8, ALL),
        ("launch_tcb", "tee", 8, ALL),
        ("launch_tcb", "snp", 8, ALL),
        ("launch_tcb", "microcode", 8, ALL),
    ]
};

/// Numbers that are null in a report whose version has no such field.
const OPTIONAL: [(&str, usize, usize, &[Shape]); 5] = [
    ("cpuid_fam_id", 0x188, 8, &[Shape::B, Shape::C]),
    ("cpuid_mod_id", 0x189, 8, &[Shape::B, Shape::C]),
    ("cpuid_step", 0x18A, 8, &[Shape::B, Shape::C]),
    ("launch_mit_vector", 0x1F8, 64, &[Shape::C]),
    ("current_mit_vector", 0x200, 64, &[Shape::C]),
];

/// Every field of bytes, and how many it has.
const BYTES: [(&str, &str, usize, &[Shape]); 19] = [
    (REPORT, "family_id", 16, &Shape::ALL),
    (REPORT, "image_id", 16, &Shape::ALL),
    (REPORT, "report_data", 64, &Shape::ALL),
    (REPORT, "measurement", 48, &Shape::ALL),
    (REPORT, "host_data", 32, &Shape::ALL),
    (REPORT, "id_key_digest", 48, &Shape::ALL),
    (REPORT, "author_key_digest", 48, &Shape::ALL),
    (REPORT, "report_id", 32, &Shape::ALL),
    (REPORT, "report_id_ma", 32, &Shape::ALL),
    (REPORT, "chip_id", 64, &Shape::ALL),
    ("signature", "r", 72, &Shape::ALL),
    ("signature", "s", 72, &Shape::ALL),
    ("signature", "_reserved", 368, &[Shape::A]),
    (REPORT, "_reserved_1", 24, &[Shape::A]),
    (REPORT, "_reserved_4", 168, &[Shape::A]),
    ("current_tcb", "_reserved", 4, &[Shape::A]),
    ("reported_tcb", "_reserved", 4, &[Shape::A]),
    ("committed_tcb", "_reserved", 4, &[Shape::A]),
    ("launch_tcb", "_reserved", 4, &[Shape::A]),
];

/// The objects of a report.
const OBJECTS: [(&str, &[Shape]); 7] = [
    ("current_tcb", &Shape::ALL),
    ("reported_tcb", &Shape::ALL),
    ("committed_tcb", &Shape::ALL),
    ("launch_tcb", &Shape::ALL),
    ("signature", &Shape::ALL),
    ("current", &[Shape::B, Shape::C]),
    ("committed", &[Shape::B, Shape::C]),
];

const REPORT: &str = "attestation_report";

/// Turin's, of version 5: so that every member of the shape is there, and a number.
fn whole(shape: Shape) -> Value {
    evidence(shape, true, &sample(5))
}

/// The object `name` of the evidence.
fn object<'a>(evidence: &'a mut Value, name: &str) -> &'a mut serde_json::Map<String, Value> {
    let report = &mut evidence[REPORT];
    if name == REPORT { report } else { &mut report[name] }.as_object_mut().unwrap()
}

/// Evidence in which the member `name` of `of` is `text`, which need not be JSON.
fn with(shape: Shape, of: &str, name: &str, text: &str) -> String {
    let mut evidence = whole(shape);
    object(&mut evidence, of).insert(name.to_owned(), "@".into()).unwrap();
    evidence.to_string().replace(r#""@""#, text)
}

/// Evidence that has `members` as well, as the last of `of`.
fn beside(shape: Shape, of: &str, members: &str) -> String {
    let mut evidence = whole(shape);
    object(&mut evidence, of).insert("@".to_owned(), Value::Null);
    evidence.to_string().replace(r#""@":null"#, members)
}

fn without(shape: Shape, of: &str, name: &str) -> String {
    let mut evidence = whole(shape);
    object(&mut evidence, of).remove(name).unwrap();
    evidence.to_string()
}

fn refused(text: &str) -> EvidenceFault {
    let short: String = text.chars().take(4000).collect();
    read(text).err().unwrap_or_else(|| panic!("{short}"))
}

/// JSON that is no number of `bits` bits.
fn no_numbers(bits: usize) -> Vec<String> {
    let too_large = (1_u128 << bits).to_string();
    let others = ["-1", "-0", "1.5", "1.0", "1e2", "1E0", "\"1\"", "true", "[1]", "[]", "{}", "{\"n\":1}"];
    let huge = ["36893488147419103232", "1e300"].map(str::to_owned);
    others.into_iter().map(str::to_owned).chain([too_large]).chain(huge).collect()
}

#[test]
fn a_number_is_whole_and_fits() {
    for (of, name, bits, shapes) in NUMBERS {
        for shape in shapes {
            // Null in these is the sign of another shape.
            let null = (!matches!(name, "_author_key_en" | "fmc")).then_some("null");
            for text in no_numbers(bits).iter().map(String::as_str).chain(null) {
                let fault = Number { member: Member::new(of, name), bits };
                assert_eq!(refused(&with(*shape, of, name, text)), fault, "{name} {text} {shape:?}");
            }
            let largest = ((1_u128 << bits) - 1).to_string();
            assert!(read(&with(*shape, of, name, &largest)).is_ok(), "{name} {shape:?}");
        }
    }
}

#[test]
fn what_a_report_does_not_have_is_null_or_left_out_and_zero() {
    for (name, at, bits, shapes) in OPTIONAL {
        for shape in shapes {
            for text in no_numbers(bits) {
                let fault = Number { member: Member::new(REPORT, name), bits };
                assert_eq!(refused(&with(*shape, REPORT, name, &text)), fault, "{name} {text}");
            }
            let mut zero = read(&whole(*shape).to_string()).unwrap().report.bytes;
            zero[at..at + bits / 8].fill(0);
            for text in [with(*shape, REPORT, name, "null"), without(*shape, REPORT, name)] {
                assert_eq!(read(&text).unwrap().report.bytes, zero, "{name}");
            }
        }
    }
}

#[test]
fn bytes_are_as_many_as_the_field_has() {
    for (of, name, length, shapes) in BYTES {
        let array = |item: &str, count| format!("[{}]", vec![item; count].join(","));
        let last = |item: &str| array("1", length).replace("1]", &format!("{item}]"));
        for shape in shapes {
            for text in [
                array("1", length - 1),
                array("1", length + 1),
                array("1", 0),
                last("256"),
                last("-1"),
                last("1.5"),
                last("1e1"),
                last("\"1\""),
                last("null"),
                last("[1]"),
                "null".to_owned(),
                "{}".to_owned(),
                "7".to_owned(),
                format!("\"{}\"", "01".repeat(length)),
            ] {
                let fault = Bytes { member: Member::new(of, name), length };
                assert_eq!(refused(&with(*shape, of, name, &text)), fault, "{name} {shape:?} {text}");
            }
        }
    }
}

#[test]
fn an_array_is_no_object() {
    for (name, shapes) in OBJECTS {
        for shape in shapes {
            let evidence = whole(*shape);
            let values: Vec<&Value> = evidence[REPORT][name].as_object().unwrap().values().collect();
            let by_position = serde_json::to_string(&values).unwrap();
            for text in [&by_position, "[]", "null", "7", "\"\"", "true"] {
                let fault = Object(Member::new(REPORT, name));
                assert_eq!(refused(&with(*shape, REPORT, name, text)), fault, "{name} {shape:?} {text}");
            }
        }
    }
    for text in ["[]", "[{}]", "null", "7", "\"\""] {
        let report = format!(r#"{{"attestation_report":{text}}}"#);
        assert_eq!(refused(&report), Object(Member::new("tee-evidence", REPORT)), "{text}");
        assert_eq!(refused(text), Object(Member::new("tee-evidence", "snp")), "{text}");
    }
    let by_position = format!("[{},null]", whole(Shape::C)[REPORT]);
    assert_eq!(refused(&by_position), Object(Member::new("tee-evidence", "snp")));
}

/// The object and the name of every member that a shape must have.
fn required(shape: Shape) -> Vec<(&'static str, &'static str)> {
    let numbers = NUMBERS.iter().map(|(of, name, _, shapes)| (*of, *name, *shapes));
    let bytes = BYTES.iter().map(|(of, name, _, shapes)| (*of, *name, *shapes));
    let objects = OBJECTS.iter().map(|(name, shapes)| (REPORT, *name, *shapes));
    let all = numbers.chain(bytes).chain(objects);
    all.filter(|(.., shapes)| shapes.contains(&shape)).map(|(of, name, _)| (of, name)).collect()
}

#[test]
fn every_member_must_come_and_once() {
    for shape in Shape::ALL {
        for (of, name) in required(shape) {
            let member = Member::new(of, name);
            let again = match &whole(shape)[REPORT] {
                report if of == REPORT => report[name].to_string(),
                report => report[of][name].to_string(),
            };
            for again in [&again, "null", "0"] {
                let twice = beside(shape, of, &format!(r#""{name}":{again}"#));
                assert_eq!(refused(&twice), Duplicate(member.clone()), "{of}.{name} {shape:?}");
            }
            // Without this one member, it is a report of another shape, or one with two layouts.
            if !matches!(name, "_author_key_en" | "fmc") {
                assert_eq!(refused(&without(shape, of, name)), Missing(member), "{of}.{name} {shape:?}");
            }
        }
    }
    assert_eq!(refused("{}"), Missing(Member::new("tee-evidence", REPORT)));
    assert_eq!(refused(r#"{"cert_chain":null}"#), Missing(Member::new("tee-evidence", REPORT)));
    for (first, name) in [(r#""cert_chain":null"#, "cert_chain"), (r#""attestation_report":{}"#, REPORT)] {
        let twice = whole(Shape::B).to_string().replacen('{', &format!("{{{first},"), 1);
        let fault = refused(&twice);
        // An empty report is refused for what it lacks, before the second is looked at.
        let expected = if name == REPORT {
            Missing(Member::new(REPORT, "version"))
        } else {
            Duplicate(Member::new("tee-evidence", name))
        };
        assert_eq!(fault, expected);
    }
    let report = whole(Shape::A)[REPORT].to_string();
    let twice = format!(r#"{{"attestation_report":{report},"attestation_report":{report}}}"#);
    assert_eq!(refused(&twice), Duplicate(Member::new("tee-evidence", REPORT)));
}

#[test]
fn an_unknown_member_is_named_unless_it_is_null() {
    for shape in Shape::ALL {
        let report = read(&whole(shape).to_string()).unwrap().report.bytes;
        let objects = OBJECTS.iter().filter(|(_, shapes)| shapes.contains(&shape)).map(|(name, _)| *name);
        for of in objects.chain([REPORT]) {
            assert_eq!(read(&beside(shape, of, r#""new_field":null"#)).unwrap().report.bytes, report, "{of}");
            for value in ["0", "false", "\"\"", "[]", "{}", "1e300", "[[[[[[1]]]]]]"] {
                let text = beside(shape, of, &format!(r#""new_field":{value}"#));
                let fault = refused(&text);
                assert_eq!(fault, Unknown(Member::new(of, "new_field")), "{of} {value}");
                assert_eq!(fault.to_string(), format!("{of}.new_field is unknown, and it is not null"));
            }
            let twice = beside(shape, of, r#""new_field":null,"new_field":null"#);
            assert_eq!(refused(&twice), Duplicate(Member::new(of, "new_field")));
        }
    }
    let evidence = whole(Shape::C).to_string();
    let beside = |member: &str| evidence.replacen('{', &format!("{{{member},"), 1);
    assert!(read(&beside(r#""svn":null"#)).is_ok());
    assert_eq!(refused(&beside(r#""svn":1"#)), Unknown(Member::new("tee-evidence", "svn")));
}

/// The name goes into records and terminals.
#[test]
fn a_strange_name_is_not_repeated() {
    for name in ["<b>", "a b", "\\u001b[2J", "\\n", "", "\\u202e", &"n".repeat(41), &"n".repeat(1 << 20)] {
        let fault = refused(&beside(Shape::C, REPORT, &format!(r#""{name}":1"#)));
        assert_eq!(fault.to_string(), "attestation_report.? is unknown, and it is not null", "{fault:?}");
    }
}

#[test]
fn a_report_has_one_shape() {
    let member = |name| Member::new(REPORT, name);
    for (shape, of, members, fault) in [
        (Shape::A, REPORT, r#""key_info":0"#, Unknown(member("key_info"))),
        (Shape::A, REPORT, r#""launch_mit_vector":0"#, Unknown(member("launch_mit_vector"))),
        (Shape::A, "current_tcb", r#""fmc":1"#, Unknown(Member::new("current_tcb", "fmc"))),
        (Shape::C, REPORT, r#""_author_key_en":0"#, Unknown(Member::new("current_tcb", "fmc"))),
        (Shape::C, REPORT, r#""_reserved_1":[]"#, Unknown(member("_reserved_1"))),
        (Shape::B, "launch_tcb", r#""_reserved":[0]"#, Unknown(Member::new("launch_tcb", "_reserved"))),
        (Shape::B, "signature", r#""_reserved":[]"#, Unknown(Member::new("signature", "_reserved"))),
    ] {
        assert_eq!(refused(&beside(shape, of, members)), fault, "{shape:?} {members}");
    }
    // Null says nothing, whichever shape's member it is.
    let null = r#""_author_key_en":null"#;
    assert!(read(&beside(Shape::C, REPORT, null)).is_ok());
    assert!(read(&beside(Shape::A, REPORT, r#""key_info":null,"launch_mit_vector":null"#)).is_ok());
}

#[test]
fn the_tcb_versions_of_a_report_have_one_layout() {
    const TCBS: [&str; 4] = ["current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"];
    for shape in [Shape::B, Shape::C] {
        for tcb in TCBS {
            assert_eq!(refused(&with(shape, tcb, "fmc", "null")), Layouts, "{tcb}");
            assert_eq!(refused(&without(shape, tcb, "fmc")), Layouts, "{tcb}");
            let mut milan = evidence(shape, false, &sample(3));
            milan[REPORT][tcb]["fmc"] = 0.into();
            assert_eq!(refused(&milan.to_string()), Layouts, "{tcb}");
        }
        // Absent from all is as good as null.
        let mut milan = evidence(shape, false, &sample(3));
        let report = read(&milan.to_string()).unwrap().report.bytes;
        for tcb in TCBS {
            object(&mut milan, tcb).remove("fmc").unwrap();
        }
        assert_eq!(read(&milan.to_string()).unwrap().report.bytes, report);
    }
}

#[test]
fn a_text_that_is_not_json_is_refused() {
    let evidence = whole(Shape::C).to_string();
    let endings = ["", " ", "\n"].map(|end| evidence.clone() + end);
    assert!(endings.iter().all(|text| read(text).is_ok()));
    for text in [
        String::new(),
        "{".to_owned(),
        evidence.clone() + "{}",
        evidence.clone() + ",",
        format!("\u{feff}{evidence}"),
        evidence.replace("\"policy\":", "policy:"),
        evidence.replace("\"policy\":", "\"policy\":0"),
        evidence.replace("\"policy\":", "\"policy\":+"),
        evidence.replace("\"policy\":", "\"policy\":NaN,\"p\":"),
        evidence.replace("\"policy\":", "'policy':"),
        evidence.replace(",", ",,"),
        evidence.replace("\"policy\":", "\"\\ud800\":"),
        evidence.replace("null}", "null,}"),
    ] {
        assert_eq!(refused(&text), Syntax, "{text}");
    }
}

/// A megabyte of anything is refused where it stops to be evidence, and kept nowhere.
#[test]
fn a_megabyte_is_refused() {
    const LENGTH: usize = 1 << 20;
    let many = |item: &str| vec![item; LENGTH / (item.len() + 1)].join(",");
    let open = |item: &str| item.repeat(LENGTH / item.len());
    let host_data = Bytes { member: Member::new(REPORT, "host_data"), length: 32 };
    let policy = Number { member: Member::new(REPORT, "policy"), bits: 64 };
    for (name, text, fault) in [
        ("host_data", format!("[{}]", many("1")), host_data.clone()),
        ("host_data", open("["), Syntax),
        ("host_data", open("[") + &open("]"), host_data.clone()),
        ("host_data", format!("\"{}\"", open("0")), host_data),
        ("policy", open("1"), Syntax),
        ("policy", "0.".to_owned() + &open("1"), policy.clone()),
        ("policy", open("{\"policy\":"), Syntax),
        ("policy", format!("\"{}\"", open("\\u0000")), policy),
    ] {
        assert_eq!(refused(&with(Shape::B, REPORT, name, &text)), fault, "{name} {}", &text[..10]);
    }
    // Each of the names says nothing.
    let names: Vec<String> = (0..LENGTH / 16).map(|number| format!(r#""n{number:07}":null"#)).collect();
    assert!(read(&beside(Shape::B, REPORT, &names.join(","))).is_ok());
    // Blanks say nothing either. The body's bound is the caller's.
    assert!(read(&(open(" ") + &whole(Shape::A).to_string())).is_ok());
}
