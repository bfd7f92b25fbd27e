//! `keybroker serve`: the whole broker in one process.

use std::{env, net::SocketAddr, path::PathBuf};

use anyhow::{Context, anyhow};
use keybroker_common::{config, http, snp::kds::Kds};
use tokio::runtime::Runtime;

use crate::{
    broker,
    exit::{Exit, Failure},
    fleet::FleetArgs,
    server,
};

const EXAMPLES: &str = "\
Examples:
  A broker for the guests of this machine:
      keybroker serve
      buildah mkcw --attestation-url http://127.0.0.1:8080 IMAGE ENCRYPTED-IMAGE
  Store and key in places of your own:
      keybroker serve --data-dir /srv/keybroker --key-file /etc/keybroker/key
  Behind a cloud provider's VLEKs:
      keybroker serve --accept-csp-id CN=cc-us-east-2.amazonaws.com
  Audit records to a file, the log to the journal:
      keybroker serve >>audit.jsonl";

/// Serve registration, challenges, attestation and release over HTTP, from a store on this machine.
///
/// Audit records go to stdout, one JSON line each; the log goes to stderr. Whoever reads them cannot hold the broker up: lines
/// that nobody takes are lost, and their number logged; the records are in the store. SIGTERM and SIGINT end it once the requests
/// under way are answered, within 10 seconds; a second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("{EXAMPLES}\n\n{}", Exit::TABLE))]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes any that is free.
    ///
    /// Whoever reaches it can register workloads: leave it on the loopback, where guests reach it through libkrun's
    /// TSI, or put it behind something that asks who is calling.
    #[arg(long, env = "KEYBROKER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where the store is.
    ///
    /// Without it: $XDG_DATA_HOME/keybroker, or ~/.local/share/keybroker.
    #[arg(long, env = "KEYBROKER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The key that the secrets in the store are wrapped with. Made on the first start, and never again.
    ///
    /// Whoever has this file and the store has the secrets: keep them, and their backups, apart. Without it:
    /// $XDG_CONFIG_HOME/keybroker/key, or ~/.config/keybroker/key.
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where AMD's certificates come from: its Key Distribution Service, or one that answers like it.
    #[arg(long, env = "KEYBROKER_KDS_URL", default_value = Kds::AMD, value_parser = config::base_url, value_name = "URL")]
    pub(crate) kds_url: String,
    /// For which chips the KDS is asked for a certificate.
    #[arg(long, env = "KEYBROKER_KDS", value_enum, default_value_t, value_name = "CHIPS")]
    pub(crate) kds: KdsUse,
    /// Also trust the root certificates in this PEM file: for SIMULATED hardware. May be given several times (in the
    /// variable: separated by `;`).
    ///
    /// A guest that proves itself by one of them proves nothing about hardware.
    #[arg(long, env = "KEYBROKER_TRUST_ANCHORS", value_delimiter = ';', value_name = "PEM")]
    pub(crate) trust_anchor: Vec<PathBuf>,
    /// For how many seconds a challenge may be answered, and then a session may fetch its secrets.
    #[arg(
        long,
        env = "KEYBROKER_SESSION_TTL",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=86_400),
        value_name = "SECONDS"
    )]
    pub(crate) session_ttl: u32,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// For which chips AMD's KDS is asked for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KdsUse {
    /// Any chip that a plausible report names.
    #[default]
    AnyChip,
    /// None: chips whose certificate is neither in the store nor sent by the guest are refused. Revocation lists are
    /// asked for all the same.
    KnownChipsOnly,
}

impl ServeArgs {
    /// The data directory, given or by default.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        let default = || under_home("XDG_DATA_HOME", ".local/share", "keybroker", "--data-dir");
        self.data_dir.clone().map_or_else(default, Ok)
    }

    /// The wrapping key's file, given or by default.
    pub(crate) fn key_file(&self) -> Result<PathBuf, Failure> {
        let default = || under_home("XDG_CONFIG_HOME", ".config", "keybroker/key", "--key-file");
        self.key_file.clone().map_or_else(default, Ok)
    }
}

/// A path by the XDG Base Directory Specification, which has relative values ignored.
fn under_home(variable: &str, fallback: &str, path: &str, option: &str) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(fallback))) {
        Some(base) => Ok(base.join(path)),
        None => {
            Err(Failure::new(Exit::Configuration, anyhow!("there is no home directory, and no {option}"))
                .hint(format!("give {option}, or set {variable} or HOME")))
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let services = broker::services(&broker::open(args)?);
    let runtime = Runtime::new().context("starting")?;
    if !args.listen.ip().is_loopback() {
        tracing::warn!(
            address = %args.listen,
            "NOT ON THE LOOPBACK: whoever reaches this address can register workloads, and nothing on the wire is encrypted"
        );
    }
    runtime.block_on(server::until_signalled(args.listen, http::router(services)))
}
