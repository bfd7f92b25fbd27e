//! `keybroker import-trustee`: what a Trustee KBS keeps, and what of it a registration here can have.

mod directory;
mod report;
mod walk;

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use keybroker_common::{ids::WorkloadId, secret::bounds::MAX_SECRETS};
use serde::Serialize;

use self::{directory::Found, report::Item};
use super::register::{self, DestinationArgs, TrusteeRegistration};
use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure, Unusable},
    hex,
    operator::workload_id,
    suggest::quoted,
    table,
};

/// Read a Trustee KBS's directory, and say what of it maps to a registration
///
/// The command reads resources (files repository/type/tag, by default of Trustee in
/// /opt/confidential-containers/kbs/repository, or in one directory of its key-value storage, in
/// /opt/confidential-containers/storage/local_fs), reference values in JSON, and finds policies. It prints a
/// line for each, with what becomes of it, and why something is left out. It follows no symbolic link below
/// DIR, and prints no secret.
///
/// With --workload-id it registers what maps as one workload for guests of Trustee, or with --document writes
/// the registration for `keybroker register --from`. Trustee has one policy for all resources and guests, and
/// this broker has none: register each workload with the resources that its guests need, chosen by --only,
/// and with what you require of these guests.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  To see what maps:
      keybroker import-trustee /opt/confidential-containers/kbs
  keybroker import-trustee /opt/confidential-containers/kbs/repository --only default/key \\
      --reference-values /opt/confidential-containers/attestation-service/reference_values.json \\
      --workload-id web --init-data initdata.toml --document web.json
  keybroker import-trustee kbs --workload-id web --measurement $MEASUREMENT --dry-run

{}", Exit::TABLE))]
pub(crate) struct ImportTrusteeArgs {
    /// The directory of the KBS, or of its repository
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only the resources of this repository, repository/type, or repository/type/tag
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Also read reference values from this file of the RVPS
    #[arg(long, value_name = "JSON")]
    reference_values: Option<PathBuf>,
    /// Register as this workload
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload_id: Option<WorkloadId>,
    /// A launch measurement that the guest may have, beside those among the reference values
    #[arg(long, value_name = "HEX", value_parser = hex::digest, requires = "workload_id")]
    measurement: Vec<String>,
    /// The init data that the guest is launched with
    #[arg(long, value_name = "FILE", requires = "workload_id")]
    init_data: Option<PathBuf>,
    /// Write the registration into this new file in place of registering. The file has the secrets in clear
    #[arg(long, value_name = "FILE", requires = "workload_id", conflicts_with_all = ["yes", "dry_run"])]
    document: Option<PathBuf>,
    /// A URL of the broker, as guests reach it
    #[arg(long, value_name = "URL", requires = "workload_id")]
    broker: Option<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print what was found as one JSON document in place of the table; the result of a registration follows
    /// as another
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    destination: DestinationArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Imported<'a> {
    /// Version of this form.
    schema: u8,
    directory: &'a Path,
    workload_id: Option<&'a WorkloadId>,
    items: &'a [Item],
}

/// Runs the command.
pub(crate) fn run(args: &ImportTrusteeArgs) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let mut found = directory::read(&args.directory, &args.only, now)?;
    if let Some(path) = &args.reference_values {
        found.reference_values(&directory::named(path)?, now);
    }
    let items = found.items.as_slice();
    if args.json {
        let (directory, workload_id) = (args.directory.as_path(), args.workload_id.as_ref());
        table::json(&Imported { schema: 1, directory, workload_id, items })?;
    } else {
        report::print(items)?;
    }
    let left = items.iter().filter(|item| item.becomes.is_none()).count();
    say!("{} of {} can be in a registration", items.len() - left, items.len());
    match &args.workload_id {
        Some(id) => register(args, id, &found),
        None => Ok(Exit::Ok),
    }
}

fn register(args: &ImportTrusteeArgs, id: &WorkloadId, found: &Found) -> Result<Exit, Failure> {
    let refused = |what: String, hint: &str| Err(Failure::new(Exit::Usage, anyhow!(what)).hint(hint));
    match found.resources.len() {
        0 => return refused("no resource maps".to_owned(), "choose others with --only"),
        count if count > MAX_SECRETS => {
            return refused(
                format!("{count} resources map, and a registration has at most {MAX_SECRETS}"),
                "choose those that this workload's guests need with --only, and register others with another",
            );
        }
        _ => {}
    }
    let mut measurements: Vec<_> = found.measurements.list().iter().map(ToString::to_string).collect();
    measurements.extend(args.measurement.iter().cloned());
    if measurements.is_empty() {
        return refused(
            "no launch measurement maps, so any genuine SNP guest would be admitted".to_owned(),
            "give the launch measurement of the workload's guests with --measurement",
        );
    }
    let registration = TrusteeRegistration {
        id,
        measurements,
        resources: &found.resources,
        init_data: args.init_data.as_deref(),
    };
    let Some(file) = &args.document else {
        let broker = args.broker.as_deref();
        return register::trustee(&registration, &args.destination, broker, &args.confirm, args.json);
    };
    if let Some(broker) = &args.broker {
        register::check_broker(broker)?;
    }
    let body = register::trustee_document(&registration)?;
    let writing = || Unusable::writing(file);
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = made.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string()));
    written.and_then(|made| made.write_all(&body).and_then(|()| made.sync_all())).with_context(writing)?;
    say!("{} has the secrets in clear: delete it once the workload is registered", file.display());
    let place = args.destination.store.place();
    let register = place.command("register --from", &[&file.display().to_string()]);
    let broker = args.broker.as_ref();
    let broker =
        broker.map_or_else(String::new, |url| format!(" --dialect trustee --broker {}", quoted(url)));
    say!("to register it: {register}{broker}");
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests;
