//! The stores on DynamoDB and the key in KMS, on a local AWS and, for the errors that it lacks, on answers made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(all(feature = "aws", feature = "contract"))]

#[path = "harness/moto.rs"]
mod moto;

#[path = "dynamodb/contract.rs"]
mod contract;
#[path = "dynamodb/keys.rs"]
mod keys;
