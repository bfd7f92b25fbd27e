//! The functions' settings: one table of variables, and one structure per function, read from the environment once.
//!
//! A setting that is missing or makes no sense is named, all of them at once, and stops the function. So is a variable with
//! our prefix that no function reads, for it may be one that somebody counts on, mistyped. A variable of another function is
//! ignored: deployments may give one environment to all three. An empty value is no value.

use std::{collections::BTreeMap, ffi::OsString, fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;

use crate::{broker::Admission, endorsements::Settings, http::Function, snp::kds::Kds};

/// What the names of all settings begin with.
pub const PREFIX: &str = "KEYBROKER_";

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The functions that read it.
    pub read_by: &'static [Function],
    /// What it sets.
    pub meaning: &'static str,
    /// What holds without it. `None`: the function does not start without it.
    pub default: Option<&'static str>,
}

/// Every setting of every function.
pub const VARIABLES: [Variable; 12] = [
    WORKLOADS_TABLE,
    CHALLENGES_TABLE,
    SESSIONS_TABLE,
    ENDORSEMENTS_TABLE,
    AUDIT_TABLE,
    KMS_KEY,
    REGISTRATION,
    SESSION_TTL,
    ACCEPT_CSP_IDS,
    KDS_URL,
    KDS,
    AUDIT_RETENTION_DAYS,
];

const WORKLOADS_TABLE: Variable = Variable {
    name: "KEYBROKER_WORKLOADS_TABLE",
    read_by: &[Function::Register, Function::Attest],
    meaning: "DynamoDB table of registrations",
    default: None,
};
const CHALLENGES_TABLE: Variable = Variable {
    name: "KEYBROKER_CHALLENGES_TABLE",
    read_by: &[Function::Auth, Function::Attest],
    meaning: "DynamoDB table of open challenges",
    default: None,
};
const SESSIONS_TABLE: Variable = Variable {
    name: "KEYBROKER_SESSIONS_TABLE",
    read_by: &[Function::Attest],
    meaning: "DynamoDB table of attested sessions",
    default: None,
};
const ENDORSEMENTS_TABLE: Variable = Variable {
    name: "KEYBROKER_ENDORSEMENTS_TABLE",
    read_by: &[Function::Attest],
    meaning: "DynamoDB table of AMD's certificates",
    default: None,
};
const AUDIT_TABLE: Variable = Variable {
    name: "KEYBROKER_AUDIT_TABLE",
    read_by: &[Function::Register, Function::Attest],
    meaning: "DynamoDB table of audit records",
    default: None,
};
const KMS_KEY: Variable = Variable {
    name: "KEYBROKER_KMS_KEY",
    read_by: &[Function::Register],
    meaning: "KMS key that wraps secrets: ARN, id or alias. What is wrapped names its own",
    default: None,
};
const REGISTRATION: Variable = Variable {
    name: "KEYBROKER_REGISTRATION",
    read_by: &[Function::Register],
    meaning: "who may register: iam (principals that API Gateway has authenticated), or open (anybody)",
    default: None,
};
const SESSION_TTL: Variable = Variable {
    name: "KEYBROKER_SESSION_TTL",
    read_by: &[Function::Auth, Function::Attest],
    meaning: "seconds for which a challenge may be answered, and then a session may fetch its secrets: 1 to 86400",
    default: Some("300"),
};
const ACCEPT_CSP_IDS: Variable = Variable {
    name: "KEYBROKER_ACCEPT_CSP_IDS",
    read_by: &[Function::Attest],
    meaning: "cloud providers whose VLEKs are accepted, by CSP id, `;` between them",
    default: Some(""),
};
const KDS_URL: Variable = Variable {
    name: "KEYBROKER_KDS_URL",
    read_by: &[Function::Attest],
    meaning: "AMD's Key Distribution Service, or one that answers like it",
    default: Some(Kds::AMD),
};
const KDS: Variable = Variable {
    name: "KEYBROKER_KDS",
    read_by: &[Function::Attest],
    meaning: "for which chips the KDS is asked: any-chip, or known-chips-only",
    default: Some("any-chip"),
};
const AUDIT_RETENTION_DAYS: Variable = Variable {
    name: "KEYBROKER_AUDIT_RETENTION_DAYS",
    read_by: &[Function::Register, Function::Attest],
    meaning: "days after which audit records may be deleted; 0 keeps them for good",
    default: Some("0"),
};

/// The settings of one function.
pub trait Configuration: Sized {
    /// Whose settings they are.
    const FUNCTION: Function;

    /// Reads them. `None` if any fault was noted on the way.
    fn read(reader: &mut Reader) -> Option<Self>;
}

/// What `register` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterConfig {
    /// Table of registrations.
    pub workloads_table: String,
    /// Table of audit records.
    pub audit_table: String,
    /// How long audit records are kept; `None`: for good.
    pub audit_kept_for: Option<SignedDuration>,
    /// The key that wraps secrets.
    pub kms_key: String,
    /// Who may register.
    pub admission: Admission,
}

impl Configuration for RegisterConfig {
    const FUNCTION: Function = Function::Register;

    fn read(reader: &mut Reader) -> Option<Self> {
        // All of them are read before the first that is missing ends it, so that all faults are noted.
        let workloads_table = reader.value(WORKLOADS_TABLE, text);
        let audit_table = reader.value(AUDIT_TABLE, text);
        let audit_kept_for = reader.value(AUDIT_RETENTION_DAYS, days);
        let kms_key = reader.value(KMS_KEY, text);
        let admission = reader.value(REGISTRATION, admission);
        Some(Self {
            workloads_table: workloads_table?,
            audit_table: audit_table?,
            audit_kept_for: audit_kept_for?,
            kms_key: kms_key?,
            admission: admission?,
        })
    }
}

/// What `auth` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Table of challenges.
    pub challenges_table: String,
    /// How long a challenge may be answered.
    pub session_ttl: Duration,
}

impl Configuration for AuthConfig {
    const FUNCTION: Function = Function::Auth;

    fn read(reader: &mut Reader) -> Option<Self> {
        let challenges_table = reader.value(CHALLENGES_TABLE, text);
        let session_ttl = reader.value(SESSION_TTL, ttl);
        Some(Self { challenges_table: challenges_table?, session_ttl: session_ttl? })
    }
}

/// What `attest` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestConfig {
    /// Table of registrations.
    pub workloads_table: String,
    /// Table of challenges.
    pub challenges_table: String,
    /// Table of sessions.
    pub sessions_table: String,
    /// Table of AMD's certificates.
    pub endorsements_table: String,
    /// Table of audit records.
    pub audit_table: String,
    /// How long audit records are kept; `None`: for good.
    pub audit_kept_for: Option<SignedDuration>,
    /// How long a session may fetch its secrets.
    pub session_ttl: Duration,
    /// Cloud providers whose VLEKs are accepted.
    pub accepted_csp_ids: Vec<String>,
    /// Where AMD's certificates come from.
    pub endorsements: Settings,
}

impl Configuration for AttestConfig {
    const FUNCTION: Function = Function::Attest;

    fn read(reader: &mut Reader) -> Option<Self> {
        let workloads_table = reader.value(WORKLOADS_TABLE, text);
        let challenges_table = reader.value(CHALLENGES_TABLE, text);
        let sessions_table = reader.value(SESSIONS_TABLE, text);
        let endorsements_table = reader.value(ENDORSEMENTS_TABLE, text);
        let audit_table = reader.value(AUDIT_TABLE, text);
        let audit_kept_for = reader.value(AUDIT_RETENTION_DAYS, days);
        let session_ttl = reader.value(SESSION_TTL, ttl);
        let accepted_csp_ids = reader.value(ACCEPT_CSP_IDS, list);
        let kds_url = reader.value(KDS_URL, base_url);
        let known_chips_only = reader.value(KDS, known_chips_only);
        Some(Self {
            workloads_table: workloads_table?,
            challenges_table: challenges_table?,
            sessions_table: sessions_table?,
            endorsements_table: endorsements_table?,
            audit_table: audit_table?,
            audit_kept_for: audit_kept_for?,
            session_ttl: session_ttl?,
            accepted_csp_ids: accepted_csp_ids?,
            endorsements: Settings { kds_url: kds_url?, known_chips_only: known_chips_only? },
        })
    }
}

/// Reads a function's settings from `environment`. `others` are names with our prefix that this table does not know and that
/// are no mistake.
pub fn read<C: Configuration>(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    others: &[&str],
) -> Result<C, ConfigError> {
    let mut reader = Reader::default();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with(PREFIX) || others.contains(&name.as_str()) {
            continue;
        }
        match VARIABLES.iter().find(|variable| variable.name == name) {
            None => reader.faults.push(Fault::Unknown { nearest: nearest(&name, known()), name }),
            Some(variable) if !variable.read_by.contains(&C::FUNCTION) => {}
            Some(variable) => match value.into_string() {
                Ok(value) => drop(reader.values.insert(variable.name, value)),
                Err(_) => reader.faults.push(Fault::Invalid { name: variable.name, cause: "is no UTF-8" }),
            },
        }
    }
    match C::read(&mut reader) {
        Some(configuration) if reader.faults.is_empty() => Ok(configuration),
        _ => Err(ConfigError(reader.faults)),
    }
}

/// The values that are there, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    values: BTreeMap<&'static str, String>,
    faults: Vec<Fault>,
}

impl Reader {
    fn value<T>(
        &mut self,
        variable: Variable,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let Variable { name, meaning, default, .. } = variable;
        let given = self.values.remove(name).filter(|value| !value.is_empty());
        let Some(value) = given.as_deref().or(default) else {
            self.faults.push(Fault::Missing { name, meaning });
            return None;
        };
        parse(value).map_err(|cause| self.faults.push(Fault::Invalid { name, cause })).ok()
    }
}

/// What keeps a function from starting: everything that is wrong with its settings. Names no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Fault>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A variable without a default is not set.
    #[error("{name} is not set ({meaning})")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it sets.
        meaning: &'static str,
    },
    /// A variable has a value that makes no sense.
    #[error("{name} {cause}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        cause: &'static str,
    },
    /// A variable has our prefix, and nobody reads it.
    #[error("{name} is not known{}", nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default())]
    Unknown {
        /// The variable.
        name: String,
        /// The known one that is most like it.
        nearest: Option<&'static str>,
    },
}

fn known() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|variable| variable.name)
}

/// How alike two names must be, from 0 to 1, for one to be suggested in the other's place.
const ALIKE: f64 = 0.8;

/// Which of the `known` names is so like `name` that it may have been meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The common prefix would make any two alike.
    let own = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let name = own(name);
    known
        .map(|other| (strsim::jaro_winkler(&name, &own(other)), other))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other)
}

fn text(value: &str) -> Result<String, &'static str> {
    Ok(value.to_owned())
}

fn list(value: &str) -> Result<Vec<String>, &'static str> {
    Ok(value.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

fn number(value: &str, least: u32, most: u32) -> Option<u32> {
    u32::from_str(value).ok().filter(|number| (least..=most).contains(number))
}

fn ttl(value: &str) -> Result<Duration, &'static str> {
    let seconds = number(value, 1, 86_400).ok_or("must be a number from 1 to 86400")?;
    Ok(Duration::from_secs(seconds.into()))
}

fn days(value: &str) -> Result<Option<SignedDuration>, &'static str> {
    let days = number(value, 0, 36_500).ok_or("must be a number from 0 to 36500")?;
    Ok(Some(days).filter(|days| *days > 0).map(|days| SignedDuration::from_hours(24 * i64::from(days))))
}

fn admission(value: &str) -> Result<Admission, &'static str> {
    match value {
        "iam" => Ok(Admission::Authenticated),
        "open" => Ok(Admission::Open),
        _ => Err("must be iam or open"),
    }
}

fn known_chips_only(value: &str) -> Result<bool, &'static str> {
    match value {
        "any-chip" => Ok(false),
        "known-chips-only" => Ok(true),
        _ => Err("must be any-chip or known-chips-only"),
    }
}

/// Reads a service's base URL, without a slash at its end.
pub fn base_url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("must begin with http:// or https:// and hold neither ? nor #"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTER: [(&str, &str); 4] = [
        ("KEYBROKER_WORKLOADS_TABLE", "w"),
        ("KEYBROKER_AUDIT_TABLE", "a"),
        ("KEYBROKER_KMS_KEY", "alias/k"),
        ("KEYBROKER_REGISTRATION", "iam"),
    ];
    const ATTEST: [(&str, &str); 5] = [
        ("KEYBROKER_WORKLOADS_TABLE", "w"),
        ("KEYBROKER_CHALLENGES_TABLE", "c"),
        ("KEYBROKER_SESSIONS_TABLE", "s"),
        ("KEYBROKER_ENDORSEMENTS_TABLE", "e"),
        ("KEYBROKER_AUDIT_TABLE", "a"),
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
        assert_eq!(config.session_ttl, Duration::from_secs(300));
        assert_eq!(config.accepted_csp_ids, Vec::<String>::new());
        assert_eq!(config.endorsements, Settings::default());
        assert_eq!(config.audit_kept_for, None);
    }

    #[test]
    fn what_is_said_counts() {
        let more = [
            ("KEYBROKER_SESSION_TTL", "60"),
            ("KEYBROKER_ACCEPT_CSP_IDS", "CN=a; CN=b;"),
            ("KEYBROKER_KDS_URL", "http://127.0.0.1:1/"),
            ("KEYBROKER_KDS", "known-chips-only"),
            ("KEYBROKER_AUDIT_RETENTION_DAYS", "400"),
        ];
        let config: AttestConfig = with(&ATTEST, &more).unwrap();
        assert_eq!(config.session_ttl, Duration::from_secs(60));
        assert_eq!(config.accepted_csp_ids, ["CN=a", "CN=b"]);
        assert_eq!(config.endorsements.kds_url, "http://127.0.0.1:1");
        assert!(config.endorsements.known_chips_only);
        assert_eq!(config.audit_kept_for, Some(SignedDuration::from_hours(400 * 24)));
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
        let error = with::<RegisterConfig>(&REGISTER[..3], &[]).unwrap_err();
        assert!(error.starts_with("KEYBROKER_REGISTRATION is not set (who may register: iam"), "{error}");
        let open: RegisterConfig = with(&REGISTER[..3], &[("KEYBROKER_REGISTRATION", "open")]).unwrap();
        assert_eq!(open.admission, Admission::Open);
    }

    #[test]
    fn nonsense_is_named_and_never_quoted() {
        let rows = [
            ("KEYBROKER_SESSION_TTL", "0", "must be a number from 1 to 86400"),
            ("KEYBROKER_SESSION_TTL", "soon", "must be a number from 1 to 86400"),
            ("KEYBROKER_KDS", "ask", "must be any-chip or known-chips-only"),
            ("KEYBROKER_KDS_URL", "ftp://x", "must begin with http:// or https:// and hold neither ? nor #"),
            ("KEYBROKER_AUDIT_RETENTION_DAYS", "-1", "must be a number from 0 to 36500"),
        ];
        for (name, value, cause) in rows {
            assert_eq!(
                with::<AttestConfig>(&ATTEST, &[(name, value)]).unwrap_err(),
                format!("{name} {cause}")
            );
        }
    }

    #[test]
    fn a_mistyped_name_stops_the_function_and_the_right_one_is_suggested() {
        let error = with::<AttestConfig>(&ATTEST, &[("KEYBROKER_SESION_TTL", "1")]).unwrap_err();
        assert_eq!(error, "KEYBROKER_SESION_TTL is not known: did you mean KEYBROKER_SESSION_TTL?");
        let error = with::<AttestConfig>(&ATTEST, &[("KEYBROKER_QQQ", "1")]).unwrap_err();
        assert_eq!(error, "KEYBROKER_QQQ is not known");
    }

    #[test]
    fn another_functions_setting_is_ignored_whatever_it_says() {
        let config: AuthConfig =
            with(&[("KEYBROKER_CHALLENGES_TABLE", "c")], &[("KEYBROKER_REGISTRATION", "?")]).unwrap();
        assert_eq!(config.challenges_table, "c");
    }

    #[test]
    fn names_that_the_caller_vouches_for_are_ignored() {
        let environment = os(&[("KEYBROKER_CHALLENGES_TABLE", "c"), ("KEYBROKER_ELSEWHERE", "x")]);
        assert!(read::<AuthConfig>(environment.clone(), &[]).is_err());
        assert!(read::<AuthConfig>(environment, &["KEYBROKER_ELSEWHERE"]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let mut environment = os(&[("KEYBROKER_CHALLENGES_TABLE", "c")]);
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
}
