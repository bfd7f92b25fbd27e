//! The workload that a value of HOST_DATA selects, as an item beside the workloads: under `host-data#` and
//! the value in hex, which is no workload's id, with the id as `selects`.

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{AttributeValue, Delete, Put},
};
use data_encoding::HEXLOWER;
use keybroker_common::{ids::WorkloadId, store::StoreError, workload::Workload};

use super::{
    DynamoStore,
    item::{Attributes, Item, Map, text},
    tables::WorkloadsTable,
    write::Transaction,
};

/// Begins the key of every selection. `#` is in no workload's id.
pub(super) const PREFIX: &str = "host-data#";
const SELECTS: &str = "selects";

/// Holds where no item is, and for one that selects `:workload`.
const NO_OTHERS: &str = "attribute_not_exists(#key) OR #selects = :workload";

/// A selection.
#[derive(Debug)]
pub(super) struct Selection {
    /// The key.
    host_data: String,
    workload_id: WorkloadId,
}

impl Selection {
    /// The one by which `workload` is found, if it is found by HOST_DATA.
    fn of(workload: &Workload) -> Option<Self> {
        let host_data = key(&workload.selected_by()?);
        Some(Self { host_data, workload_id: workload.id.clone() })
    }

    fn holder(&self) -> AttributeValue {
        text(self.workload_id.as_str())
    }

    /// The workload that it selects.
    pub(super) fn into_workload_id(self) -> WorkloadId {
        self.workload_id
    }
}

/// The key of the selection by `host_data`.
pub(super) fn key(host_data: &[u8; 32]) -> String {
    format!("{PREFIX}{}", HEXLOWER.encode(host_data))
}

impl Item for Selection {
    const TABLE: &'static str = Workload::TABLE;
    const KEY: &'static str = <Workload as Item>::KEY;

    fn key(&self) -> String {
        self.host_data.clone()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        item.insert(SELECTS.to_owned(), self.holder());
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        let workload_id = WorkloadId::new(item.text(SELECTS)?).map_err(Self::corrupt)?;
        Ok(Self { host_data: item.text(Self::KEY)?.to_owned(), workload_id })
    }
}

impl<T: WorkloadsTable> DynamoStore<T> {
    /// Commits the transaction that `rest` makes and, in it, what it means for selections: `written` is
    /// selected by its HOST_DATA, and that of `ended` selects nothing, unless it is the same or selects
    /// another workload. [`StoreError::Selects`] if nothing but the first is impossible.
    pub(super) async fn commit_selecting(
        &self,
        ended: Option<&Workload>,
        written: Option<&Workload>,
        rest: impl Fn() -> Result<Transaction, StoreError>,
    ) -> Result<(), StoreError> {
        let written = written.and_then(Selection::of);
        let ended = ended.and_then(Selection::of);
        let ended = ended.filter(|ended| written.as_ref().is_none_or(|new| new.host_data != ended.host_data));
        let selecting = || match &written {
            Some(selection) => {
                Ok(rest()?.put(self.put_selection(selection)?)?.failing_as(StoreError::Selects))
            }
            None => rest(),
        };
        if let Some(ended) = &ended {
            let freeing = selecting()?.delete(self.delete_selection(ended))?.failing_as(StoreError::Selects);
            match self.commit(freeing).await {
                // One of the two is another workload's. If it is the one to be freed, it stays.
                Err(StoreError::Selects) => {}
                outcome => return outcome,
            }
        }
        self.commit(selecting()?).await
    }

    fn put_selection(&self, selection: &Selection) -> Result<Result<Put, BuildError>, StoreError> {
        let put = Put::builder().table_name(self.tables.workloads()).set_item(Some(selection.to_item()?));
        Ok(put
            .condition_expression(NO_OTHERS)
            .expression_attribute_names("#key", Selection::KEY)
            .expression_attribute_names("#selects", SELECTS)
            .expression_attribute_values(":workload", selection.holder())
            .build())
    }

    fn delete_selection(&self, selection: &Selection) -> Result<Delete, BuildError> {
        Delete::builder()
            .table_name(self.tables.workloads())
            .key(Selection::KEY, text(selection.key()))
            .condition_expression(NO_OTHERS)
            .expression_attribute_names("#key", Selection::KEY)
            .expression_attribute_names("#selects", SELECTS)
            .expression_attribute_values(":workload", selection.holder())
            .build()
    }
}
