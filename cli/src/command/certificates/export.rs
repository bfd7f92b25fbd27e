//! `keybroker certificates export`.

use jiff::Timestamp;
use keybroker_snp::{anchors::pem_blocks, endorsement::EndorsementKind, product::Product};

use super::key_kind::KeyKind;
use crate::{
    chip_prefix::ChipPrefix,
    endorsement_row::{self as row, EndorsementRow, RowKind, RowState},
    endorser::AnchorArgs,
    exit::{Exit, Failure},
    operator::{self, StoreArgs},
    pem, platform, table,
};

/// Write the store's certificates as PEM, for `certificates import` into another broker's store
///
/// The output has the ASKs and ASVKs first, then the VCEKs, then the revocation lists that --list-for names.
/// A line before each says what it is. The command leaves out what the broker would not use. The other broker
/// verifies everything again.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker certificates export >certificates.pem
  With the lists for VCEKs, which `certificates import` takes with the same --list-for:
      keybroker certificates export --list-for vcek >certificates.pem
  One chip's alone:
      keybroker certificates export --chip-id $CHIP_ID >chip.pem

{}", Exit::TABLE))]
pub(super) struct ExportArgs {
    /// Only certificates of this product
    #[arg(long, value_name = "milan|genoa|turin", value_parser = platform::product)]
    product: Option<Product>,
    /// Only certificates of chips with this id: all of it in hex, or the first 16 or more digits
    #[arg(long, value_name = "HEX", value_parser = ChipPrefix::parse, conflicts_with = "list_for")]
    chip_id: Option<ChipPrefix>,
    /// Also the revocation lists for this kind of key: a list does not say for which kind it is
    #[arg(long, value_enum, value_name = "KIND")]
    list_for: Option<KeyKind>,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl ExportArgs {
    fn matches(&self, row: &EndorsementRow) -> bool {
        let wanted = match &row.kind {
            RowKind::Certificate(id) => self.chip_id.as_ref().is_none_or(|chip| chip.names(id)),
            RowKind::Chain(..) => true,
            RowKind::RevocationList(_, kind) => self.list_for.map(EndorsementKind::from) == Some(*kind),
            RowKind::Revoking(_) | RowKind::Note => false,
        };
        wanted && self.product.is_none_or(|product| row.kind.product() == Some(product))
    }
}

pub(super) async fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let anchors = args.anchors.read()?;
    let operator = args.store.open().await?;
    let (mut rows, unreadable) = row::all(&operator, &anchors, Timestamp::now()).await?;
    let exit = operator::tell_unreadable("the endorsement", &unreadable);
    rows.retain(|row| args.matches(row));
    rows.sort_by_key(|row| match row.kind {
        RowKind::Chain(..) => 0,
        RowKind::Certificate(_) => 1,
        RowKind::RevocationList(..) | RowKind::Revoking(_) | RowKind::Note => 2,
    });
    let mut exported = 0;
    for row in rows.iter().filter(|row| row.state == RowState::Ok) {
        let held = operator.store.endorsement(&row.key).await.map_err(|error| operator.failure(error))?;
        let Some(held) = held else { continue };
        let (label, ders) = match row.kind {
            RowKind::Chain(..) => ("CERTIFICATE", pem_blocks(&held.bytes).unwrap_or_default()),
            RowKind::RevocationList(..) => ("X509 CRL", vec![held.bytes]),
            RowKind::Certificate(_) | RowKind::Revoking(_) | RowKind::Note => {
                ("CERTIFICATE", vec![held.bytes])
            }
        };
        for der in ders {
            table::line(&row.key)?;
            table::line(pem::encode(label, &der).trim_end())?;
            exported += 1;
        }
    }
    let left_out = rows.iter().filter(|row| row.state == RowState::Unusable).count();
    say!("{exported} exported");
    if left_out > 0 {
        say!("{left_out} left out, because the broker would not use them: certificates list says why");
    }
    Ok(exit)
}
