//! A broker that is killed while many wait for its writes.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use keybroker_common::{
    ids::AuditId,
    store::{Build, DecisionStore as _, OperatorStore as _, RegistrationStore as _},
};
use keybroker_testing::sample;
use uuid::Uuid;

use super::{reopen, selections::assert_agreed};
use crate::store::EmbeddedStore;

/// Names the directory to a process that is there to be killed.
const DATA_DIR: &str = "KEYBROKER_TEST_KILLED_IN";

/// The process that is killed: 64 writers, each of which says what was acknowledged, and 16 that register,
/// move and delete workloads that HOST_DATA selects.
#[tokio::test(flavor = "multi_thread")]
async fn writes_until_it_is_killed() {
    let Some(data_dir) = env::var_os(DATA_DIR) else { return };
    let store = Arc::new(reopen(Path::new(&data_dir)).unwrap());
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..100_000 {
                    let decision = sample::attest_decision(1);
                    store.decide(&decision).await.unwrap();
                    // One write: no line is cut in two by another.
                    std::io::stderr()
                        .write_all(format!("acked {}\n", decision.record.id).as_bytes())
                        .unwrap();
                }
            })
        })
        .collect();
    let registering = (0..16).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                register_and_move(&store).await;
            }
        })
    });
    let registering: Vec<_> = registering.collect();
    for writer in writers.into_iter().chain(registering) {
        writer.await.unwrap();
    }
}

/// Two workloads that come, and move to other HOST_DATA. One goes.
async fn register_and_move(store: &EmbeddedStore) {
    let (stays, goes) =
        (sample::selected_by(&sample::init_data()), sample::selected_by(&sample::init_data()));
    for workload in [&stays, &goes] {
        store.create(workload, &sample::registered(), None).await.unwrap();
        let moved = sample::moved_to(workload, &sample::init_data());
        store.replace(workload, Build::New, &moved, &sample::registered(), None).await.unwrap();
        if workload.id == goes.id {
            store.delete(&moved, &sample::deleted(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_broker_has_all_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 1..=3 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::killed::writes_until_it_is_killed", "--nocapture"])
            .env(DATA_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acked = |line: std::io::Result<String>| {
            if let Some(id) = line.unwrap().strip_prefix("acked ")
                && let Ok(id) = Uuid::parse_str(id)
            {
                acknowledged.push(AuditId(id));
            }
        };
        (&mut lines).take(300 * round).for_each(&mut acked);
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(&mut acked);
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    let store = reopen(dir.path()).unwrap();
    for id in acknowledged {
        assert!(store.decision(id).await.unwrap().is_some(), "{id} was acknowledged");
    }
    let selected = assert_agreed(&store).await;
    assert!(selected > 16, "{selected}");
}
