//! The function that registers workloads: `POST /kbs/v0/register_workload`. It can wrap secrets and never
//! unwrap them.

use std::{process::ExitCode, sync::Arc};

use keybroker_aws::{
    dynamodb::{DynamoStore, RegisterTables},
    kms::KmsWrap,
};
use keybroker_common::{broker::Register, clock::SystemClock, config::RegisterConfig};
use keybroker_lambda::{TRUST_ANCHORS, run};
use keybroker_rego::RegoEngine;

fn main() -> ExitCode {
    run(&[TRUST_ANCHORS], |config: RegisterConfig, aws| {
        let tables = RegisterTables {
            workloads: config.workloads_table,
            tokens: config.tokens_table,
            audit: config.audit_table,
        };
        let store = DynamoStore::new(aws.dynamodb(), tables);
        let store = Arc::new(config.audit_kept_for.into_iter().fold(store, DynamoStore::keep_audit_for));
        let wrap = Arc::new(KmsWrap::new(aws.kms(), config.kms_key));
        Ok(Register::new(
            store,
            wrap,
            Arc::new(RegoEngine::default()),
            config.admission,
            Arc::new(SystemClock),
        ))
    })
}
