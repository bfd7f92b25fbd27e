//! The function that verifies evidence, `POST /kbs/v0/attest`, and releases secrets, `GET
//! /kbs/v0/key/{workload_id}`.

mod anchors;

use std::{process::ExitCode, sync::Arc};

use keybroker_aws::{
    dynamodb::{AttestTables, DynamoStore},
    kms::{KmsKeyring, KmsUnwrap},
};
use keybroker_common::{
    broker::{Attest, AttestKeys},
    clock::SystemClock,
    config::AttestConfig,
    keyring::Purpose,
    keys::SigningKeys,
};
use keybroker_kds::EndorsementSource;
use keybroker_lambda::origin;
use keybroker_rego::RegoEngine;

fn main() -> ExitCode {
    keybroker_lambda::run(anchors::SETTINGS, |config: AttestConfig, aws| {
        let anchors = anchors::trusted()?;
        let tables = AttestTables {
            workloads: config.workloads_table,
            decisions: config.decisions_table,
            keys: config.origin.keys_table.clone(),
            endorsements: config.endorsements_table,
        };
        let store = DynamoStore::new(aws.dynamodb(), tables);
        let store = Arc::new(config.audit_kept_for.into_iter().fold(store, DynamoStore::keep_audit_for));
        let clock = Arc::new(SystemClock);
        let amd = EndorsementSource::new(anchors, store.clone(), clock.clone(), &config.endorsements);
        let (fleet, advisories) = config.fleet.resolve()?;
        fleet.announce();
        advisories.announce();
        let kms_key = &config.origin.kms_key;
        let ring = |purpose| Arc::new(KmsKeyring::new(aws.kms(), kms_key.clone(), purpose));
        let keys = AttestKeys {
            sessions: ring(Purpose::Session),
            results: ring(Purpose::Result),
            unwrap: Arc::new(KmsUnwrap::new(aws.kms())),
            signers: Arc::new(SigningKeys::new(store.clone(), ring(Purpose::Signature), clock.clone())),
        };
        let (amd, rego, fleet) = (Arc::new(amd), Arc::new(RegoEngine::default()), Arc::new(fleet));
        let attest = Attest::new(store, origin(config.origin, aws), keys, amd, rego, fleet, clock);
        Ok(attest.judging_by(advisories))
    })
}
