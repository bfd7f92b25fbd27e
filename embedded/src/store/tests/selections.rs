//! The rows that select workloads: their fate at another hand, or by an earlier release,
//! and whether they agree with the workloads after a broker was killed.

use keybroker_common::{
    ids::WorkloadId,
    store::{Build, OperatorStore as _, RegistrationStore as _, StoreError, WorkloadStore as _},
    workload::Workload,
};
use keybroker_initdata::InitDataDigest;
use keybroker_testing::sample;
use redb::{Database, ReadableDatabase as _, TableHandle as _};

use super::{Scratch, assert_corrupt, reopen};
use crate::store::{
    EmbeddedStore, OpenError,
    disk::Edit,
    rows::{self, Row, SelectionRow, Span, Way},
};

const SELECTS: Result<(), StoreError> = Err(StoreError::Selects);

async fn created(store: &EmbeddedStore, init_data: &InitDataDigest) -> Workload {
    let workload = sample::selected_by(init_data);
    store.create(&workload, &sample::registered(), None).await.unwrap();
    workload
}

async fn delete<R: Row>(store: &EmbeddedStore, key: &[u8]) {
    let deleted = Edit::delete::<R>(key);
    store.write(move |_| Ok(vec![deleted.clone()])).await.unwrap();
}

async fn selected(store: &EmbeddedStore, init_data: &InitDataDigest) -> Option<String> {
    store.selected(&init_data.host_data()).await.unwrap().map(String::from)
}

/// Every selection: the HOST_DATA, and the workload.
fn selections(store: &EmbeddedStore) -> Vec<(Vec<u8>, WorkloadId)> {
    let rows = store.reading(|transaction| {
        let rows = rows::listed::<SelectionRow>(transaction, &Span::ALL, Way::Up, None)?;
        rows.map(|met| met.and_then(|met| Ok((met.key, met.row?.workload_id)))).collect()
    });
    rows.unwrap()
}

/// Each workload that HOST_DATA selects is selected by it, and nothing else is selected.
pub(super) async fn assert_agreed(store: &EmbeddedStore) -> usize {
    let (mut expected, mut after) = (Vec::new(), None);
    loop {
        let page = store.workloads(after.as_ref()).await.unwrap();
        expected.extend(page.rows.into_iter().filter_map(|row| Some((row.selected_by()?.to_vec(), row.id))));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    expected.sort();
    assert_eq!(selections(store), expected);
    expected.len()
}

/// An earlier release of the same format made no table of selections.
#[tokio::test]
async fn a_store_without_selections_is_opened_and_gets_them() {
    let (store, init_data) = (Scratch::new(), sample::init_data());
    let earlier = sample::workload();
    store.create(&earlier, &sample::registered(), None).await.unwrap();
    let (data_dir, file) = (store.data_dir(), store.file());
    let Scratch { store, dir: _dir } = store;
    drop(store);
    let database = Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(SelectionRow::TABLE).unwrap());
    transaction.commit().unwrap();
    drop(database);

    let store = reopen(&data_dir).unwrap();
    assert_eq!(selected(&store, &init_data).await, None);
    assert_eq!(store.workload(&earlier.id).await, Ok(Some(earlier)));
    let workload = created(&store, &init_data).await;
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some(workload.id.as_str()));
    drop(store);
    let database = Database::open(&file).unwrap();
    let tables = database.begin_read().unwrap();
    assert!(tables.list_tables().unwrap().any(|table| table.name() == SelectionRow::NAME));
    drop((tables, database));
    assert_eq!(assert_agreed(&reopen(&data_dir).unwrap()).await, 1);
    assert_eq!(EmbeddedStore::check_deeply(&data_dir), Ok(()));
}

/// A row is not trusted to name what selects another.
#[tokio::test]
async fn a_row_frees_nothing_that_selects_another_workload() {
    let (store, init_data) = (Scratch::new(), sample::init_data());
    let others: [(&[u8], Option<&str>); 2] =
        [(br#"{"workload_id":"other"}"#, Some("other")), (b"garbage", None)];
    for (others, readable) in others {
        for build in [None, Some(Build::Same), Some(Build::New)] {
            let workload = created(&store, &init_data).await;
            store.plant::<SelectionRow>(&init_data.host_data(), others);
            match build {
                None => {
                    assert_eq!(store.delete(&workload, &sample::deleted(1)).await, Ok(()));
                    assert_eq!(store.workload(&workload.id).await, Ok(None));
                }
                Some(build) => {
                    let moved = sample::moved_to(&workload, &sample::init_data());
                    let replaced = store.replace(&workload, build, &moved, &sample::registered(), None).await;
                    assert_eq!(replaced, Ok(()));
                    assert_eq!(store.workload(&workload.id).await, Ok(Some(moved)));
                }
            }
            match readable {
                Some(_) => assert_eq!(selected(&store, &init_data).await.as_deref(), readable),
                None => assert_corrupt("selections", store.selected(&init_data.host_data()).await),
            }
            delete::<SelectionRow>(&store, &init_data.host_data()).await;
        }
    }
}

/// Nor is it selected because it says so.
#[tokio::test]
async fn a_row_takes_nothing_back_that_selects_another_workload() {
    let (store, init_data) = (Scratch::new(), sample::init_data());
    let workload = created(&store, &init_data).await;
    let anew = sample::moved_to(&workload, &init_data);
    store.plant::<SelectionRow>(&init_data.host_data(), br#"{"workload_id":"other"}"#);
    assert_eq!(store.replace(&workload, Build::New, &anew, &sample::registered(), None).await, SELECTS);
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some("other"));
    store.plant::<SelectionRow>(&init_data.host_data(), b"garbage");
    let replaced = store.replace(&workload, Build::New, &anew, &sample::registered(), None).await;
    assert_corrupt("selections", replaced);
    let other = store.create(&sample::selected_by(&init_data), &sample::registered(), None).await;
    assert_corrupt("selections", other);
    assert_eq!(store.workload(&workload.id).await, Ok(Some(workload)));
}

#[tokio::test]
async fn what_is_missing_is_written_again_and_is_in_no_deletions_way() {
    let (store, init_data) = (Scratch::new(), sample::init_data());
    let workload = created(&store, &init_data).await;
    delete::<SelectionRow>(&store, &init_data.host_data()).await;
    let anew = sample::moved_to(&workload, &init_data);
    assert_eq!(store.replace(&workload, Build::New, &anew, &sample::registered(), None).await, Ok(()));
    assert_eq!(assert_agreed(&store).await, 1);
    delete::<SelectionRow>(&store, &init_data.host_data()).await;
    assert_eq!(store.delete(&anew, &sample::deleted(1)).await, Ok(()));
    assert_eq!(assert_agreed(&store).await, 0);
}

/// An earlier release knows no selections. Its workload's id can have what it left, and no other.
#[tokio::test]
async fn what_a_deletion_by_an_earlier_release_left_is_its_workloads_own() {
    let (store, init_data) = (Scratch::new(), sample::init_data());
    let workload = created(&store, &init_data).await;
    delete::<Workload>(&store, workload.id.as_str().as_bytes()).await;
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some(workload.id.as_str()));
    let other = sample::selected_by(&init_data);
    assert_eq!(store.create(&other, &sample::registered(), None).await, SELECTS);
    assert_eq!(store.create(&workload, &sample::registered(), None).await, Ok(()));
    assert_eq!(store.delete(&workload, &sample::deleted(1)).await, Ok(()));
    assert_eq!(store.create(&other, &sample::registered(), None).await, Ok(()));
    assert_eq!(assert_agreed(&store).await, 1);
}

#[tokio::test]
async fn all_of_a_store_includes_what_selects_workloads() {
    let (store, init_data) = (Scratch::new(), sample::init_data());
    created(&store, &init_data).await;
    store.plant::<SelectionRow>(&init_data.host_data(), br#"{"workload_id":"a#b"}"#);
    let data_dir = store.data_dir();
    let Scratch { store, dir: _dir } = store;
    drop(store);
    let OpenError::Corrupt(cause) = EmbeddedStore::check_deeply(&data_dir).unwrap_err() else {
        panic!("it is damaged");
    };
    assert!(cause.starts_with("a row of selections cannot be read"), "{cause}");
}
