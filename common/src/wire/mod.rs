//! The messages between clients and broker: one module for each dialect, and one for what they share. Each is
//! a set of pure functions between bytes and types.
//!
//! | module | contents |
//! |---|---|
//! | [`libkrun`] | buildah's registration, and the key as libkrun's guest fetches it |
//! | [`keybroker`] | registration by reference values, and resources as keybroker's guest fetches them |
//! | [`handshake`] | challenge and evidence, in which the two differ by no more than names |
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
    }
}

/// The tie between the guests of `registration` and it, in words.
pub fn bound_by(registration: &Registration) -> &'static str {
    match &registration.policy.init_data {
        Some(required) => required.bound_by.words(),
        // Without init data, each dialect has one way.
        None => registration.dialects.iter().next().map_or("nothing", |dialect| manners(dialect).bound_by),
    }
}

/// The names of `dialects`, as rows and listings have them.
pub fn names(dialects: &Dialects) -> String {
    dialects.iter().map(|dialect| manners(dialect).name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_has_a_row_of_its_own() {
        for dialect in Dialect::ALL {
            assert_eq!(manners(dialect).dialect, dialect);
            assert_eq!(serde_json::to_value(dialect).unwrap(), manners(dialect).name);
        }
    }
}
