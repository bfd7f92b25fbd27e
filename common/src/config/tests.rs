use std::{ffi::OsString, time::Duration};

use jiff::SignedDuration;
use keybroker_snp::product::Product;

use super::{table::known, *};
use crate::{
    admission::Admission,
    advisories::{Advisories, Choice, Month, PinnedFile},
    appraisal::Fleet,
    encoding::Hex,
    function::Function,
    platform::{BySilicon, ChipId, Condition, FirmwareVersion},
};

const REGISTER: [(&str, &str); 5] = [
    ("KEYBROKER_WORKLOADS_TABLE", "w"),
    ("KEYBROKER_TOKENS_TABLE", "t"),
    ("KEYBROKER_AUDIT_TABLE", "a"),
    ("KEYBROKER_KMS_KEY", "alias/k"),
    ("KEYBROKER_REGISTRATION", "iam"),
];
const AUTH: [(&str, &str); 3] = [
    ("KEYBROKER_KEYS_TABLE", "k"),
    ("KEYBROKER_KMS_KEY", "alias/k"),
    ("KEYBROKER_DEPLOYMENT", "123456789012/eu-central-1/keybroker"),
];
const ATTEST: [(&str, &str); 6] = [
    ("KEYBROKER_WORKLOADS_TABLE", "w"),
    ("KEYBROKER_DECISIONS_TABLE", "d"),
    ("KEYBROKER_ENDORSEMENTS_TABLE", "e"),
    ("KEYBROKER_KEYS_TABLE", "k"),
    ("KEYBROKER_KMS_KEY", "alias/k"),
    ("KEYBROKER_DEPLOYMENT", "123456789012/eu-central-1/keybroker"),
];

fn os(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn with<C: Configuration>(base: &[(&str, &str)], more: &[(&str, &str)]) -> Result<C, String> {
    read(os(&[base, more].concat()), &[]).map_err(|error| error.to_string())
}

#[test]
fn each_function_reads_what_the_table_says() {
    fn names<C: Configuration>() -> Vec<&'static str> {
        let mut reader = Reader::default();
        for Variable { name, .. } in VARIABLES {
            reader.values.insert(name, "x".to_owned());
        }
        C::read(&mut reader);
        let unread = reader.values;
        known().filter(|name| !unread.contains_key(name)).collect()
    }
    let table = |function| {
        let mine = VARIABLES.iter().filter(move |variable| variable.read_by.contains(&function));
        mine.map(|variable| variable.name).collect::<Vec<_>>()
    };
    assert_eq!(names::<RegisterConfig>(), table(Function::Register));
    assert_eq!(names::<AuthConfig>(), table(Function::Auth));
    assert_eq!(names::<AttestConfig>(), table(Function::Attest));
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let config: AttestConfig = with(&ATTEST, &[("KEYBROKER_KDS_URL", "")]).unwrap();
    assert_eq!(config.origin.session_ttl, Duration::from_secs(300));
    assert_eq!(config.fleet, FleetConfig { demands: Fleet::default(), advisories: Choice::default() });
    assert_eq!(config.endorsements, KdsSettings::default());
    assert_eq!(config.audit_kept_for, None);
}

#[test]
fn a_setting_that_is_set_counts() {
    let more = [
        ("KEYBROKER_SESSION_TTL", "60"),
        ("KEYBROKER_ACCEPT_CSP_IDS", "CN=a; CN=b;"),
        ("KEYBROKER_ACCEPT_PRODUCTS", "Milan; turin"),
        ("KEYBROKER_ACCEPT_CHIPS", &format!("{}; {}", "07".repeat(8), "08".repeat(64))),
        (
            "KEYBROKER_MINIMUM_TCB",
            "milan:bl=4,tee=0,snp=22,ucode=213;turin-c1:fmc=1,bl=1,tee=1,snp=4,ucode=81",
        ),
        ("KEYBROKER_MINIMUM_COMMITTED_TCB", "milan-x:snp=27"),
        ("KEYBROKER_MINIMUM_CURRENT_TCB", "milan-x:snp=28"),
        ("KEYBROKER_MINIMUM_LAUNCH_TCB", "milan-x:snp=26"),
        ("KEYBROKER_CURRENT_MITIGATIONS", "milan-x:1+4"),
        ("KEYBROKER_LAUNCH_MITIGATIONS", "milan-x:2"),
        ("KEYBROKER_REQUIRE_PLATFORM", "alias-check;committed"),
        ("KEYBROKER_MINIMUM_FIRMWARE", "1.55.29"),
        ("KEYBROKER_ACCEPT_ANY_TCB", "yes"),
        ("KEYBROKER_KDS_URL", "http://127.0.0.1:1/"),
        ("KEYBROKER_KDS", "known-chips-only"),
        ("KEYBROKER_CRL_MAX_AGE", "30"),
        ("KEYBROKER_NEW_CHIPS_PER_MINUTE", "0"),
        ("KEYBROKER_NEW_CHIPS_BURST", "20"),
        ("KEYBROKER_AUDIT_RETENTION_DAYS", "400"),
    ];
    let config: AttestConfig = with(&ATTEST, &more).unwrap();
    assert_eq!(config.origin.session_ttl, Duration::from_secs(60));
    assert_eq!(config.fleet.demands.accepted_csp_ids, ["CN=a", "CN=b"]);
    let platform = &config.fleet.demands.platform;
    assert_eq!(platform.products, Some(vec![Product::Milan, Product::Turin]));
    let chips = ["07".repeat(8), "08".repeat(64)].map(|id| ChipId::parse(&id).unwrap());
    assert_eq!(platform.chips, Some(chips.to_vec()));
    let floors = ["milan:bl=4,tee=0,snp=22,ucode=213", "turin-c1:fmc=1,bl=1,tee=1,snp=4,ucode=81"];
    assert_eq!(platform.minimum_tcb, BySilicon::parse(floors).unwrap());
    assert_eq!(platform.minimum_committed_tcb, BySilicon::parse(["milan-x:snp=27"]).unwrap());
    assert_eq!(platform.minimum_current_tcb, BySilicon::parse(["0x00A00F12:snp=28"]).unwrap());
    assert_eq!(platform.minimum_launch_tcb, BySilicon::parse(["milan-x:snp=26"]).unwrap());
    assert_eq!(platform.current_mitigations, BySilicon::parse(["milan-x:1+4"]).unwrap());
    assert_eq!(platform.launch_mitigations, BySilicon::parse(["milan-x:2"]).unwrap());
    assert_eq!(platform.conditions, [Condition::AliasCheck, Condition::Committed]);
    assert_eq!(platform.minimum_firmware, Some(FirmwareVersion { major: 1, minor: 55, build: 29 }));
    assert!(config.fleet.demands.any_tcb);
    assert_eq!(config.endorsements.kds_url, "http://127.0.0.1:1");
    assert!(config.endorsements.known_chips_only);
    assert_eq!(config.endorsements.crl_max_age, Some(SignedDuration::from_hours(30 * 24)));
    assert_eq!(config.endorsements.new_chips, NewChips { per_minute: Some(0), burst: Some(20) });
    assert_eq!(config.audit_kept_for, Some(SignedDuration::from_hours(400 * 24)));
}

/// A value that names nothing is a mistake: it must not be read as a demand for nothing.
#[test]
fn a_demand_that_names_nothing_is_refused() {
    for name in [
        "KEYBROKER_ACCEPT_PRODUCTS",
        "KEYBROKER_ACCEPT_CHIPS",
        "KEYBROKER_MINIMUM_TCB",
        "KEYBROKER_MINIMUM_COMMITTED_TCB",
        "KEYBROKER_MINIMUM_CURRENT_TCB",
        "KEYBROKER_MINIMUM_LAUNCH_TCB",
        "KEYBROKER_CURRENT_MITIGATIONS",
        "KEYBROKER_LAUNCH_MITIGATIONS",
        "KEYBROKER_REQUIRE_PLATFORM",
        "KEYBROKER_MINIMUM_FIRMWARE",
    ] {
        for value in [";", " ", " ; ;"] {
            let read = with::<AttestConfig>(&ATTEST, &[(name, value)]);
            assert!(read.is_err_and(|error| error.starts_with(name)), "{name}={value:?}");
        }
        let empty = with::<AttestConfig>(&ATTEST, &[(name, "")]).unwrap();
        assert_eq!(empty.fleet.demands, Fleet::default(), "{name}");
    }
}

/// The shipped table has no confirmed row: a month without a file of one's own is an error when the function
/// starts, and not a floor that is missing.
#[test]
fn a_floor_may_be_a_month_of_the_table() {
    let floors = |value| with::<AttestConfig>(&ATTEST, &[("KEYBROKER_MINIMUM_TCB", value)]);
    let config = floors("milan-x:snp=27; advisories=2026-05").unwrap();
    assert_eq!(config.fleet.demands.platform.minimum_tcb, BySilicon::parse(["milan-x:snp=27"]).unwrap());
    assert_eq!(config.fleet.advisories, Choice { file: None, floor: Month::parse("2026-05") });
    let error = config.fleet.resolve().unwrap_err().to_string();
    assert!(
        error.starts_with("the floor advisories=2026-05 is not set: no operator has confirmed a row "),
        "{error}"
    );
    for (value, cause) in [
        ("advisories=May", "must be written as advisories=2026-05, with a month"),
        ("advisories=2026-05;advisories=2026-06", "names advisories= twice"),
    ] {
        assert_eq!(floors(value).unwrap_err(), format!("KEYBROKER_MINIMUM_TCB {cause}"));
    }
    let (fleet, table) = floors("milan-x:snp=27").unwrap().fleet.resolve().unwrap();
    assert_eq!((fleet.platform.has_floor(), table), (true, Advisories::shipped()));
}

#[test]
fn a_table_of_advisories_is_pinned() {
    let set = |more: &[(&str, &str)]| with::<AttestConfig>(&ATTEST, more);
    let (path, sha256) = ("KEYBROKER_ADVISORIES", "KEYBROKER_ADVISORIES_SHA256");
    let digest = "0A".repeat(32);
    let config = set(&[(path, "/opt/advisories.json"), (sha256, &digest)]).unwrap();
    let pinned = PinnedFile { path: "/opt/advisories.json".into(), sha256: Hex([0x0A; 32]) };
    assert_eq!(config.fleet.advisories, Choice { file: Some(pinned), floor: None });
    for (more, error) in [
        (vec![(path, "x")], "KEYBROKER_ADVISORIES needs KEYBROKER_ADVISORIES_SHA256 beside it"),
        (vec![(sha256, digest.as_str())], "KEYBROKER_ADVISORIES_SHA256 needs KEYBROKER_ADVISORIES beside it"),
        (vec![(path, "x"), (sha256, "0A")], "KEYBROKER_ADVISORIES_SHA256 must be 64 hex digits"),
        (vec![(path, "x"), (sha256, "")], "KEYBROKER_ADVISORIES needs KEYBROKER_ADVISORIES_SHA256 beside it"),
    ] {
        assert_eq!(set(&more).unwrap_err(), error);
    }
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let error = read::<RegisterConfig>(os(&[("PATH", "/bin")]), &[]).unwrap_err();
    let missing = error.0.iter().map(|fault| match fault {
        Fault::Missing { name, .. } => *name,
        other => panic!("{other}"),
    });
    let mut missing: Vec<_> = missing.collect();
    missing.sort_unstable();
    let mut required = REGISTER.map(|(name, _)| name);
    required.sort_unstable();
    assert_eq!(missing, required);
}

#[test]
fn registration_has_no_default() {
    let error = with::<RegisterConfig>(&REGISTER[..4], &[]).unwrap_err();
    assert!(error.starts_with("KEYBROKER_REGISTRATION is not set (who may register: token"), "{error}");
    let open: RegisterConfig = with(&REGISTER[..4], &[("KEYBROKER_REGISTRATION", "open")]).unwrap();
    assert_eq!(open.admission, Admission::OPEN);
}

#[test]
fn admission_is_any_set_of_three() {
    let set = |names| with::<RegisterConfig>(&REGISTER[..4], &[("KEYBROKER_REGISTRATION", names)]);
    let both = set("token; iam").unwrap().admission;
    assert_eq!(both, Admission { token: true, iam: true, ..Admission::NONE });
    for nonsense in ["token;", "tokens", "open,iam", ";", "none"] {
        assert!(set(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn nonsense_is_named_and_never_quoted() {
    let rows = [
        ("KEYBROKER_SESSION_TTL", "0", "must be a number from 1 to 86400"),
        ("KEYBROKER_SESSION_TTL", "soon", "must be a number from 1 to 86400"),
        ("KEYBROKER_KDS", "ask", "must be any-chip or known-chips-only"),
        ("KEYBROKER_KDS_URL", "ftp://x", "must begin with http:// or https:// and hold neither ? nor #"),
        ("KEYBROKER_NEW_CHIPS_PER_MINUTE", "6001", "must be a number from 0 to 6000"),
        ("KEYBROKER_NEW_CHIPS_PER_MINUTE", "10s", "must be a number from 0 to 6000"),
        ("KEYBROKER_NEW_CHIPS_BURST", "0", "must be a number from 1 to 1000"),
        ("KEYBROKER_AUDIT_RETENTION_DAYS", "-1", "must be a number from 0 to 36500"),
        ("KEYBROKER_CRL_MAX_AGE", "0", "must be a number from 1 to 36500"),
        ("KEYBROKER_ACCEPT_ANY_TCB", "no", "must be yes, or not there"),
        ("KEYBROKER_ACCEPT_ANY_TCB", "Yes", "must be yes, or not there"),
    ];
    for (name, value, cause) in rows {
        assert_eq!(with::<AttestConfig>(&ATTEST, &[(name, value)]).unwrap_err(), format!("{name} {cause}"));
    }
}

#[test]
fn all_nonsense_is_named_at_once() {
    let more = [("KEYBROKER_NEW_CHIPS_PER_MINUTE", "fast"), ("KEYBROKER_NEW_CHIPS_BURST", "1001")];
    assert_eq!(
        with::<AttestConfig>(&ATTEST, &more).unwrap_err(),
        "KEYBROKER_NEW_CHIPS_PER_MINUTE must be a number from 0 to 6000; \
         KEYBROKER_NEW_CHIPS_BURST must be a number from 1 to 1000"
    );
}

#[test]
fn a_mistyped_setting_is_refused_with_the_right_name() {
    let error = with::<AttestConfig>(&ATTEST, &[("KEYBROKER_SESION_TTL", "1")]).unwrap_err();
    assert_eq!(error, "KEYBROKER_SESION_TTL is not known: did you mean KEYBROKER_SESSION_TTL?");
    let error = with::<AttestConfig>(&ATTEST, &[("KEYBROKER_QQQ", "1")]).unwrap_err();
    assert_eq!(error, "KEYBROKER_QQQ is not known");
}

#[test]
fn another_functions_setting_is_ignored_whatever_it_says() {
    let config: AuthConfig = with(&AUTH, &[("KEYBROKER_REGISTRATION", "?")]).unwrap();
    assert_eq!(config.origin.keys_table, "k");
}

#[test]
fn names_that_the_caller_vouches_for_are_ignored() {
    let environment = os(&[AUTH.as_slice(), &[("KEYBROKER_ELSEWHERE", "x")]].concat());
    assert!(read::<AuthConfig>(environment.clone(), &[]).is_err());
    assert!(read::<AuthConfig>(environment, &["KEYBROKER_ELSEWHERE"]).is_ok());
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let mut environment = os(&AUTH);
    environment.push(("KEYBROKER_SESSION_TTL".into(), OsString::from_vec(vec![0xff])));
    let error = read::<AuthConfig>(environment, &[]).unwrap_err();
    assert_eq!(error.to_string(), "KEYBROKER_SESSION_TTL is no UTF-8");
}

#[test]
fn a_base_url_has_a_scheme_and_no_query() {
    assert_eq!(base_url("https://kds.example/"), Ok("https://kds.example".to_owned()));
    assert_eq!(base_url("http://127.0.0.1:8090"), Ok("http://127.0.0.1:8090".to_owned()));
    for text in ["", "kds.example", "ftp://kds.example", "https://", "https://kds.example/?x"] {
        assert!(base_url(text).is_err(), "{text}");
    }
}
