//! Months, by which bulletins are dated.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A month: `2026-05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month(Date);

impl Month {
    /// Reads `2026-05`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok().map(Self)
    }

    /// The month of a floor that is written as `advisories=2026-05`. `None` if the text is no such floor.
    pub fn of_floor(text: &str) -> Option<Result<Self, &'static str>> {
        let month = text.trim().strip_prefix("advisories")?.trim_start().strip_prefix('=')?;
        Some(Self::parse(month.trim()).ok_or("must be written as advisories=2026-05, with a month"))
    }

    /// Its first day.
    pub fn first_day(self) -> Date {
        self.0
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

impl TryFrom<String> for Month {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a month is written as 2026-05")
    }
}
