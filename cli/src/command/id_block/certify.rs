//! `keybroker id-block certify`, and the file that it writes.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use data_encoding::BASE64;
use keybroker_common::encoding::Hex;
use keybroker_snp::id_block::Certificate;

use crate::{
    bounded,
    exit::{Exit, Failure},
    id_key, table,
};

/// Let the author certify an ID key, once
///
/// The certificate is the author key's signature over the ID key. `id-block sign` takes it in place of the
/// author key, which can then be kept away from the machines that build images.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker id-block certify --author-key author.pem --id-key id-2026.pem.pub --out id-2026.cert

{}", Exit::TABLE))]
pub(super) struct CertifyArgs {
    /// The author's secret key
    #[arg(long, value_name = "FILE")]
    author_key: PathBuf,
    /// The ID key, of which the public half is enough
    #[arg(long, value_name = "FILE")]
    id_key: PathBuf,
    /// The certificate's file, which must be new
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &CertifyArgs) -> Result<Exit, Failure> {
    let (author, id_key) = (id_key::secret(&args.author_key)?, id_key::public(&args.id_key)?);
    let certificate =
        Certificate::sign(&id_key, &author).map_err(|error| Failure::new(Exit::Failure, error))?;
    certificate.verify(&id_key).map_err(|error| Failure::new(Exit::Failure, error))?;
    id_key::write_new(&args.out, &format!("{}\n", BASE64.encode(&certificate.to_bytes())))?;
    table::print_fields(&[
        ("certificate", args.out.display().to_string()),
        ("ID key", Hex(id_key.digest()).to_string()),
        ("author key", Hex(certificate.author_key().digest()).to_string()),
    ])?;
    Ok(Exit::Ok)
}

/// Reads a certificate.
pub(super) fn read(path: &Path) -> Result<Certificate, Failure> {
    let read = || {
        let text = bounded::text(path)?;
        let bytes = BASE64.decode(text.trim_ascii().as_bytes()).context("it is not base64")?;
        anyhow::Ok(Certificate::parse(&bytes)?)
    };
    let of_file = |error| Failure::new(Exit::Configuration, error);
    read().with_context(|| format!("reading {}", path.display())).map_err(of_file)
}
