//! The guest without TLS, for initrds that have no room for it: krun's. It asks a broker over http, on the
//! host's loopback; what it gets is sealed to it and signed all the same.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::{
    console::Console,
    transport::{RootsError, TransportError},
};

/// Certificates are of no use here, and do no harm.
pub(super) fn check(_: Option<&str>) -> Result<(), RootsError> {
    Ok(())
}

/// Always [`TransportError::Tls`].
pub(super) async fn connect(
    _: TcpStream,
    _: &str,
    _: Option<&str>,
    _: Arc<dyn Console>,
) -> Result<TcpStream, TransportError> {
    Err(TransportError::Tls(
        "this guest is built without it: let `keybroker relay` take the way over TLS".to_owned(),
    ))
}
