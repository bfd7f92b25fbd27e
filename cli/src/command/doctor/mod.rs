//! `keybroker doctor`: it finds what keeps a broker from working, and says what to do about it.

mod aws;
mod endorser;
mod finding;
mod keys;
mod local;
mod tls;
mod url;
mod workloads;

use std::{path::PathBuf, sync::Arc};

use anstyle::{AnsiColor, Style};
use clap::CommandFactory as _;
use keybroker_common::platform::{BySilicon, Levels};
use keybroker_embedded::key::LocalKey;
use serde::Serialize;

use self::finding::{Finding, Severity};
use crate::{
    Cli,
    endorser::{AnchorArgs, KdsArgs},
    environment::{self, Reach},
    exit::{Exit, Failure},
    fleet::FleetArgs,
    operator::{self, StoreArgs},
    paths,
    suggest::StorePlace,
    table,
    tls::TlsArgs,
};

/// Find what keeps the broker from working
///
/// The command checks configuration, store, disk, wrapping key, TLS certificate, the broker's own keys,
/// clock, AMD's KDS, revocation lists, and how long workload ids may be behind a base URL. Each check is ok, a warning or a
/// failure, and says what to do. The command changes nothing. It reads the variables of `keybroker serve`:
/// run it as the broker's user, with the broker's environment.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker doctor
  keybroker doctor --url http://127.0.0.1:8000 --url https://kb.example.com
  keybroker doctor --deep
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
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE", conflicts_with = "aws")]
    key_file: Option<PathBuf>,
    /// Also read every byte and every row of a store on this machine, which no broker may have open
    #[arg(long, conflicts_with = "aws")]
    deep: bool,
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

    /// The arguments that lead another command to this store and to its key.
    fn place(&self) -> StorePlace {
        let place = self.store.place();
        match paths::key_file(self.key_file.as_deref()) {
            Ok(key_file) if !self.store.aws => place.with_key_file(&key_file),
            _ => place,
        }
    }
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Findings {
    /// Version of this form.
    schema: u8,
    ok: usize,
    warn: usize,
    fail: usize,
    findings: Vec<Finding>,
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs, reach: &Reach) -> Result<Exit, Failure> {
    let mut findings = operator::block_on(async { Ok(examine(args, reach).await) })?;
    let place = args.place();
    for finding in &mut findings {
        finding.advice = finding.advice.take().map(|advice| place.advice(&advice));
    }
    let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
    let [ok, warn, fail] = [Severity::Ok, Severity::Warn, Severity::Fail].map(count);
    let findings = Findings { schema: 1, ok, warn, fail, findings };
    if args.json {
        table::json(&findings)?
    } else {
        print(&findings)?
    }
    Ok(if fail == 0 { Exit::Ok } else { Exit::Failure })
}

async fn examine(args: &DoctorArgs, reach: &Reach) -> Vec<Finding> {
    let mut findings = vec![configuration(reach)];
    let anchors = match args.anchors.read() {
        Ok(anchors) => anchors,
        Err(failure) => {
            findings.push(Finding::failed("trust-anchors", &failure));
            keybroker_snp::anchors::TrustAnchors::amd()
        }
    };
    if args.anchors.any() {
        findings.push(Finding::warn(
            "trust-anchors",
            "simulated hardware is trusted: anybody who holds the key of such a root gets every secret",
            "remove --trust-anchor (KEYBROKER_TRUST_ANCHORS), unless this is a test",
        ));
    }
    findings.extend((!args.store.aws).then(|| floor(&args.fleet)));
    if args.store.aws {
        findings.extend(aws::examine(&args.store.prefix).await);
    } else {
        findings.extend(local::examine(args));
        findings.extend(args.deep.then(|| local::deeply(args)));
        findings.extend(local::health(args).await);
        findings.extend(tls::examine(args).await);
    }
    match args.store.open().await {
        Ok(operator) => {
            findings.extend(endorser::revocation_lists(&operator, &anchors).await);
            findings.extend(keys::examine(&operator, args.wrapping_key().as_ref()).await);
            findings.extend(workloads::examine(&operator).await);
        }
        Err(failure) => findings.push(Finding::failed("store", &failure)),
    }
    findings.extend(endorser::kds(&args.kds).await);
    findings.extend(args.url.iter().map(|url| url::budget(url)));
    findings
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

fn print(findings: &Findings) -> anyhow::Result<()> {
    for Finding { check, verdict, finding, advice } in &findings.findings {
        let (word, colour) = match verdict {
            Severity::Ok => ("ok", AnsiColor::Green),
            Severity::Warn => ("warn", AnsiColor::Yellow),
            Severity::Fail => ("fail", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        anstream::println!("{style}{word:<4}{style:#}  {check:<15}  {}", table::printable(finding));
        if let Some(advice) = advice {
            anstream::println!("{:>23}{}", "", table::printable(advice));
        }
    }
    let Findings { ok, warn, fail, .. } = findings;
    table::line(&format!("{ok} ok, {warn} warnings, {fail} failures"))
}
