//! The stores on DynamoDB and the key in KMS, on a local AWS and, for the errors that it lacks, on answers
//! made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod budget;
mod by_reference_values;
mod cold_starts;
mod contract;
mod forms;
mod items;
mod keys;
mod native;
mod release;
mod rewrap;
mod selections;
mod trustee;
mod units;
mod upgrade;
