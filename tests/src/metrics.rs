//! The metrics of the functions.

/// Every metric, as the functions' log names it.
pub const METRICS: [&str; 13] = [
    "Registered",
    "Attested",
    "Released",
    "Refused",
    "Unavailable",
    "KeyUnavailable",
    "KdsHit",
    "KdsMiss",
    "KdsThrottled",
    "Unauthenticated",
    "Panicked",
    "NoSession",
    "Latency",
];
