//! The messages between clients and broker: one module for each dialect, and one for what they share. Each is
//! a set of pure functions between bytes and types.
//!
//! | module | contents |
//! |---|---|
//! | [`libkrun`] | buildah's registration, and the key as libkrun's guest fetches it |
//! | [`keybroker`] | registration by reference values, and resources as keybroker's guest fetches them |
//! | [`handshake`] | challenge and evidence, in which the two differ by no more than names, and which route Trustee's guests use too |
//! | [`trustee`] | Trustee's protocol in four versions: key, evidence, resources |
//! | [`native`] | the broker's own protocol: a challenge, and one request for secrets |
//! | [`cookie`], [`authorization`] | headers |
//!
//! Reading is strict. Bodies are read into structs, never into a map, so that a duplicate key is an error and
//! not the last one's victory; an unknown key is an error too, since it may be a requirement that this
//! release does not know.

pub mod authorization;
mod certificates;
pub mod cookie;
pub mod handshake;
mod invalid;
mod json;
pub mod keybroker;
pub mod libkrun;
pub mod native;
pub mod trustee;

pub use invalid::{Fault, FieldName, Invalid, Part};

use crate::{
    broker::Attested,
    dialect::{Dialect, Dialects},
    requirements::{AppraisalPolicy, EvidenceForm},
    workload::Registration,
};

/// The properties of a dialect where dialects share a route: one row for each.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// The dialect.
    pub dialect: Dialect,
    /// Its name in rows and listings.
    pub name: &'static str,
    /// Its guest, as people call it.
    pub guest: &'static str,
    /// The value that ties a guest to its workload and to no other, in words.
    pub bound_by: &'static str,
    /// Whether a guest can ask for a secret of this name.
    pub names_secret: fn(&str) -> bool,
    /// How a guest goes on under a session, where the dialect has one.
    pub session: Option<SessionManners>,
}

/// The properties of a dialect whose guests attest, and then fetch secrets under a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionManners {
    /// The name of the cookie that names a session.
    pub cookie: &'static str,
    /// The body that tells a guest that it attested.
    pub attested: fn(&Attested) -> Vec<u8>,
}

/// The row of `dialect`.
pub fn manners(dialect: Dialect) -> &'static Manners {
    match dialect {
        Dialect::Libkrun => &libkrun::MANNERS,
        Dialect::Keybroker => &keybroker::MANNERS,
        Dialect::Native => &native::MANNERS,
        Dialect::Trustee => &trustee::MANNERS,
    }
}

/// The tie between the guests of `registration` and it, in words.
pub fn bound_by(registration: &Registration) -> &'static str {
    let AppraisalPolicy { init_data, host_data, evidence, .. } = &registration.policy;
    if *evidence == EvidenceForm::AzSnpVtpm {
        return "the paravisor's launch measurement or ID key alone: every Azure VM with it has the same";
    }
    let trustees = registration.dialects.contains(Dialect::Trustee);
    match init_data {
        Some(required) => required.bound_by.words(),
        // A client chose it, and it is no digest of a document that measured code would hold to.
        None if host_data.is_some() && trustees => {
            "the launch measurement or ID key, and a HOST_DATA that the host sets and no init data explains"
        }
        // Without init data, each dialect has one way.
        None => registration.dialects.iter().next().map_or("nothing", |dialect| manners(dialect).bound_by),
    }
}

/// Whether a guest of one of `dialects` can ask for a secret of this name.
pub fn names_secret(dialects: &Dialects, name: &str) -> bool {
    dialects.iter().any(|dialect| (manners(dialect).names_secret)(name))
}

/// The names of `dialects`, as rows and listings have them.
pub fn names(dialects: &Dialects) -> String {
    dialects.iter().map(|dialect| manners(dialect).name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::HostData, requirements::BoundBy};

    #[test]
    fn every_dialect_has_a_row_of_its_own() {
        for dialect in Dialect::ALL {
            assert_eq!(manners(dialect).dialect, dialect);
            assert_eq!(serde_json::to_value(dialect).unwrap(), manners(dialect).name);
        }
    }

    /// HOST_DATA binds a guest to its workload only as the digest of init data: a host can set any other
    /// value beside any guest.
    #[test]
    fn a_registration_of_trustees_guests_says_what_ties_them_to_it() {
        let measured = r#""measurements":["4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d"]"#;
        let words = |more: &str| {
            let body = format!(
                r#"{{"workload_id":"web","dialects":["trustee"],{measured},"resources":{{"a/b/c":"x"}}{more}}}"#
            );
            let request = keybroker::register_request(body.as_bytes(), HostData::random()).unwrap().0;
            bound_by(&Registration {
                serial: uuid::Uuid::nil(),
                dialects: request.dialects,
                owner: None,
                reference_values: request.reference_values,
                policy: request.policy,
                rego: request.rego,
            })
        };
        let (digest, host_data) = ("d1".repeat(48), "d1".repeat(32));
        let init_data =
            format!(r#","init_data":{{"bound_by":"host_data","algorithm":"sha384","digest":"{digest}"}}"#);
        let required = format!(r#","require":{{"host_data":"{host_data}"}}"#);
        assert_eq!(words(""), trustee::MANNERS.bound_by);
        assert_eq!(words(&init_data), BoundBy::HostData.words());
        assert_eq!(words(&(init_data + &required)), BoundBy::HostData.words());
        let other = words(&required);
        assert!(other.contains("a HOST_DATA that the host sets"), "{other}");
    }
}
