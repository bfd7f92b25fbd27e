//! `keybroker id-block sign`.

use std::path::PathBuf;

use anyhow::anyhow;
use data_encoding::BASE64;
use keybroker_common::{encoding::Hex, requirements::Measurement};
use keybroker_snp::{
    id_block::{Certificate, IdBlock, PublicKey, SecretKey, SignedIdBlock},
    report::GuestPolicy,
};
use serde::Serialize;

use super::certify;
use crate::{
    exit::{Exit, Failure},
    hex, id_key, measurements,
    suggest::StorePlace,
    table,
};

/// Sign an ID block for each launch measurement
///
/// The command prints what QEMU takes as properties of sev-snp-guest, and how a workload is registered by the
/// key. Everything is verified before it is printed, as the firmware will do.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker id-block sign --id-key id-2026.pem --measurement $MEASUREMENT --guest-svn 2
  With an author, who certified the ID key before:
      keybroker id-block sign --id-key id-2026.pem --certificate id-2026.cert \\
          --measurement $MEASUREMENT
  For every measurement of a fleet:
      keybroker id-block sign --id-key id-2026.pem --measurements measured.json --json

{}", Exit::TABLE))]
pub(super) struct SignArgs {
    /// The secret ID key
    #[arg(long, value_name = "FILE")]
    id_key: PathBuf,
    /// The author's certificate for the ID key
    #[arg(long, value_name = "FILE", conflicts_with = "author_key")]
    certificate: Option<PathBuf>,
    /// The author's secret key, where there is no certificate
    #[arg(long, value_name = "FILE")]
    author_key: Option<PathBuf>,
    #[command(flatten)]
    measurements: measurements::MeasurementArgs,
    /// GUEST_SVN, the version of the image: registrations can refuse lower ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    guest_svn: u32,
    /// The guest policy, which the guest must be launched with
    #[arg(long, value_name = "BITS", default_value = "0x30000", value_parser = policy)]
    policy: GuestPolicy,
    /// FAMILY_ID, 32 hex digits: zeros if it is not given
    #[arg(long, value_name = "HEX", value_parser = hex::parse::<16>)]
    family_id: Option<Hex<16>>,
    /// IMAGE_ID, 32 hex digits: zeros if it is not given
    #[arg(long, value_name = "HEX", value_parser = hex::parse::<16>)]
    image_id: Option<Hex<16>>,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
}

/// A guest policy under which the broker releases something: nobody needs an ID block for another.
fn policy(text: &str) -> Result<GuestPolicy, &'static str> {
    let digits = hex::digits(text);
    let bits = if digits.len() < text.len() { u64::from_str_radix(digits, 16) } else { text.parse() };
    let policy = GuestPolicy::new(bits.map_err(|_| "must be a number: 0x30000")?);
    if policy.debug_allowed() || policy.migrate_ma_allowed() {
        return Err("allows DEBUG or a migration agent, so that the broker would refuse the guest");
    }
    if !policy.reserved_one() || policy.unknown_bits() {
        return Err("must have bit 17, and no bit that the ABI does not know");
    }
    Ok(policy)
}

impl SignArgs {
    fn certificate(&self, id_key: &PublicKey) -> Result<Option<Certificate>, Failure> {
        match (&self.certificate, &self.author_key) {
            (Some(path), _) => certify::read(path).map(Some),
            (None, Some(path)) => {
                let author = id_key::secret(path)?;
                let failed = |error| Failure::new(Exit::Failure, error);
                Certificate::sign(id_key, &author).map(Some).map_err(failed)
            }
            (None, None) => Ok(None),
        }
    }

    fn sign(
        &self,
        Measurement(measurement): Measurement,
        id_key: &SecretKey,
        certificate: Option<Certificate>,
    ) -> Result<SignedIdBlock, Failure> {
        let block = IdBlock {
            measurement,
            family_id: self.family_id.map_or([0; 16], |id| id.0),
            image_id: self.image_id.map_or([0; 16], |id| id.0),
            guest_svn: self.guest_svn,
            policy: self.policy,
        };
        let failed = |error| Failure::new(Exit::Failure, error).context("signing the ID block");
        SignedIdBlock::sign(&block, id_key, certificate).map_err(failed)
    }
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct SignOutput {
    /// Version of this form.
    schema: u8,
    id_key_digest: Hex<48>,
    author_key_digest: Option<Hex<48>>,
    family_id: Option<Hex<16>>,
    image_id: Option<Hex<16>>,
    guest_svn: u32,
    policy: String,
    blocks: Vec<Signed>,
    /// How a workload is registered by the key.
    register: String,
}

/// An ID block, as VMMs take it.
#[derive(Debug, Serialize)]
struct Signed {
    measurement: Measurement,
    /// The structure in base64.
    id_block: String,
    /// The authentication information in base64.
    id_auth: String,
    /// Properties of QEMU's sev-snp-guest.
    qemu: String,
}

impl Signed {
    fn of(signed: &SignedIdBlock) -> Self {
        let (id_block, id_auth) = (BASE64.encode(&signed.block_bytes()), BASE64.encode(&signed.auth_bytes()));
        let author = if signed.author_key().is_some() { ",author-key-enabled=on" } else { "" };
        let policy = signed.block().policy.bits();
        let qemu = format!("policy={policy:#x},id-block={id_block},id-auth={id_auth}{author}");
        Self { measurement: Measurement(signed.block().measurement), id_block, id_auth, qemu }
    }
}

pub(super) fn run(args: &SignArgs) -> Result<Exit, Failure> {
    let measurements = args.measurements.read()?;
    if measurements.is_empty() {
        return Err(Failure::new(Exit::Usage, anyhow!("give --measurement or --measurements")));
    }
    let id_key = id_key::secret(&args.id_key)?;
    let public = id_key::public_of(&id_key)?;
    let certificate = args.certificate(&public)?;
    let sign = |measurement| args.sign(measurement, &id_key, certificate).map(|signed| Signed::of(&signed));
    let blocks = measurements.into_iter().map(sign).collect::<Result<Vec<_>, _>>()?;
    let digest = |key: &PublicKey| Hex(key.digest());
    let author = certificate.as_ref().map(|certificate| digest(certificate.author_key()));
    let output = SignOutput {
        schema: 1,
        id_key_digest: digest(&public),
        author_key_digest: author,
        family_id: args.family_id,
        image_id: args.image_id,
        guest_svn: args.guest_svn,
        policy: format!("{:#x}", args.policy.bits()),
        register: register(digest(&public), author, args.guest_svn),
        blocks,
    };
    if args.json {
        table::json(&output)?;
    } else {
        print(&output)?;
    }
    Ok(Exit::Ok)
}

/// The command that registers a workload by these keys, but for its secrets.
fn register(id_key: Hex<48>, author_key: Option<Hex<48>>, guest_svn: u32) -> String {
    let author = author_key.map(|digest| format!(" --author-key {digest}")).unwrap_or_default();
    let svn = if guest_svn > 0 { format!(" --require minimum_guest_svn={guest_svn}") } else { String::new() };
    let register = StorePlace::none().command("register --id-key", &[&id_key.to_string()]);
    format!("{register}{author}{svn} --resource NAME=FILE")
}

fn print(output: &SignOutput) -> Result<(), Failure> {
    let mut fields = vec![("ID key", output.id_key_digest.to_string())];
    fields.extend(output.author_key_digest.map(|digest| ("author key", digest.to_string())));
    fields.push(("GUEST_SVN", output.guest_svn.to_string()));
    table::print_fields(&fields)?;
    for block in &output.blocks {
        table::line("")?;
        table::print_fields(&[
            ("measurement", block.measurement.to_string()),
            ("sev-snp-guest", block.qemu.clone()),
        ])?;
    }
    table::line(&format!("\n{}", output.register))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_one_that_the_broker_accepts() {
        for (text, bits) in [("0x30000", 0x3_0000), ("196608", 0x3_0000), ("0X1020000", 0x102_0000)] {
            assert_eq!(policy(text), Ok(GuestPolicy::new(bits)), "{text}");
        }
        for text in
            ["0xB0000", "0x70000", "0x10000", "0x4030000", "", "0x", "-1", "thirty", "0x30000 ", "3_0000"]
        {
            assert!(policy(text).is_err(), "{text}");
        }
    }
}
