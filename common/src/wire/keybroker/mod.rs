//! keybroker: registration by reference values, and resources as its guest fetches them.
//!
//! The registration answers with the HOST_DATA to launch the guest with. The guest asks for a challenge
//! without naming a workload, and its report's HOST_DATA selects the registration that it is appraised
//! against.

mod export;
mod fault;
mod init_data;
mod register;
mod requirements;
mod resource;
mod resources;
#[cfg(test)]
mod tests;

pub use export::Exported;
pub use fault::RegistrationFault;
pub use register::{register_request, registered};
pub use resource::{released, resource_name};

use super::{Manners, SessionManners};
use crate::{dialect::Dialect, secret::bounds::is_name};

/// keybroker's row.
pub const MANNERS: Manners = Manners {
    dialect: Dialect::Keybroker,
    name: "rvp",
    guest: "keybroker's guest",
    bound_by: "the launch measurement or ID key alone: HOST_DATA selects the workload, and the host sets it",
    names_secret: is_name,
    session: Some(SessionManners { cookie: "kbs-session-id", attested: |_| Vec::new() }),
};
