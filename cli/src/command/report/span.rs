//! The span of time that a report is about, and its division.

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};

use crate::{
    exit::{Exit, Failure},
    when::When,
};

/// A span of time, in whole seconds: the commands that a page prints have to be read by people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// It begins at this time.
    pub(super) since: Timestamp,
    /// It ends before this time.
    pub(super) until: Timestamp,
}

impl Span {
    /// The span from `since` to `until`, seen from `now`. It never ends later than now: a page about a span
    /// that goes on could not be checked against the records afterwards.
    pub(super) fn new(since: When, until: Option<When>, now: Timestamp) -> Result<Self, Failure> {
        let until = until.map_or(now, |until| until.seen_from(now).min(now));
        let span = Self { since: whole(since.seen_from(now)), until: whole(until) };
        if span.since >= span.until {
            return Err(Failure::new(Exit::Usage, anyhow!("--since must be before --until and before now")));
        }
        Ok(span)
    }

    /// How long it is.
    pub(super) fn length(&self) -> SignedDuration {
        self.until.duration_since(self.since)
    }

    /// Its division, where the first record is of the time `first`.
    pub(super) fn steps(&self, first: Option<Timestamp>) -> Steps {
        let days = SignedDuration::from_hours(24 * Steps::MOST);
        // A span that somebody wrote in order to see everything begins with the first record.
        let begin = match first {
            Some(first) if self.length() > days => first.max(self.since),
            None if self.length() > days => self.until,
            _ => self.since,
        };
        Steps::between(begin.as_second(), self.until.as_second())
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Steps of one length, which begin at whole hours, days or weeks in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    /// The second at which the first begins.
    begin: i64,
    /// The seconds in each.
    pub(super) length: i64,
    /// How many there are.
    pub(super) count: i64,
}

impl Steps {
    /// More cannot be told apart on a phone.
    const MOST: i64 = 62;
    pub(super) const HOUR: i64 = 3600;
    pub(super) const DAY: i64 = 24 * Self::HOUR;
    const LENGTHS: [i64; 6] =
        [Self::HOUR, 6 * Self::HOUR, Self::DAY, 7 * Self::DAY, 28 * Self::DAY, 364 * Self::DAY];
    /// The first Monday after 1970-01-01: weeks begin on Mondays.
    const MONDAY: i64 = 4 * Self::DAY;

    fn between(begin: i64, end: i64) -> Self {
        let steps = |length: i64| {
            let first = begin - (begin - Self::MONDAY).rem_euclid(length);
            Self { begin: first, length, count: ((end - first).max(1) + length - 1) / length }
        };
        let [.., longest] = Self::LENGTHS;
        let fitting = Self::LENGTHS.into_iter().map(steps).find(|steps| steps.count <= Self::MOST);
        fitting.unwrap_or_else(|| steps(longest * (1 + (end - begin) / (longest * (Self::MOST - 1)))))
    }

    /// The step of this second, if it is in one.
    pub(super) fn index(&self, second: i64) -> Option<usize> {
        let index = (second - self.begin).div_euclid(self.length);
        (0..self.count).contains(&index).then(|| usize::try_from(index).ok()).flatten()
    }

    /// When each of them begins.
    pub(super) fn begins(self) -> impl Iterator<Item = Timestamp> {
        (0..self.count).map(move |index| at(self.begin + index * self.length))
    }

    /// When a step that begins at `begin` ends.
    pub(super) fn end(&self, begin: Timestamp) -> Timestamp {
        at(begin.as_second() + self.length)
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn steps(since: &str, until: &str) -> (i64, i64, Timestamp) {
        let steps = Span { since: time(since), until: time(until) }.steps(None);
        (steps.length, steps.count, steps.begins().next().unwrap())
    }

    #[test]
    fn a_span_is_divided_into_hours_days_or_weeks() {
        let until = "2026-11-29T08:35:00Z";
        assert_eq!(steps("2026-11-29T07:30:00Z", until), (3600, 2, time("2026-11-29T07:00:00Z")));
        assert_eq!(steps("2026-11-27T08:35:00Z", until), (3600, 49, time("2026-11-27T08:00:00Z")));
        assert_eq!(steps("2026-11-22T08:35:00Z", until), (6 * 3600, 29, time("2026-11-22T06:00:00Z")));
        assert_eq!(steps("2026-10-30T08:35:00Z", until), (86400, 31, time("2026-10-30T00:00:00Z")));
        let year = Span { since: time("2025-11-29T00:00:00Z"), until: time(until) };
        let weeks = year.steps(Some(year.since));
        assert_eq!((weeks.length, weeks.count), (7 * 86400, 53));
        assert_eq!(weeks.begins().next(), Some(time("2025-11-24T00:00:00Z")), "a Monday");
    }

    #[test]
    fn a_span_without_end_begins_with_the_first_record() {
        let all = Span { since: Timestamp::MIN, until: time("2026-11-29T08:35:00Z") };
        let days = all.steps(Some(time("2026-11-20T12:00:00Z")));
        assert_eq!((days.length, days.count), (6 * 3600, 36));
        assert_eq!(all.steps(None).count, 1);
        // Whatever time a record names, a page stays readable.
        assert!(all.steps(Some(Timestamp::MIN)).count <= Steps::MOST);
    }

    #[test]
    fn every_second_of_a_span_is_in_one_step() {
        let span = Span { since: time("2026-11-22T08:35:01Z"), until: time("2026-11-29T08:35:00Z") };
        let steps = span.steps(None);
        let begins: Vec<_> = steps.begins().collect();
        for second in (span.since.as_second()..span.until.as_second()).step_by(997) {
            let begin = begins[steps.index(second).unwrap()];
            assert!((begin.as_second()..steps.end(begin).as_second()).contains(&second));
        }
        assert_eq!(steps.index(span.until.as_second() + steps.length), None);
        assert_eq!(steps.index(i64::MIN / 2), None);
    }

    #[test]
    fn a_span_ends_by_now_and_in_whole_seconds() {
        let now = time("2026-11-29T08:35:00.75Z");
        let span = |since: &str, until: Option<&str>| {
            let when = |text| When::parse(text).unwrap();
            Span::new(when(since), until.map(when), now)
        };
        let until_now = span("24h", None).unwrap();
        assert_eq!(until_now.until, time("2026-11-29T08:35:00Z"));
        assert_eq!(until_now.since, time("2026-11-28T08:35:00Z"));
        assert_eq!(span("24h", Some("2027-01-01T00:00:00Z")).unwrap(), until_now);
        for (since, until) in [("0s", None), ("24h", Some("48h")), ("2027-01-01T00:00:00Z", None)] {
            assert_eq!(span(since, until).unwrap_err().exit(), Exit::Usage, "{since}");
        }
    }
}
