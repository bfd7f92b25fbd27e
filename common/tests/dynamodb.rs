//! The stores on DynamoDB and the key in KMS, on a local AWS and, for the errors that it lacks, on answers
//! made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(all(feature = "aws", feature = "embedded", feature = "contract"))]

mod harness;

#[path = "dynamodb/budget.rs"]
mod budget;
#[path = "dynamodb/by_reference_values.rs"]
mod by_reference_values;
#[path = "dynamodb/cold_starts.rs"]
mod cold_starts;
#[path = "dynamodb/contract.rs"]
mod contract;
#[path = "dynamodb/items.rs"]
mod items;
#[path = "dynamodb/keys.rs"]
mod keys;
#[path = "dynamodb/release.rs"]
mod release;
