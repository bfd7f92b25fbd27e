//! `keybroker serve`: the whole broker in one process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use axum::middleware;
use jiff::SignedDuration;
use keybroker_common::{admission::Admission, config::KdsSettings, http};
use tokio::runtime::Runtime;

use crate::{
    broker::{self, Configuration},
    endorser::{AnchorArgs, KdsArgs, NewChipsArgs},
    exit::{Exit, Failure},
    fleet::FleetArgs,
    operator::socket::{self, Socket},
    paths, server,
    suggest::StorePlace,
    tls::{self, Tls, TlsArgs},
};

const EXAMPLES: &str = "\
Examples:
  A broker for the guests of this machine:
      keybroker serve
      buildah mkcw --attestation-url http://127.0.0.1:8080 IMAGE ENCRYPTED-IMAGE
  With a store and a key elsewhere:
      keybroker serve --data-dir /srv/keybroker --key-file /etc/keybroker/key
  For guests at a cloud provider that signs with VLEKs:
      keybroker serve --accept-csp-id CN=cc-us-east-2.amazonaws.com
  For build hosts elsewhere, which register with tokens, and hosts of Milan-X:
      keybroker serve --listen 192.0.2.7:8080 --registration token \\
          --minimum-tcb milan-x:snp=27,ucode=71
  For guests and build hosts elsewhere, over TLS:
      keybroker serve --listen 192.0.2.7:8443 --registration token --minimum-tcb milan-b1:snp=27 \\
          --tls-cert /etc/keybroker/tls/cert.pem --tls-key /etc/keybroker/tls/key.pem
  With audit records in a file, and the log in the journal:
      keybroker serve >>audit.jsonl";

/// Serve registration, challenges, attestation and release over HTTP, from a store on this machine.
///
/// Audit records go to stdout, one JSON line each; the log goes to stderr. A reader that stalls cannot stop
/// the broker: the broker drops the lines that nobody reads, and logs how many; the store keeps every record.
/// On SIGTERM or SIGINT the broker answers the requests under way, for at most 10 seconds, and ends. A second
/// signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("{EXAMPLES}\n\n{}", Exit::TABLE))]
pub(crate) struct ServeArgs {
    /// Address and port to listen on. Port 0 takes any free port. `:8080` means every IPv4 address.
    ///
    /// Guests reach the loopback through libkrun's TSI. On any other address you must choose who may register
    /// (see --registration), and without --tls-cert nothing on the wire is encrypted.
    #[arg(
        long,
        env = "KEYBROKER_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = server::listen_address,
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// The directory of the store.
    ///
    /// The default is $XDG_DATA_HOME/keybroker, or ~/.local/share/keybroker.
    #[arg(long, env = "KEYBROKER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The file of the key that wraps the secrets in the store. The first start makes it, and no later start
    /// does.
    ///
    /// Anybody who has this file and the store has the secrets: keep the two, and their backups, apart. The
    /// default is $XDG_CONFIG_HOME/keybroker/key, or ~/.config/keybroker/key.
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    endorser: KdsArgs,
    /// The chips for which the broker asks the KDS for a certificate.
    #[arg(long, env = "KEYBROKER_KDS", value_enum, default_value_t, value_name = "CHIPS")]
    kds: KdsUse,
    /// The greatest age at which a revocation list of AMD's counts, in days since its thisUpdate: 1 to 36500.
    ///
    /// This can only shorten a list's time. By default a list counts until its nextUpdate, and for seven days
    /// more while the KDS does not answer.
    #[arg(
        long,
        env = "KEYBROKER_CRL_MAX_AGE",
        value_parser = clap::value_parser!(u32).range(1..=36_500),
        value_name = "DAYS"
    )]
    crl_max_age: Option<u32>,
    #[command(flatten)]
    new_chips: NewChipsArgs,
    #[command(flatten)]
    anchors: AnchorArgs,
    /// The callers that may register workloads: `open` (anybody who reaches the address), `token` (anybody
    /// who holds a token of `keybroker token create`), or both with `;` between them.
    #[arg(
        long,
        env = "KEYBROKER_REGISTRATION",
        default_value = "open",
        value_parser = registration,
        value_name = "MODES"
    )]
    registration: Admission,
    /// Permit open registration on an address that is not the loopback, and for requests that name another
    /// host, as a proxy's do. ANYBODY who reaches the address can then register workloads.
    #[arg(long)]
    anyone_may_register: bool,
    /// The seconds for which a guest may answer a challenge, and then for which its session may fetch
    /// secrets.
    #[arg(
        long,
        env = "KEYBROKER_SESSION_TTL",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=86_400),
        value_name = "SECONDS"
    )]
    session_ttl: u32,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// The chips for which the broker asks AMD's KDS for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum KdsUse {
    /// Ask for any chip that a plausible report names.
    #[default]
    AnyChip,
    /// Ask for no chip: the broker refuses a chip whose certificate is neither in the store nor sent by the
    /// guest. It asks for revocation lists all the same.
    KnownChipsOnly,
}

/// Reads the modes. `iam` is none of them: nothing in front of this process authenticates principals.
fn registration(modes: &str) -> Result<Admission, &'static str> {
    match Admission::parse(modes) {
        Ok(admission) if !admission.iam => Ok(admission),
        _ => Err("must be open, token, or both with `;` between them"),
    }
}

impl ServeArgs {
    /// Warns of an address beyond the loopback.
    fn warn(&self) {
        if self.listen.ip().is_loopback() {
            return;
        }
        if self.tls.files().is_none() {
            tracing::warn!(address = %self.listen, "NOT ON THE LOOPBACK: nothing on the wire is encrypted");
        }
        if self.registration.open {
            tracing::warn!(address = %self.listen, "ANYBODY who reaches this address registers workloads");
        }
    }

    /// Whether registration is open only because no other machine reaches the address. A web page that
    /// reaches the loopback by a name of its own is then kept out.
    fn guarded(&self) -> bool {
        self.registration.open && self.listen.ip().is_loopback() && !self.anyone_may_register
    }

    /// Refuses open registration beyond the loopback, unless the operator asked for it.
    fn check_registration(&self) -> Result<(), Failure> {
        if !self.registration.open || self.listen.ip().is_loopback() || self.anyone_may_register {
            return Ok(());
        }
        let error = anyhow!("anybody who reaches {} could register workloads", self.listen);
        let place =
            self.data_dir().map_or_else(|_| StorePlace::none(), |data_dir| StorePlace::local(&data_dir));
        Err(Failure::new(Exit::Usage, error).hint(place.advice(
            "demand tokens with --registration token and `keybroker token create`, or add \
             --anyone-may-register",
        )))
    }

    /// Refuses to serve guests on a platform of any TCB beyond the loopback, unless the operator asked for
    /// it.
    fn check_floor(&self) -> Result<(), Failure> {
        if self.listen.ip().is_loopback() || !self.fleet.read()?.0.lacks_floor() {
            return Ok(());
        }
        let error = anyhow!("no floor of the TCB is set, and {} is not on the loopback", self.listen);
        Err(Failure::new(Exit::Usage, error).hint(
            "set a floor for the silicon of your hosts with --minimum-tcb, as docs/operations.md says, or add \
             --accept-any-tcb",
        ))
    }

    /// The configuration of the broker. This reads the trust anchors first: if they cannot be read, nothing
    /// is made.
    fn configuration(&self) -> Result<Configuration, Failure> {
        let anchors = self.anchors.read()?;
        let (fleet, advisories) = self.fleet.read()?;
        let known_chips_only = self.kds == KdsUse::KnownChipsOnly;
        let crl_max_age = self.crl_max_age.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
        let endorsements =
            KdsSettings { known_chips_only, crl_max_age, ..self.endorser.settings(self.new_chips.read())? };
        Ok(Configuration {
            data_dir: self.data_dir()?,
            key_file: paths::key_file(self.key_file.as_deref())?,
            anchors,
            endorsements,
            fleet: Arc::new(fleet),
            advisories,
            admission: self.registration,
            ttl: Duration::from_secs(self.session_ttl.into()),
        })
    }

    /// The data directory, given or by default.
    fn data_dir(&self) -> Result<PathBuf, Failure> {
        paths::data_dir(self.data_dir.as_deref())
    }
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    args.check_registration()?;
    args.check_floor()?;
    let tls = args.tls.files().map(Tls::start).transpose()?.map(Arc::new);
    let parts = broker::open(args.configuration()?)?;
    let runtime = Runtime::new().context("starting")?;
    args.warn();
    parts.fleet.announce();
    parts.advisories.announce();
    runtime.block_on(async {
        tls::reload_on_hangup(tls.clone())?;
        let register = http::router_over(parts.store.clone(), broker::operators_register(&parts));
        let others = register.merge(tls::router(tls.clone()));
        let socket = operators_socket(&args.data_dir()?)?;
        let endorsements = broker::endorsements(&parts);
        let operators = (socket, socket::router(parts.store.clone(), Some(endorsements.clone()), others));
        let guests = http::router_over(parts.store.clone(), broker::services(&parts, endorsements));
        let guests = guests.layer(middleware::from_fn_with_state(args.guarded(), server::loopback::only));
        server::until_signalled(args.listen, tls, guests, Some(operators)).await
    })
}

/// The socket at which an operator's commands reach this broker, which has the store open.
fn operators_socket(data_dir: &Path) -> Result<Socket, Failure> {
    Socket::bind(data_dir).map_err(|error| {
        Failure::new(Exit::Failure, error)
            .context(format!("making the operator's socket in {}", data_dir.display()))
            .hint("put the data directory on a file system that supports sockets")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, command::Command};

    /// The commands in `text` that serve other machines: behind them stands a comment, or the shell's part.
    fn for_others(text: &str) -> Vec<String> {
        let text = text.replace("\\\n", " ");
        let lines = text.lines().map(|line| line.trim().trim_start_matches("$ "));
        let served = lines.filter(|line| line.starts_with("keybroker serve --listen"));
        served.map(|line| line.split(['#', '>']).next().unwrap_or_default().to_owned()).collect()
    }

    /// A floor for a product alone refuses every guest whose report names its CPU.
    #[test]
    fn every_example_for_other_machines_starts_and_admits_guests() {
        let pages = [
            EXAMPLES,
            include_str!("../../../README.md"),
            include_str!("../../../docs/buildah-and-krun.md"),
            include_str!("../../../docs/operations.md"),
            include_str!("../../../docs/packages.md"),
        ];
        let commands: Vec<_> = pages.into_iter().flat_map(for_others).collect();
        assert!(commands.len() >= 4, "{commands:?}");
        for command in commands {
            let cli = Cli::try_parse_from(command.split_whitespace()).unwrap();
            let Command::Serve(args) = cli.command else { panic!("{command}") };
            args.check_registration().unwrap();
            args.check_floor().unwrap();
            let (fleet, _) = args.fleet.read().unwrap();
            let alone = fleet.platform.floors().into_iter().flat_map(|(_, floor)| floor.products_alone());
            assert_eq!(alone.count(), 0, "{command}");
        }
    }
}
