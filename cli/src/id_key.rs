//! The keys of ID blocks, in files as openssl writes them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::encoding::Hex;
use keybroker_snp::id_block::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    hex, pem,
};

/// The longest file of a key that is read: openssl's files with explicit parameters have a kilobyte.
const LONGEST: u64 = 16 * 1024;

/// PKCS#8, and RFC 5915.
const SECRET: [&str; 2] = ["PRIVATE KEY", "EC PRIVATE KEY"];
const PUBLIC: &str = "PUBLIC KEY";

/// A file of a key.
enum KeyFile {
    Secret(SecretKey),
    Public(Box<PublicKey>),
}

impl KeyFile {
    fn read(path: &Path) -> Result<Self, Failure> {
        let of_file = |error: anyhow::Error| {
            Failure::new(Exit::Configuration, error).context(format!("reading {}", path.display()))
        };
        let file = File::open(path).map_err(|error| of_file(error.into()))?;
        let mode = file.metadata().map_err(|error| of_file(error.into()))?.mode();
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| of_file(error.into()))?;
        let key = Self::parse(&bytes).ok_or_else(|| {
            of_file(anyhow!("it is no key of P-384 in PEM or DER")).hint(
                "`keybroker id-block generate FILE` makes one, and so does `openssl ecparam -name secp384r1 -genkey \
                 -noout`. A file with a passphrase must be decrypted first",
            )
        })?;
        if matches!(key, Self::Secret(_)) && mode & 0o077 != 0 {
            say!("warning: others on this machine can use {}: run `chmod 600` on it", path.display());
        }
        Ok(key)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let der = |bytes: &[u8]| {
            let public = || PublicKey::from_spki(bytes).map(Box::new).map(Self::Public);
            SecretKey::from_der(bytes).map(Self::Secret).or_else(public)
        };
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains(pem::BEGIN));
        let Some(text) = text else { return der(bytes) };
        // openssl may put EC PARAMETERS in front.
        let known = |label: &str| SECRET.contains(&label) || label == PUBLIC;
        let blocks = pem::blocks(text).ok()?;
        let mut keys = blocks.iter().filter(|block| known(&block.label));
        let (key, None) = (keys.next()?, keys.next()) else { return None };
        der(&key.der).filter(|read| matches!(read, Self::Secret(_)) == (key.label != PUBLIC))
    }
}

/// Reads a secret key.
pub(crate) fn secret(path: &Path) -> Result<SecretKey, Failure> {
    match KeyFile::read(path)? {
        KeyFile::Secret(key) => Ok(key),
        KeyFile::Public(_) => Err(Failure::new(
            Exit::Configuration,
            anyhow!("{} has the public half of a key, and its secret half is needed", path.display()),
        )),
    }
}

/// Reads the public half of a key, from a file with either half.
pub(crate) fn public(path: &Path) -> Result<PublicKey, Failure> {
    match KeyFile::read(path)? {
        KeyFile::Secret(key) => public_of(&key),
        KeyFile::Public(key) => Ok(*key),
    }
}

/// The public half of `key`.
pub(crate) fn public_of(key: &SecretKey) -> Result<PublicKey, Failure> {
    key.public_key().map_err(|error| Failure::new(Exit::Failure, error))
}

/// The digest of a key that is given as its digest, in hex or base64, or as a file with either half.
pub(crate) fn digest(given: &str) -> Result<Hex<48>, Failure> {
    match hex::parse_or_base64(given) {
        Ok(digest) => Ok(digest),
        Err(_) => public(Path::new(given)).map(|key| Hex(key.digest())),
    }
}

/// The file of the public half, beside that of a secret key.
pub(crate) fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Draws a key, and writes it to `path` for its owner alone, and its public half to `path` with `.pub`. No
/// file is ever overwritten.
pub(crate) fn generate(path: &Path) -> Result<PublicKey, Failure> {
    let (key, document) = SecretKey::generate().map_err(|error| Failure::new(Exit::Failure, error))?;
    let key = public_of(&key)?;
    let public_path = public_path(path);
    let secret = Made::write(path, 0o600, &pem::encode(SECRET[0], document.as_ref()))?;
    let public = Made::write(&public_path, 0o644, &pem::encode(PUBLIC, &key.to_spki()))?;
    secret.keep();
    public.keep();
    Ok(key)
}

/// Writes a file that must be new.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    Made::write(path, 0o644, text).map(Made::keep)
}

/// A file that was made here, and is removed again unless it is kept.
struct Made<'a>(Option<&'a Path>);

impl<'a> Made<'a> {
    fn write(path: &'a Path, mode: u32, text: &str) -> Result<Self, Failure> {
        let of_file = |error: io::Error| {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            let failure = Err::<(), _>(error).with_context(|| format!("making {}", path.display()));
            let failure = failure.map_err(|error| Failure::new(Exit::Configuration, error));
            failure.map_err(|failure| {
                if taken { failure.hint("no file is overwritten: give another name") } else { failure }
            })
        };
        let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let mut file = match written {
            Ok(file) => file,
            Err(error) => return of_file(error).map(|()| Self(None)),
        };
        let made = Self(Some(path));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).or_else(of_file)?;
        Ok(made)
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // Whatever stopped the work is told already.
        let _ = self.0.map(fs::remove_file);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_key_is_its_owners_and_never_overwritten() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("id.pem");
        let made = generate(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let before = fs::read(&path).unwrap();
        assert!(generate(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        for path in [path.clone(), public_path(&path)] {
            assert_eq!(public(&path).unwrap(), made, "{}", path.display());
            assert_eq!(digest(path.to_str().unwrap()).unwrap(), Hex(made.digest()));
        }
        assert!(secret(&path).is_ok() && secret(&public_path(&path)).is_err());
        assert_eq!(digest(&Hex(made.digest()).to_string()).unwrap(), Hex(made.digest()));
    }

    /// A half that cannot be written leaves no other half behind.
    #[test]
    fn both_halves_are_made_or_none() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("id.pem");
        fs::write(public_path(&path), "somebody's").unwrap();
        assert!(generate(&path).is_err());
        assert!(!path.exists());
        assert_eq!(fs::read(public_path(&path)).unwrap(), b"somebody's");
    }

    #[test]
    fn a_file_holds_one_key() {
        let directory = TempDir::new().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        generate(&one).unwrap();
        generate(&other).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let parameters = pem::encode("EC PARAMETERS", b"\x06\x05\x2b\x81\x04\x00\x22");
        for (contents, taken) in [
            (read(&one), true),
            (format!("{}{}", *parameters, read(&one)), true),
            (read(&one) + &read(&other), false),
            (read(&one).replace("PRIVATE", "PUBLIC"), false),
            (read(&public_path(&one)).replace("PUBLIC", "PRIVATE"), false),
            (read(&one).replace("PRIVATE", "ENCRYPTED PRIVATE"), false),
            (parameters.to_string(), false),
            (String::new(), false),
            ("a".repeat(20_000), false),
        ] {
            assert_eq!(KeyFile::parse(contents.as_bytes()).is_some(), taken, "{contents}");
        }
    }
}
