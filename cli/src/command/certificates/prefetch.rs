//! `keybroker certificates prefetch`.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    sync::Arc,
    time::Duration,
};

use data_encoding::HEXLOWER;
use keybroker_common::{clock::SystemClock, encoding::amd};
use keybroker_kds::{EndorsementError, EndorsementSource, Fetched, VcekId};
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
};
use serde::Serialize;

use super::chips::ChipArgs;
use crate::{
    endorser::{AnchorArgs, KdsArgs, NewChipsArgs},
    exit::{Exit, Failure},
    operator::StoreArgs,
    table::{self, NONE},
};

/// Attempts at one chip before AMD counts as out of reach. Between two of them the command waits as long as
/// AMD asks.
const ATTEMPTS: usize = 3;

/// Fetch the certificates of chips before their guests start, and the revocation lists of their products
///
/// AMD's KDS answers an address for about one chip in ten seconds, so many new hosts at once keep each other
/// waiting. If you prefetch their certificates, their guests boot without AMD. The command does not ask for
/// certificates that the store has: repeat it to continue where it ended. A chip that gets new firmware needs
/// another certificate.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  By a report of the host's (snpguest report, snphost):
      keybroker certificates prefetch --report host7.bin --report host8.bin
  By name:
      keybroker certificates prefetch --product milan --chip-id $CHIP_ID \\
          --tcb bl=4,tee=0,snp=24,ucode=219
  By the URL of its certificate, which `snphost show vcek-url` prints:
      keybroker certificates prefetch --vcek-url $VCEK_URL
  A fleet, from lines such as `milan 7ba9… bl=4,tee=0,snp=24,ucode=219` or `report host7.bin`:
      keybroker certificates prefetch --from fleet.txt --aws

While this command has the store open, a broker cannot start on it. A broker that is running is not disturbed.

{}", Exit::TABLE))]
pub(super) struct PrefetchArgs {
    #[command(flatten)]
    chips: ChipArgs,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kds: KdsArgs,
    #[command(flatten)]
    new_chips: NewChipsArgs,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The result for a chip or a list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "cause")]
enum PrefetchOutcome {
    /// It was fetched and is in the store.
    Fetched,
    /// The store had it already, and the broker would use it.
    Held,
    /// AMD knows no such certificate.
    UnknownToAmd,
    /// It could not be fetched.
    Failed(String),
    /// AMD was out of reach before its turn came.
    NotAskedFor,
}

impl PrefetchOutcome {
    fn text(&self) -> String {
        match self {
            Self::Fetched => "fetched".to_owned(),
            Self::Held => "held already".to_owned(),
            Self::UnknownToAmd => "unknown to AMD".to_owned(),
            Self::Failed(cause) => format!("failed: {cause}"),
            Self::NotAskedFor => "not asked for".to_owned(),
        }
    }

    fn is_good(&self) -> bool {
        matches!(self, Self::Fetched | Self::Held)
    }
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct PrefetchOutput {
    /// Version of this form.
    schema: u8,
    certificates: Vec<Certificate>,
    revocation_lists: Vec<List>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    #[serde(serialize_with = "amd::product::serialize")]
    product: Product,
    chip_id: String,
    #[serde(with = "amd::TcbJson")]
    tcb: TcbVersion,
    #[serde(flatten)]
    outcome: PrefetchOutcome,
}

#[derive(Debug, Serialize)]
struct List {
    #[serde(serialize_with = "amd::product::serialize")]
    product: Product,
    #[serde(flatten)]
    outcome: PrefetchOutcome,
}

pub(super) async fn run(args: &PrefetchArgs) -> Result<Exit, Failure> {
    let chips = args.chips.read()?;
    let anchors = args.anchors.read()?;
    let operator = args.store.open().await?;
    let settings = args.kds.settings(args.new_chips.read())?;
    let source = EndorsementSource::new(anchors, operator.store.clone(), Arc::new(SystemClock), &settings);
    let mut unreachable = false;
    let mut report = PrefetchOutput { schema: 1, certificates: Vec::new(), revocation_lists: Vec::new() };
    for (index, id) in chips.iter().enumerate() {
        let outcome = if unreachable {
            PrefetchOutcome::NotAskedFor
        } else {
            tell(&format!("{}/{} {id}", index + 1, chips.len()));
            let fetched = patiently(async || source.prefetch(id).await).await;
            unreachable = matches!(fetched, Err(EndorsementError::Unavailable { .. }));
            outcome(fetched)
        };
        report.certificates.push(Certificate::of(id, outcome));
    }
    for product in chips.iter().map(VcekId::product).collect::<BTreeSet<_>>() {
        let outcome = if unreachable {
            PrefetchOutcome::NotAskedFor
        } else {
            tell(&format!("revocation list of {product}"));
            let list = patiently(async || {
                source.prefetch_revocation_list(product, EndorsementKind::Vcek).await.map(|()| Fetched::Held)
            });
            let list = list.await;
            unreachable = matches!(list, Err(EndorsementError::Unavailable { .. }));
            outcome(list)
        };
        report.revocation_lists.push(List { product, outcome });
    }
    report.print(args.json)?;
    Ok(report.exit(unreachable))
}

/// Asks, and between two attempts waits as long as AMD asks. A burst of new chips passes at AMD's pace,
/// however long that takes. A KDS that does not answer is given up.
async fn patiently(
    fetch: impl AsyncFn() -> Result<Fetched, EndorsementError>,
) -> Result<Fetched, EndorsementError> {
    let mut attempts = 1;
    loop {
        let (pause, cause) = match fetch().await {
            Err(error @ EndorsementError::TooManyNewChips { retry_after }) => (retry_after, error),
            Err(error @ EndorsementError::Unavailable { retry_after, .. }) if attempts < ATTEMPTS => {
                attempts += 1;
                (retry_after, error)
            }
            other => return other,
        };
        tell(&format!(" trying again in {pause} s: {cause}"));
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
}

fn outcome(fetched: Result<Fetched, EndorsementError>) -> PrefetchOutcome {
    match fetched {
        Ok(Fetched::New) => PrefetchOutcome::Fetched,
        Ok(Fetched::Held) => PrefetchOutcome::Held,
        Err(EndorsementError::UnknownChip) => PrefetchOutcome::UnknownToAmd,
        Err(error) => PrefetchOutcome::Failed(error.to_string()),
    }
}

/// Tells a person at the terminal how far the command is.
fn tell(text: &str) {
    if io::stderr().is_terminal() {
        say!("{text}");
    }
}

impl Certificate {
    fn of(id: &VcekId, outcome: PrefetchOutcome) -> Self {
        Self { product: id.product(), chip_id: HEXLOWER.encode(id.hwid()), tcb: id.tcb(), outcome }
    }
}

impl PrefetchOutput {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return table::json(self);
        }
        let certificates = self.certificates.iter().map(|one| {
            let chip = one.chip_id.chars().take(16).collect();
            vec![one.product.to_string(), chip, one.tcb.to_string(), one.outcome.text()]
        });
        let lists = self.revocation_lists.iter().map(|one| {
            // A list that is held and a list that was renewed are the same to a reader.
            let text = if one.outcome.is_good() { "held".to_owned() } else { one.outcome.text() };
            vec![one.product.to_string(), "revocation list".to_owned(), NONE.to_owned(), text]
        });
        table::print(&["product", "chip", "tcb", "result"], certificates.chain(lists))
    }

    fn exit(&self, unreachable: bool) -> Exit {
        let certificates = self.certificates.iter().map(|one| &one.outcome);
        let mut all = certificates.chain(self.revocation_lists.iter().map(|one| &one.outcome));
        match (unreachable, all.all(PrefetchOutcome::is_good)) {
            (true, _) => Exit::Unreachable,
            (false, true) => Exit::Ok,
            (false, false) => Exit::Failure,
        }
    }
}
