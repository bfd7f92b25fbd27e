//! The metrics of the functions.

/// Every metric, as the functions' log names it.
pub const METRICS: [&str; 19] = [
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
    "ListAge",
    "KdsLatency",
    "VerifyLatency",
    "TransactionLatency",
    "WrapLatency",
    "UnwrapLatency",
];
