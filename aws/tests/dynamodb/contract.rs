//! The contract suite.

use keybroker_testing::{moto, store_contract};

store_contract!(moto::store().await);
