//! Every table of the file.

use keybroker_common::{audit::AuditRecord, store::StoredEndorsement, token::Token, workload::Workload};
use redb::{TableError, WriteTransaction};

use super::rows::{GuestRow, KeyringRow, Row as _};

/// Makes every table, so that a read never lacks one.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(Workload::TABLE)?;
    transaction.open_table(Token::TABLE)?;
    transaction.open_table(GuestRow::TABLE)?;
    transaction.open_table(KeyringRow::TABLE)?;
    transaction.open_table(StoredEndorsement::TABLE)?;
    transaction.open_table(AuditRecord::TABLE)?;
    Ok(())
}
