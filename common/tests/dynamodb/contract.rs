//! The contract suite.

use keybroker_common::store_contract;

use crate::moto;

store_contract!(moto::store().await);
