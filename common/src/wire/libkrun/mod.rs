//! buildah's registration, and the key as libkrun's SEV-SNP guest fetches it.
//!
//! To that guest a key is whatever stands between the body's first and last byte.

mod key;
mod register;

pub use key::released;
pub use register::{register_request, registered};

use super::{Manners, SessionManners};
use crate::{dialect::Dialect, secret::bounds::is_name};

/// libkrun's row. Its guest takes a body of any length, even with 200, for a failure.
pub const MANNERS: Manners = Manners {
    dialect: Dialect::Libkrun,
    name: "v0",
    guest: "libkrun's guest",
    bound_by: "the launch measurement alone: the id is only the guest's claim",
    names_secret: is_name,
    session: Some(SessionManners { cookie: "session_id", attested: |_| Vec::new() }),
};
