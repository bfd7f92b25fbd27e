//! How many secrets a registration has, how long they are, and how they are named: the same at registration
//! and for an operator who changes one.

use super::Secret;

/// Most secrets of one registration.
pub const MAX_SECRETS: usize = 16;

/// Longest secret, in bytes: the longest that KMS wraps at once, and a little less.
pub const MAX_SECRET_LEN: usize = 4000;

/// Longest name, in bytes; of a path each of its parts.
const MAX_NAME_LEN: usize = 64;

/// Whether a registration can have this secret.
pub fn fits_in(secret: &Secret) -> bool {
    (1..=MAX_SECRET_LEN).contains(&secret.expose().len())
}

/// Whether a secret can have this plain name: it is a path's last segment, and a part of what its ciphertext
/// is bound to.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(fits) && !matches!(name, "." | "..")
}

/// Whether a secret can have this path for a name, `repository/type/tag`, as Trustee's guests ask for it.
pub fn is_path(name: &str) -> bool {
    let mut parts = name.split('/');
    let three = [parts.next(), parts.next(), parts.next()];
    parts.next().is_none() && three.into_iter().all(|part| part.is_some_and(is_part))
}

/// A part of a path does not begin with a dot.
fn is_part(part: &str) -> bool {
    is_name(part) && !part.starts_with('.')
}
