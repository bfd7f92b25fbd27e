//! `keybroker keys import`.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use data_encoding::BASE64;
use keybroker_common::{audit::Decision, keyring::Purpose};
use keybroker_embedded::files;
use keybroker_native::SigningKey;
use zeroize::Zeroizing;

use super::signing::ValidityArgs;
use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, WrappingArgs, signing_ring},
};

/// Bring a signing key from outside, so that several deployments can hold the same
///
/// The file holds a private key on P-384 in PKCS#8, in PEM or DER and without a passphrase. Only its owner
/// may read it. The key becomes the next one, as if `keybroker keys prepare` had made it, and in a deployment
/// without a signing key it is used at once. Keep the file where nobody reaches it, or delete it: the broker
/// never gives the key out again.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  (umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out signing.pem)
  keybroker keys import signing.pem
  keybroker keys import signing.pem --aws --prefix keybroker

{}", Exit::TABLE))]
pub(super) struct ImportArgs {
    /// The file of the private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    validity: ValidityArgs,
    #[command(flatten)]
    wrapping: WrappingArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The longest file that is read: a key in PEM has some hundred bytes.
const LONGEST: u64 = 16 << 10;
const CONVERT: &str = "openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW.pem writes a key in this form";

pub(super) async fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let key = read(&args.file)
        .map_err(|failure| failure.context(format!("reading the signing key in {}", args.file.display())))?;
    let operator = args.store.open().await?;
    let wrap = args.wrapping.open(&args.store, &operator, Purpose::Signature).await?;
    let ring = signing_ring::add(&operator, wrap.as_ref(), &key, Decision::KeyImported).await?;
    if let Some(newest) = ring.keys.last() {
        say!("{}", signing_ring::told(newest, &operator.place));
    }
    args.validity.print([key.broker_key()])
}

/// The key in a file that nobody but its owner may read.
fn read(path: &Path) -> Result<SigningKey, Failure> {
    let unusable = |error: anyhow::Error| Failure::new(Exit::Configuration, error);
    let file = files::open_named(path).map_err(|error| unusable(error.into()))?;
    let metadata = file.metadata().map_err(|error| unusable(error.into()))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let error = anyhow!("other users than its owner may read or write the file (mode {mode:04o})");
        return Err(unusable(error).hint("chmod 600 it, and find out who may have read it"));
    }
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != own && owner != 0 {
        let error = anyhow!("the file belongs to another user ({owner}), who knows the key");
        return Err(unusable(error).hint("import a key that nobody else has had"));
    }
    // Room for all of it from the start: growing would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| unusable(error.into()))?;
    let der = pkcs8(&bytes).map_err(|cause| unusable(anyhow!(cause)).hint(CONVERT))?;
    SigningKey::from_pkcs8(&der).map_err(|error| unusable(error.into()).hint(CONVERT))
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The DER of a file in PEM or DER.
fn pkcs8(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = match str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN ") => text,
        _ => return Ok(Zeroizing::new(bytes.to_vec())),
    };
    let (_, rest) = text.split_once(BEGIN).ok_or("it is not a private key in PKCS#8 without a passphrase")?;
    let (body, _) = rest.split_once(END).ok_or("the PEM is cut off")?;
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der =
        Zeroizing::new(vec![0; BASE64.decode_len(base64.len()).map_err(|_| "the PEM is not base64")?]);
    let len = BASE64.decode_mut(&base64, &mut der).map_err(|_| "the PEM is not base64")?;
    der.truncate(len);
    Ok(der)
}

#[cfg(test)]
mod tests;
