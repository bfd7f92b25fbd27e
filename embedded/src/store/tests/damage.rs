//! A file that was altered while the store was closed: it gives errors, and never ends the process.

use std::{fs, path::Path};

use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    ids::{AuditId, WorkloadId},
    keyring::Purpose,
    store::{
        AuditQuery, AuditStore as _, Build, DecisionStore as _, Health as _, KeyringStore as _,
        OperatorStore, RegistrationStore as _, TokenStore as _, WorkloadStore as _,
    },
};
use keybroker_testing::sample;

use super::{Scratch, reopen};
use crate::store::{EmbeddedStore, file};

/// How many altered files are tried.
const FILES: u64 = 150;

/// Numbers that are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// The file with some bytes altered: somewhere in what is not empty, and often in the first page.
fn altered(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let end = if numbers.below(5) == 0 { 512 } else { whole.len() };
    let at = (0..100).map(|_| numbers.below(end)).find(|at| whole[*at] != 0).unwrap_or_default();
    let mut bytes = whole.to_vec();
    match numbers.below(4) {
        0 => bytes[at] ^= 1 << numbers.below(8),
        1 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = numbers.below(256).to_le_bytes()[0]),
        2 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = numbers.below(256).to_le_bytes()[0]),
        _ => bytes.truncate(at),
    }
    bytes
}

/// Everything that is done with a store. Each act may fail, and none may do worse.
async fn use_all(data_dir: &Path, workload: &WorkloadId, record: AuditId) {
    if let Ok(store) = reopen(data_dir) {
        let _ = (store.deployment(), store.bound_key());
        let _ = (store.workload(workload).await, store.decision(record).await);
        let _ = (store.keyring(Purpose::Session).await, store.tokens(None).await);
        let _ = (store.workloads(None).await, store.endorsements(None).await);
        let mut after = None;
        while let Ok(page) =
            OperatorStore::audit_records(&store, &AuditQuery::default(), after.as_ref()).await
            && page.next.is_some()
        {
            after = page.next;
        }
        let _ = (store.selected(&[0; 32]).await, store.append(&sample::refused()).await);
        if let Ok(Some(held)) = store.workload(workload).await {
            let moved = sample::moved_to(&held, &sample::init_data());
            let _ = store.replace(&held, Build::New, &moved, &sample::registered(), None).await;
            let _ = store.delete(&moved, &sample::deleted(1)).await;
        }
        let (new, registered) = (sample::selected_by(&sample::init_data()), sample::registered());
        let _ = store.create(&new, &registered, None).await;
        let _ = (store.decide(&sample::attest_decision(1)).await, store.check().await);
        let pruned = |_| AuditRecord::new(sample::at(1), Operation::Operate, Decision::Pruned);
        let _ = store.prune(jiff::Timestamp::now(), pruned).await;
    }
    let _ = EmbeddedStore::compact(data_dir);
    let _ = EmbeddedStore::check_deeply(data_dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_file_ends_the_process() {
    let store = Scratch::new();
    let workload = sample::selected_by(&sample::init_data());
    store.create(&workload, &sample::registered(), None).await.unwrap();
    let mut record = sample::attest_decision(1).record.id;
    for _ in 0..40 {
        let decision = sample::attest_decision(1);
        record = decision.record.id;
        store.decide(&decision).await.unwrap();
    }
    store.put_token(&sample::token(), &sample::token_made()).await.unwrap();
    store.put_keyring(Purpose::Session, None, &sample::ring()).await.unwrap();
    let path = store.file();
    let Scratch { store, dir } = store;
    drop(store);
    let whole = fs::read(&path).unwrap();
    let damaged = dir.path().join("damaged");
    let mut refused = 0;
    for seed in 1..=FILES {
        let _ = fs::remove_dir_all(&damaged);
        fs::create_dir(&damaged).unwrap();
        fs::write(damaged.join(file::NAME), altered(&whole, seed)).unwrap();
        refused += u64::from(reopen(&damaged).is_err());
        fs::write(damaged.join(file::NAME), altered(&whole, seed)).unwrap();
        use_all(&damaged, &workload.id, record).await;
    }
    assert!(refused > 0, "some damage is found as a store is opened");
}
