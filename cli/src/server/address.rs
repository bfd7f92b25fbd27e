//! The address to listen on: how it is written, and the settings of its socket.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// The bytes that the system holds of one connection's unread answers, or unread requests. Linux doubles the
/// number.
const BUFFER: u32 = 32 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// For how many milliseconds the system tries to deliver an answer that nobody takes, even after the
/// connection was closed here.
const USER_TIMEOUT: u32 = 10_000;

/// Reads an address to listen on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, or `:8080` for every IPv4
/// address.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let instead = || {
        format!(
            "{text:?} is not an address and port: write 127.0.0.1:8080, [::1]:8080, localhost:8080, or :8080 \
             for every IPv4 address"
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(instead)?;
    let host = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        // The one name that always means the loopback (RFC 6761, 6.3). No resolver is asked.
        _ if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST,
        _ => return Err(instead()),
    };
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    port.map(|port| SocketAddr::from((host, port))).ok_or_else(instead)
}

/// Listens at `address`. Connections inherit the socket's limits, so that clients that do not read cannot
/// fill the system's memory.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.set_recv_buffer_size(BUFFER)?;
    rustix::net::sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn an_address_is_numbers_localhost_or_a_port() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:8080", "[::1]:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("LocalHost:0", "127.0.0.1:0"),
            (":8080", "0.0.0.0:8080"),
        ] {
            assert_eq!(listen_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ":",
            "8080",
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:65536",
            "localhost:+80",
            "::1:8080",
            "[::]8080",
            "broker.example.org:8080",
            "localhost.example.org:8080",
            "http://127.0.0.1:8080",
            " :8080",
            "*:8080",
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains("write 127.0.0.1:8080"), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn the_system_holds_few_unread_bytes_and_not_for_long() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), USER_TIMEOUT);
        assert_eq!(rustix::net::sockopt::socket_send_buffer_size(&stream).unwrap(), 2 * BUFFER as usize);
        assert_eq!(rustix::net::sockopt::socket_recv_buffer_size(&stream).unwrap(), 2 * BUFFER as usize);
    }
}
