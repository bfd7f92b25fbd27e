//! A deployment on AWS: the stores on DynamoDB, and the wrapping key in KMS.
//!
//! Each set of tables and each half of the key is a type of its own, so that a function holds what its role
//! may use and no more. How a client finds its region and its credentials is not decided here.

pub mod cause;
pub mod dynamodb;
#[cfg(feature = "kms")]
pub mod kms;
