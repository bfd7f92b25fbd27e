//! The function that verifies evidence, `POST /kbs/v0/attest`, and releases secrets, `GET
//! /kbs/v0/key/{workload_id}`.

mod anchors;

use std::{process::ExitCode, sync::Arc};

use keybroker_aws::{
    dynamodb::{AttestTables, DynamoStore},
    kms::KmsUnwrap,
};
use keybroker_common::{broker::Attest, clock::SystemClock, config::AttestConfig};
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
        let clock = Arc::new(SystemClock);
        let amd = EndorsementSource::new(anchors, store.clone(), clock.clone(), &config.endorsements);
        config.fleet.announce();
        let (unwrap, fleet) = (Arc::new(KmsUnwrap::new(aws.kms())), Arc::new(config.fleet));
        Ok(Attest::new(
            store,
            unwrap,
            Arc::new(amd),
            Arc::new(RegoEngine::default()),
            fleet,
            clock,
            config.session_ttl,
        ))
    })
}
