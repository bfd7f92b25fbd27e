//! The broker's own protocol, `/v1`: a challenge, and one request that attests and fetches secrets.
//!
//! The crate `keybroker-native` has what both sides compute. Here requests are read into the broker's types.

mod challenge;
mod fault;
mod release;
#[cfg(test)]
mod tests;

pub use challenge::{challenge, challenge_request};
pub use fault::ReleaseFault;
pub use release::release_request;

use super::Manners;
use crate::{dialect::Dialect, secret::bounds::is_name};

/// The native dialect's row. It shares no route with others, and has no session.
pub const MANNERS: Manners = Manners {
    dialect: Dialect::Native,
    name: "v1",
    guest: "keybroker-guest",
    bound_by: "its init data",
    names_secret: is_name,
    session: None,
};
