//! The items that select workloads: their form, and their fate at another hand, or under an earlier release,
//! which deletes a workload and leaves them.

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use keybroker_common::{
    store::{Build, OperatorStore as _, RegistrationStore as _, StoreError, WorkloadStore as _},
    workload::Workload,
};
use keybroker_initdata::InitDataDigest;
use keybroker_testing::{
    moto::{self, Store},
    sample,
};

const SELECTS: Result<(), StoreError> = Err(StoreError::Selects);

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn key(init_data: &InitDataDigest) -> String {
    format!("host-data#{}", HEXLOWER.encode(&init_data.host_data()))
}

/// Has `init_data` select `workload_id`, by another hand.
async fn set(store: &Store, init_data: &InitDataDigest, workload_id: &str) {
    moto::set(&store.tables().workloads, "workload_id", &key(init_data), "selects", text(workload_id)).await;
}

async fn delete(store: &Store, key: &str) {
    let table = &store.tables().workloads;
    let deletion = moto::dynamodb().delete_item().table_name(table).key("workload_id", text(key));
    deletion.send().await.unwrap();
}

async fn created(store: &Store, init_data: &InitDataDigest) -> Workload {
    let workload = sample::selected_by(init_data);
    store.create(&workload, &sample::registered(), None).await.unwrap();
    workload
}

async fn selected(store: &Store, init_data: &InitDataDigest) -> Option<String> {
    let selected = store.selected(&init_data.host_data()).await.unwrap();
    selected.map(String::from)
}

#[tokio::test]
async fn a_selection_is_an_item_beside_the_workloads() {
    let (store, init_data) = (moto::store().await, sample::init_data());
    let workload = created(&store, &init_data).await;
    let table = &store.tables().workloads;
    let answer =
        moto::dynamodb().get_item().table_name(table).key("workload_id", text(&key(&init_data))).send().await;
    let item = answer.unwrap().item.unwrap();
    let expected = [
        ("workload_id", text(&key(&init_data))),
        ("format", AttributeValue::N("1".to_owned())),
        ("selects", text(workload.id.as_str())),
    ];
    assert_eq!(item, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

/// A row is not trusted to name what selects another.
#[tokio::test]
async fn a_row_frees_nothing_that_selects_another_workload() {
    let (store, init_data) = (moto::store().await, sample::init_data());
    for build in [None, Some(Build::Same), Some(Build::New)] {
        let workload = created(&store, &init_data).await;
        set(&store, &init_data, "other").await;
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
        assert_eq!(selected(&store, &init_data).await.as_deref(), Some("other"));
        delete(&store, &key(&init_data)).await;
    }
}

/// Nor is it selected because it says so.
#[tokio::test]
async fn a_row_takes_nothing_back_that_selects_another_workload() {
    let (store, init_data) = (moto::store().await, sample::init_data());
    let workload = created(&store, &init_data).await;
    set(&store, &init_data, "other").await;
    let anew = sample::moved_to(&workload, &init_data);
    assert_eq!(store.replace(&workload, Build::New, &anew, &sample::registered(), None).await, SELECTS);
    assert_eq!(store.workload(&workload.id).await, Ok(Some(workload)));
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some("other"));
}

#[tokio::test]
async fn what_is_missing_is_written_again_and_is_in_no_deletions_way() {
    let (store, init_data) = (moto::store().await, sample::init_data());
    let workload = created(&store, &init_data).await;
    delete(&store, &key(&init_data)).await;
    let anew = sample::moved_to(&workload, &init_data);
    assert_eq!(store.replace(&workload, Build::New, &anew, &sample::registered(), None).await, Ok(()));
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some(workload.id.as_str()));
    delete(&store, &key(&init_data)).await;
    assert_eq!(store.delete(&anew, &sample::deleted(1)).await, Ok(()));
    assert_eq!(store.workload(&workload.id).await, Ok(None));
}

/// An earlier release knows no selections. Its workload's id can have what it left, and no other.
#[tokio::test]
async fn what_a_deletion_by_an_earlier_release_left_is_its_workloads_own() {
    let (store, init_data) = (moto::store().await, sample::init_data());
    let workload = created(&store, &init_data).await;
    delete(&store, workload.id.as_str()).await;
    assert_eq!(selected(&store, &init_data).await.as_deref(), Some(workload.id.as_str()));
    let other = sample::selected_by(&init_data);
    assert_eq!(store.create(&other, &sample::registered(), None).await, SELECTS);
    assert_eq!(store.create(&workload, &sample::registered(), None).await, Ok(()));
    assert_eq!(store.delete(&workload, &sample::deleted(1)).await, Ok(()));
    assert_eq!(store.create(&other, &sample::registered(), None).await, Ok(()));
}

#[tokio::test]
async fn a_selection_that_this_release_does_not_read_is_corrupt_and_nobodys() {
    let store = moto::store().await;
    for (name, value, cause) in [
        (
            "format",
            AttributeValue::N("2".to_owned()),
            "it has the format 2, which this release does not read",
        ),
        ("selects", AttributeValue::Bool(true), "selects is not what it should be"),
        ("selects", text("a#b"), "the workload id holds a character that a guest's URL cannot carry"),
    ] {
        let init_data = sample::init_data();
        let workload = created(&store, &init_data).await;
        moto::set(&store.tables().workloads, "workload_id", &key(&init_data), name, value).await;
        let expected = StoreError::Corrupt { table: "workloads".into(), cause: cause.to_owned() };
        assert_eq!(store.selected(&init_data.host_data()).await, Err(expected));
        let other = store.create(&sample::selected_by(&init_data), &sample::registered(), None).await;
        assert_eq!(other, SELECTS);
        assert_eq!(store.delete(&workload, &sample::deleted(1)).await, Ok(()), "{name}");
        // It stops no listing, and is none of its rows.
        let listed = store.workloads(None).await.unwrap();
        assert_eq!((listed.rows, listed.unreadable), (vec![], vec![]));
    }
}
