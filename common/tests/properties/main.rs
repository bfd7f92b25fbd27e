//! Properties that hold for any input.
#![allow(clippy::unwrap_used, clippy::panic)]

use keybroker_testing as support;

mod appraisal;
