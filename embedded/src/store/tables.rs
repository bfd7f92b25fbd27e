//! Every table of the file.

use keybroker_common::{audit::AuditRecord, store::StoredEndorsement, token::Token, workload::Workload};
use redb::{StorageError, TableError, TableHandle as _, WriteTransaction};

use super::rows::{GuestRow, KeyringRow, Row as _, SelectionRow};

/// Makes every table, so that a read never lacks one.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(Workload::TABLE)?;
    transaction.open_table(SelectionRow::TABLE)?;
    transaction.open_table(Token::TABLE)?;
    transaction.open_table(GuestRow::TABLE)?;
    transaction.open_table(KeyringRow::TABLE)?;
    transaction.open_table(StoredEndorsement::TABLE)?;
    transaction.open_table(AuditRecord::TABLE)?;
    Ok(())
}

/// Whether the database has the tables that were added to the format since it was first written.
pub(super) fn complete(transaction: &WriteTransaction) -> Result<bool, StorageError> {
    Ok(transaction.list_tables()?.any(|table| table.name() == SelectionRow::NAME))
}
