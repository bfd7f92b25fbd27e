//! `keybroker certificates`: AMD's certificates and revocation lists in the broker's store.
//!
//! The store is a cache. The broker verifies a row again before it uses it, so no command here can make the
//! broker accept anything: a row spares a request to AMD, and its absence costs one.

mod chips;
mod export;
mod import;
mod key_kind;
mod list;
mod prefetch;
mod purge;

use crate::{
    exit::{Exit, Failure},
    operator,
};

/// List, prefetch, import, export or purge AMD's certificates in the broker's store
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE)]
pub(crate) struct CertificatesArgs {
    #[command(subcommand)]
    command: CertificatesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CertificatesCommand {
    Prefetch(prefetch::PrefetchArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    List(list::ListArgs),
    Purge(purge::PurgeArgs),
}

/// Runs the command.
pub(crate) fn run(args: &CertificatesArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        match &args.command {
            CertificatesCommand::Prefetch(args) => prefetch::run(args).await,
            CertificatesCommand::Import(args) => import::run(args).await,
            CertificatesCommand::Export(args) => export::run(args).await,
            CertificatesCommand::List(args) => list::run(args).await,
            CertificatesCommand::Purge(args) => purge::run(args).await,
        }
    })
}
