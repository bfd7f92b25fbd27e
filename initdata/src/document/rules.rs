//! Which texts may stand where. Every one of them ends up in an argument, a path, a request or a message.

use http::Uri;

use super::error::DocumentError;

/// The longest URL, in bytes.
const MAX_URL: usize = 512;

/// An id that a broker can have: see its `WorkloadId`.
pub(super) fn workload(id: &str) -> Result<(), DocumentError> {
    let unsendable = |c: char| c.is_control() || c.is_whitespace() || "/?#%\\\"<>`".contains(c);
    let sound = (1..=256).contains(&id.len()) && id != "." && id != ".." && !id.contains(unsendable);
    sound.then_some(()).ok_or(DocumentError::Workload)
}

/// An address with an optional path: no credentials, which everyone could read; no query, no fragment.
pub(super) fn broker(url: &str) -> Result<(), DocumentError> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(DocumentError::BrokerScheme);
    }
    let uri: Uri = url.parse().map_err(|_| DocumentError::BrokerUrl)?;
    let authority = uri.authority().ok_or(DocumentError::BrokerUrl)?;
    let host = authority.host();
    let plain = match authority.port_u16() {
        None => authority.as_str() == host,
        Some(port) => authority.as_str() == format!("{host}:{port}"),
    };
    let sound = url.len() <= MAX_URL && !host.is_empty() && plain && !url.contains(['?', '#', '\'', '"']);
    sound.then_some(()).ok_or(DocumentError::BrokerUrl)
}

/// PEM with a certificate in it. The guest's TLS library reads what is in it.
pub(super) fn certificates(pem: &str) -> Result<(), DocumentError> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"+/=- \n".contains(&b);
    let sound = pem.contains("-----BEGIN CERTIFICATE-----")
        && pem.contains("-----END CERTIFICATE-----")
        && pem.bytes().all(known);
    sound.then_some(()).ok_or(DocumentError::Certificates)
}

/// The name of a mapping: `/dev/mapper/NAME`, and an argument of cryptsetup. It has no hyphen: the name
/// that LVM gives to a volume of a host's disk has one.
pub(super) fn disk_name(name: &str) -> Result<(), DocumentError> {
    let sound = is_plain(name, 64) && !name.contains('-') && name != "control";
    sound.then_some(()).ok_or(DocumentError::DiskName)
}

/// The name of a secret, as a broker can have it.
pub(super) fn secret_name(name: &str) -> Result<(), DocumentError> {
    is_plain(name, 64).then_some(()).ok_or(DocumentError::SecretName)
}

/// A path below /dev, without a way out of it.
pub(super) fn device_path(path: &str) -> Result<(), DocumentError> {
    let below = path.strip_prefix("/dev/").ok_or(DocumentError::Device)?;
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.:+/".contains(&b);
    let parts = below.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (path.len() <= 256 && parts && below.bytes().all(known)).then_some(()).ok_or(DocumentError::Device)
}

/// A UUID or a label: one part of a path, as udev writes it without escapes.
pub(super) fn device_tag(value: &str) -> Result<(), DocumentError> {
    is_plain(value, 72).then_some(()).ok_or(DocumentError::Device)
}

/// Letters, digits, `-`, `_` and `.`, and neither an option nor a hidden file.
fn is_plain(text: &str, longest: usize) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=longest).contains(&text.len()) && text.bytes().all(known) && !text.starts_with(['-', '.'])
}
