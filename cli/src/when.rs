//! Durations and points in time, as operators write them.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A point in time, absolute or relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// This long ago.
    Ago(SignedDuration),
    /// At this time.
    At(Timestamp),
}

impl When {
    /// `24h`, `7d`, `1w 2d 30m`, or RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = time(text) {
            return Ok(Self::At(at));
        }
        match duration(text) {
            Ok(ago) => Ok(Self::Ago(ago)),
            Err(_) => Err("neither a duration (24h, 7d) nor a time (2026-11-24T15:00:00Z)".to_owned()),
        }
    }

    /// The point in time, seen from `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
        }
    }
}

/// RFC 3339. The parser's own words tell of digits, and of no form that would do.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "not a time (2026-11-24T15:00:00Z)".to_owned())
}

/// `24h`, `7d`, `1w 2d 30m`: not negative. A day has 24 hours.
pub(crate) fn duration(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text.parse().map_err(|_| "not a duration (24h, 7d, 30m)".to_owned())?;
    match span.to_duration(SpanRelativeTo::days_are_24_hours()) {
        Ok(duration) if !duration.is_negative() => Ok(duration),
        Ok(_) => Err("a duration cannot be negative".to_owned()),
        Err(_) => Err("months and years have no fixed length: give days or weeks".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, hours) in [("24h", 24), ("7d", 168), ("1w 1d", 192), ("90m", 1), ("P1DT1H", 25), ("0s", 0)]
        {
            assert_eq!(duration(text).unwrap().as_hours(), hours, "{text}");
        }
        for text in ["", "7", "d", "-1h", "1h ago", "1mo", "1y", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_itself_or_so_long_ago() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2026-11-23T12:00:00Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(When::parse(text).map(|when| when.seen_from(now)), Ok(expected), "{text}");
        }
        for text in ["yesterday", "2026-01-02", "-24h"] {
            assert!(When::parse(text).is_err(), "{text}");
            assert_eq!(time(text), Err("not a time (2026-11-24T15:00:00Z)".to_owned()), "{text}");
        }
    }
}
