//! The function that hands out challenges: `POST /kbs/v0/auth`. It can use the keys of challenges, make their
//! next, and nothing else.

use std::{process::ExitCode, sync::Arc};

use keybroker_aws::dynamodb::{AuthTables, DynamoStore};
use keybroker_common::{broker::Auth, clock::SystemClock, config::AuthConfig};
use keybroker_lambda::{TRUST_ANCHORS, origin, run};

fn main() -> ExitCode {
    run(&[TRUST_ANCHORS], |config: AuthConfig, aws| {
        let tables = AuthTables { keys: config.origin.keys_table.clone() };
        let store = Arc::new(DynamoStore::new(aws.dynamodb(), tables));
        Ok(Auth::new(store, origin(config.origin, aws), Arc::new(SystemClock)))
    })
}
