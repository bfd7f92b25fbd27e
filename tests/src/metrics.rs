//! The metrics of the functions.

/// Every metric, as the functions' log names it.
pub const METRICS: [&str; 18] = [
    "Registered",
    "Attested",
    "Released",
    "GuestsBehind",
    "Refused",
    "Unavailable",
    "KeyUnavailable",
    "KdsMiss",
    "KdsThrottled",
    "Unauthenticated",
    "Panicked",
    "NoSession",
    "NoTcbFloor",
    "KdsLatency",
    "VerifyLatency",
    "TransactionLatency",
    "WrapLatency",
    "UnwrapLatency",
];
