//! `keybroker doctor`: it finds what keeps a broker from working, and says what to do about it.

mod aws;
mod endorser;
mod finding;
mod keys;
mod local;
mod report;
mod tls;
mod url;
mod workloads;

use std::{path::PathBuf, sync::Arc};

use clap::CommandFactory as _;
use keybroker_common::platform::{BySilicon, Levels};
use keybroker_embedded::key::LocalKey;
use keybroker_snp::anchors::TrustAnchors;

use self::{finding::Finding, report::Report};
use crate::{
    Cli,
    aws::Account,
    endorser::{AnchorArgs, KdsArgs},
    environment::{self, Reach},
    exit::{Exit, Failure},
    fleet::FleetArgs,
    operator::{self, OperatorHandle, StoreArgs},
    paths,
    suggest::StorePlace,
    tls::TlsArgs,
};

/// Find what keeps the broker from working
///
/// The command checks configuration, store, disk, wrapping key, TLS certificate, the broker's own keys,
/// clock, AMD's KDS, revocation lists, and how long workload ids may be behind a base URL; with --aws also
/// the tables' settings, the key's rotation, alarms and logs. Each check is ok, a warning or a failure, and
/// says what to do. The command changes nothing. It reads the variables of `keybroker serve`: run it as the
/// broker's user, with the broker's environment.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker doctor
  keybroker doctor --url http://127.0.0.1:8000 --url https://kb.example.com
  keybroker doctor --deep
  keybroker doctor --health
  keybroker doctor --aws --prefix keybroker --json | jq '.findings[] | select(.verdict != \"ok\")'

The command ends with 0 if nothing failed, even if there are warnings, and with 1 otherwise.

{}", Exit::TABLE))]
pub(crate) struct DoctorArgs {
    /// A base URL that images are built with: the command says how long workload ids may be. May be given
    /// several times
    #[arg(long, value_name = "BASE-URL")]
    url: Vec<String>,
    /// The file of the key that wraps the secrets of a broker on this machine
    ///
    /// The default is $XDG_CONFIG_HOME/keybroker/key, or ~/.config/keybroker/key.
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE", conflicts_with_all = operator::ON_AWS)]
    key_file: Option<PathBuf>,
    /// Also read every byte and every row of a store on this machine, which no broker may have open
    #[arg(long, conflicts_with_all = operator::ON_AWS)]
    deep: bool,
    /// Only ask the running broker of this machine whether it is well, as a container's health check does
    #[arg(long, conflicts_with_all = operator::ON_AWS, conflicts_with_all = ["deep", "url"])]
    health: bool,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kds: KdsArgs,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl DoctorArgs {
    /// The wrapping key of a broker on this machine, if it can be read.
    fn wrapping_key(&self) -> Option<Arc<LocalKey>> {
        let key_file = paths::key_file(self.key_file.as_deref()).ok().filter(|_| !self.store.aws)?;
        LocalKey::load(&key_file).ok().map(Arc::new)
    }

    /// The arguments that lead another command to this store, and to its key if one was named.
    fn place(&self) -> StorePlace {
        let place = self.store.place();
        match &self.key_file {
            Some(key_file) => place.with_key_file(key_file),
            None => place,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs, reach: &Reach) -> Result<Exit, Failure> {
    operator::block_on(async {
        let report = Report::new(args.place(), args.json);
        if args.health {
            report.tell([local::running(args).await]);
            return Ok(report.end()?);
        }
        report.tell([configuration(reach)]);
        let kds = async { report.tell(endorser::kds(&args.kds).await) };
        tokio::join!(kds, examine(args, &report));
        report.tell(args.url.iter().map(|url| url::budget(url)));
        Ok(report.end()?)
    })
}

/// The checks of the store, and of what it stands on.
async fn examine(args: &DoctorArgs, report: &Report) {
    let anchors = args.anchors.read().unwrap_or_else(|failure| {
        report.tell([Finding::failed("trust-anchors", &failure)]);
        TrustAnchors::amd()
    });
    if args.anchors.any() {
        report.tell([Finding::warn(
            "trust-anchors",
            "simulated hardware is trusted: anybody who holds the key of such a root gets every secret",
            "remove --trust-anchor (KEYBROKER_TRUST_ANCHORS), unless this is a test",
        )]);
    }
    if args.store.aws {
        match Account::open(&args.store.login()).await {
            Ok(account) => {
                let operator = args.store.deployed(&account);
                tokio::join!(
                    aws::examine(&account, &args.store.prefix, report),
                    contents(&operator, &anchors, None, report),
                );
            }
            Err(failure) => report.tell([Finding::failed("aws", &failure)]),
        }
        return;
    }
    report.tell([floor(&args.fleet)]);
    report.tell(local::examine(args));
    report.tell(args.deep.then(|| local::deeply(args)));
    report.tell(local::health(args).await);
    report.tell(tls::examine(args).await);
    match args.store.open().await {
        Ok(operator) => contents(&operator, &anchors, args.wrapping_key().as_ref(), report).await,
        Err(failure) => report.tell([Finding::failed("store", &failure)]),
    }
}

/// The checks of what is in the store, wherever it is.
async fn contents(
    operator: &OperatorHandle,
    anchors: &TrustAnchors,
    wrapping: Option<&Arc<LocalKey>>,
    report: &Report,
) {
    tokio::join!(
        async { report.tell(endorser::revocation_lists(operator, anchors).await) },
        async { report.tell(keys::examine(operator, wrapping).await) },
        async { report.tell(workloads::examine(operator).await) },
    );
}

/// The check of the variables that are set.
fn configuration(reach: &Reach) -> Finding {
    match environment::check(&Cli::command(), reach) {
        Ok(()) => Finding::ok("configuration", "every KEYBROKER_ variable that is set is known"),
        Err(failure) => Finding::failed("configuration", &failure),
    }
}

/// The check of the operator's floors, as the variables and flags set them.
fn floor(fleet: &FleetArgs) -> Finding {
    const CHECK: &str = "tcb-floor";
    let (fleet, _) = match fleet.read() {
        Ok(fleet) => fleet,
        Err(failure) => return Finding::failed(CHECK, &failure),
    };
    if fleet.lacks_floor() {
        return Finding::warn(
            CHECK,
            "no floor of the TCB is set in this environment: guests on firmware with known vulnerabilities are \
             admitted",
            "set --minimum-tcb (KEYBROKER_MINIMUM_TCB) for the silicon of your hosts, or say --accept-any-tcb \
             (KEYBROKER_ACCEPT_ANY_TCB)",
        );
    }
    let alone = |(_, floors): (_, &BySilicon<Levels>)| floors.products_alone().collect::<Vec<_>>();
    let mut alone: Vec<_> = fleet.platform.floors().into_iter().flat_map(alone).collect();
    alone.sort_unstable();
    alone.dedup();
    if !alone.is_empty() {
        let names: Vec<_> = alone.iter().map(ToString::to_string).collect();
        return Finding::warn(
            CHECK,
            format!("a floor names {} alone, and no stepping of it", names.join(", ")),
            "such a floor holds for reports of version 2: guests with later reports are refused until a floor names \
             their stepping, as milan-b1",
        );
    }
    Finding::ok(
        CHECK,
        if fleet.platform.has_floor() { "a floor is set" } else { "any TCB is accepted on purpose" },
    )
}
