//! The file that holds a build's token.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::anyhow;
use axum::http::HeaderValue;

use crate::exit::{Exit, Failure};

/// Length of a token, in characters of base64url: 10 random bytes.
const TOKEN_LEN: usize = 14;

/// Reads the token in the file at `path`, and returns the Authorization header that presents it.
pub(super) fn read(path: &Path) -> Result<HeaderValue, Failure> {
    let unusable = |failure: Failure| failure.context(format!("reading the token in {}", path.display()));
    let text = text(path).map_err(|error| unusable(Failure::new(Exit::Configuration, error)))?;
    let Some(token) = token(&text) else {
        let error = anyhow!("the file does not hold one line of {TOKEN_LEN} characters of base64url");
        return Err(unusable(Failure::new(Exit::Configuration, error)));
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(anyhow::Error::from)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The first bytes of the file, which must be closed to everybody but its owner.
fn text(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(anyhow!(
            "other users than its owner may read or write the file (mode {mode:04o}): chmod 600 it"
        ));
    }
    let mut text = String::new();
    let read = file.take(TOKEN_LEN as u64 + 2).read_to_string(&mut text);
    match read {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(error.into()),
        // Bytes that are no text are no token.
        _ => Ok(text),
    }
}

/// The token in `text`, with or without a newline behind it.
fn token(text: &str) -> Option<&str> {
    let token = text.strip_suffix('\n').unwrap_or(text);
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (token.len() == TOKEN_LEN && token.bytes().all(base64url)).then_some(token)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, io::Write, os::unix::fs::PermissionsExt};

    use tempfile::NamedTempFile;

    use super::*;

    fn file(bytes: &[u8], mode: u32) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file.as_file().set_permissions(Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_line_of_14_characters_is_a_token() {
        for text in ["Zm9vYmFyYmF6-_", "Zm9vYmFyYmF6-_\n"] {
            let value = read(file(text.as_bytes(), 0o600).path()).unwrap();
            assert_eq!(value, "Bearer Zm9vYmFyYmF6-_");
            assert!(value.is_sensitive());
        }
        assert!(read(file(b"Zm9vYmFyYmF6-_", 0o400).path()).is_ok());
    }

    #[test]
    fn nothing_else_is() {
        let rows: [&[u8]; 9] = [
            b"",
            b"\n",
            b"Zm9vYmFyYmF6-",
            b"Zm9vYmFyYmF6-_x",
            b"Zm9vYmFyYmF6-_\n\n",
            b"Zm9vYmFyYmF6-_\r\n",
            b"Zm9vYmFyYmF6+/",
            b" Zm9vYmFyYmF6-",
            b"Zm9vYmFyYmF6-\xff",
        ];
        for bytes in rows {
            let refused = read(file(bytes, 0o600).path()).unwrap_err().told().0;
            assert!(refused.contains("14 characters of base64url"), "{bytes:?}: {refused}");
        }
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
            let refused = read(file(b"Zm9vYmFyYmF6-_", mode).path()).unwrap_err().told().0;
            assert!(refused.contains(&format!("(mode {mode:04o})")), "{refused}");
        }
    }
}
