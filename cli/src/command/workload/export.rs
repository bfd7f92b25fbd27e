//! `keybroker workload export`.

use keybroker_common::{dialect::Dialect, ids::WorkloadId, wire::keybroker::Exported, workload::Workload};

use super::{show::unreadable, workload_id};
use crate::{
    exit::{Exit, Failure},
    operator::StoreArgs,
    table::{self, printable},
};

/// Write the reference values and requirements of a registration, without its secrets
///
/// `keybroker register --from` reads the document, with the secrets given apart: here after a change, or with
/// another broker. docs/reference-values.schema.json describes it. Neither secrets nor anything about them is
/// in it; their names are told on stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload export billing-7f3a >billing.json
  keybroker workload export billing-7f3a --aws >billing.json

{}", Exit::TABLE))]
pub(super) struct ExportArgs {
    /// The workload
    #[arg(value_name = "ID", value_parser = workload_id)]
    id: WorkloadId,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let workload = operator.workload(&args.id).await?;
    let read = workload.read().map_err(|error| unreadable(error, &args.id))?;
    let registration = read.registration();
    let exported = Exported::new(&workload.id, registration);
    table::json(&exported.map_err(|error| unreadable(error, &args.id))?)?;
    tell(&workload, &registration.dialects.iter().collect::<Vec<_>>());
    let init_data = registration.policy.init_data.as_ref();
    if init_data.is_some_and(|init_data| init_data.broker_keys.is_some()) {
        say!(
            "the broker knows which of its keys the init data document names: to keep that, put the document's \
             text into init_data.document, in place of algorithm and digest"
        );
    }
    Ok(Exit::Ok)
}

/// Tells on stderr which secrets are to be given apart, and how.
fn tell(workload: &Workload, dialects: &[Dialect]) {
    if dialects == [Dialect::Libkrun] {
        say!("its passphrase is to be given apart: --passphrase-file FILE");
        return;
    }
    for name in workload.secrets.keys() {
        say!("a secret is to be given apart: --resource {}=FILE", printable(name));
    }
    if dialects == [Dialect::Keybroker] {
        say!("the broker draws another HOST_DATA for each registration");
    }
}
