//! What clients say and are told: one module per dialect, each a set of pure functions between bytes and
//! types.
//!
//! Reading is strict. Bodies are read into structs, never into a map, so that a duplicate key is an error and
//! not the last one's victory; an unknown key is an error too, since it may be a requirement that this
//! release does not know.

pub mod authorization;
pub mod cookie;
pub mod handshake;
mod invalid;
mod json;
pub mod rvp;
#[cfg(feature = "schema")]
pub(crate) mod schema;
pub mod v0;

pub use invalid::{Fault, FieldName, Invalid, Part};

use crate::{broker::KeyTexts, session::Nonce, workload::Dialect};

/// What the report of a guest must carry as REPORT_DATA, to be bound to the challenge and to the guest's key.
pub fn report_data(dialect: Dialect, nonce: &Nonce, key: &KeyTexts) -> [u8; 64] {
    match dialect {
        Dialect::V0 | Dialect::Rvp => handshake::report_data(&nonce.expose(), &key.modulus, &key.exponent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_is_hashed_as_the_text_that_was_sent() {
        let nonce = Nonce::random().unwrap();
        let key = KeyTexts { modulus: "m".to_owned(), exponent: "e".to_owned() };
        for dialect in [Dialect::V0, Dialect::Rvp] {
            assert_eq!(report_data(dialect, &nonce, &key), handshake::report_data(&nonce.expose(), "m", "e"));
        }
    }
}
