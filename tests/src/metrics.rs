//! The metrics of the functions.

/// Every metric, as the functions' log names it.
pub const METRICS: [&str; 16] = [
    "Registered",
    "Attested",
    "Released",
    "Refused",
    "Unavailable",
    "KeyUnavailable",
    "KdsMiss",
    "KdsThrottled",
    "Unauthenticated",
    "Panicked",
    "NoSession",
    "KdsLatency",
    "VerifyLatency",
    "TransactionLatency",
    "WrapLatency",
    "UnwrapLatency",
];
