//! The function that hands out challenges: `POST /kbs/v0/auth`. It can write challenges and nothing else.

use std::{process::ExitCode, sync::Arc};

use keybroker_aws::dynamodb::{AuthTables, DynamoStore};
use keybroker_common::{broker::Auth, clock::SystemClock, config::AuthConfig};
use keybroker_lambda::{TRUST_ANCHORS, run};

fn main() -> ExitCode {
    run(&[TRUST_ANCHORS], |config: AuthConfig, aws| {
        let tables = AuthTables { challenges: config.challenges_table };
        let store = Arc::new(DynamoStore::new(aws.dynamodb(), tables));
        Ok(Auth::new(store, Arc::new(SystemClock), config.session_ttl))
    })
}
