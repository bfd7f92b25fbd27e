//! Every table of the file.

use keybroker_common::{
    audit::AuditRecord,
    session::{Challenge, Session},
    store::StoredEndorsement,
    token::Token,
    workload::Workload,
};
use redb::{TableError, WriteTransaction};

use super::{expiry::Expires as _, rows::Row as _};

/// Makes every table, so that a read never lacks one.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(Workload::TABLE)?;
    transaction.open_table(Token::TABLE)?;
    transaction.open_table(Challenge::TABLE)?;
    transaction.open_table(Challenge::INDEX)?;
    transaction.open_table(Session::TABLE)?;
    transaction.open_table(Session::INDEX)?;
    transaction.open_table(StoredEndorsement::TABLE)?;
    transaction.open_table(AuditRecord::TABLE)?;
    Ok(())
}
