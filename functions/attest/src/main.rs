//! The function that verifies evidence, `POST /kbs/v0/attest`, and releases secrets, `GET
//! /kbs/v0/key/{workload_id}`.

mod anchors;

use std::{process::ExitCode, sync::Arc};

use keybroker_common::{
    broker::Attest,
    clock::SystemClock,
    config::AttestConfig,
    secret::kms::KmsUnwrap,
    store::dynamodb::{AttestTables, DynamoStore},
};
use keybroker_kds::EndorsementSource;
use keybroker_rego::RegoEngine;

fn main() -> ExitCode {
    keybroker_lambda::run(anchors::SETTINGS, |config: AttestConfig, aws| {
        let anchors = anchors::trusted()?;
        let tables = AttestTables {
            workloads: config.workloads_table,
            challenges: config.challenges_table,
            sessions: config.sessions_table,
            endorsements: config.endorsements_table,
            audit: config.audit_table,
        };
        let store = DynamoStore::new(aws.dynamodb(), tables);
        let store = Arc::new(config.audit_kept_for.into_iter().fold(store, DynamoStore::keep_audit_for));
        let amd = EndorsementSource::new(anchors, store.clone(), Arc::new(SystemClock), &config.endorsements);
        config.fleet.announce();
        Ok(Attest {
            sessions: store.clone(),
            workloads: store.clone(),
            audit: store,
            endorsements: Arc::new(amd),
            policies: Arc::new(RegoEngine::default()),
            fleet: Arc::new(config.fleet),
            patience: Arc::default(),
            unwrap: Arc::new(KmsUnwrap::new(aws.kms())),
            clock: Arc::new(SystemClock),
            ttl: config.session_ttl,
        })
    })
}
