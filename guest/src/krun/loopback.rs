//! Brings the loopback interface up: one request to the kernel (rtnetlink, RTM_NEWLINK).

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv,
        sendto, socket_with,
    },
};

use crate::failure::Failure;

const RTM_NEWLINK: u16 = 16;
/// NLM_F_REQUEST and NLM_F_ACK.
const REQUEST_WITH_ANSWER: u16 = 5;
/// The loopback is always the first interface.
const LOOPBACK: i32 = 1;
const IFF_UP: u32 = 1;

/// The request: `struct nlmsghdr` and `struct ifinfomsg`.
fn request() -> Vec<u8> {
    const LENGTH: u32 = 32;
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    request.extend([0; 8]); // the sequence, and the sender: the kernel fills it in
    request.extend([0; 4]); // the family, a byte of padding, and the type
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes()); // the flags
    request.extend(IFF_UP.to_ne_bytes()); // which of them change
    request
}

pub(super) fn up() -> Result<(), Failure> {
    ask().map_err(|error| Failure::doing("the loopback interface", error))
}

fn ask() -> Result<(), Errno> {
    // The protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 64];
    recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // Behind the header: an error, negative, or 0.
    match answer.get(16..20).and_then(|error| error.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(error.wrapping_neg())),
        None => Err(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_request() {
        // A test may not change an interface: EPERM is the answer to a request that is well formed.
        match ask() {
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
