//! `keybroker id-block inspect`.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use data_encoding::BASE64;
use keybroker_common::encoding::Hex;
use keybroker_snp::id_block::{IdBlockError, SignedIdBlock};
use serde::Serialize;

use crate::{
    bounded,
    counted::counted,
    exit::{Exit, Failure},
    table,
};

/// Show an ID block, and verify who signed it
///
/// The command verifies that the ID key signed this block, and where there is an author, that the author key
/// signed this ID key. Anybody can sign an ID block: compare the digests with those that you know.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker id-block inspect --id-block $ID_BLOCK --id-auth $ID_AUTH
  keybroker id-block inspect --id-block id-block.base64 --id-auth id-auth.base64 --json

{}", Exit::TABLE))]
pub(super) struct InspectArgs {
    /// The ID block in base64, or a file with its 96 bytes or their base64
    #[arg(long, value_name = "BASE64|FILE")]
    id_block: String,
    /// The ID authentication information in base64, or a file with its 4096 bytes or their base64
    #[arg(long, value_name = "BASE64|FILE")]
    id_auth: String,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct InspectOutput {
    /// Version of this form.
    schema: u8,
    measurement: Hex<48>,
    family_id: Hex<16>,
    image_id: Hex<16>,
    guest_svn: u32,
    policy: String,
    id_key_digest: Hex<48>,
    /// `None` if no author certified the ID key.
    author_key_digest: Option<Hex<48>>,
}

pub(super) fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    let (block, auth) = (bytes("--id-block", &args.id_block)?, bytes("--id-auth", &args.id_auth)?);
    let signed = SignedIdBlock::verify(&block, &auth).map_err(|error| {
        let verified_no = matches!(error, IdBlockError::NotSigned | IdBlockError::NotCertified);
        Failure::new(if verified_no { Exit::Denied } else { Exit::Configuration }, error)
    })?;
    let block = signed.block();
    let output = InspectOutput {
        schema: 1,
        measurement: Hex(block.measurement),
        family_id: Hex(block.family_id),
        image_id: Hex(block.image_id),
        guest_svn: block.guest_svn,
        policy: format!("{:#x}", block.policy.bits()),
        id_key_digest: Hex(signed.id_key().digest()),
        author_key_digest: signed.author_key().map(|key| Hex(key.digest())),
    };
    if args.json {
        table::json(&output)?;
    } else {
        print(&output)?;
    }
    if block.policy.debug_allowed() || block.policy.migrate_ma_allowed() {
        say!("warning: the guest policy allows DEBUG or a migration agent: the broker refuses such guests");
    }
    Ok(Exit::Ok)
}

fn print(output: &InspectOutput) -> Result<(), Failure> {
    let author = output.author_key_digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    table::print_fields(&[
        ("measurement", output.measurement.to_string()),
        ("FAMILY_ID", output.family_id.to_string()),
        ("IMAGE_ID", output.image_id.to_string()),
        ("GUEST_SVN", output.guest_svn.to_string()),
        ("policy", output.policy.clone()),
        ("ID key", output.id_key_digest.to_string()),
        ("author key", author),
        ("signatures", "hold".to_owned()),
    ])?;
    Ok(())
}

/// The longest structure in base64, with some room for line breaks.
const LONGEST: usize = 8 * 1024;

/// A structure that is given in base64, or in a file. A value that is base64 is no name of a file.
fn bytes(flag: &str, given: &str) -> Result<Vec<u8>, Failure> {
    let decode = |text: &str| {
        let text: String = text.split_whitespace().collect();
        BASE64.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() >= 96)
    };
    if let Some(bytes) = decode(given) {
        return Ok(bytes);
    }
    let of_file = |error| Failure::new(Exit::Configuration, error).context(flag.to_owned());
    let read = bounded::read(Path::new(given), bounded::TEXT)
        .with_context(|| format!("reading {given}"))
        .map_err(of_file)?;
    if read.len() > LONGEST {
        return Err(of_file(anyhow!(
            "{given} has {}, and is no such structure",
            counted(read.len(), "byte")
        )));
    }
    let text = std::str::from_utf8(&read).ok().and_then(decode);
    Ok(text.unwrap_or(read))
}
