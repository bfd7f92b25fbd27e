//! The verdict on a report.

use std::fmt;

use jiff::civil::Date;
use keybroker_snp::{
    product::{Product, TcbVersion},
    report::Report,
    silicon::Cpuid,
};
use serde::{Deserialize, Serialize};

use super::{Advisories, Row};
use crate::{encoding::amd, platform::Version};

/// How a platform stands to a table of advisories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum Verdict {
    /// It has everything that the table demands of its silicon, and all of that was read at AMD.
    UpToDate,
    /// It lacks something that a bulletin demands.
    Behind,
    /// It lacks nothing that the table demands, and part of that was not read at AMD: nobody knows more.
    BehindNothing,
    /// The table has no row for its silicon.
    UnnamedSilicon,
    /// The report is of version 2, which does not name the silicon, and levels are of silicon.
    NoSilicon,
    /// One that a later release knows.
    Other,
}

impl Verdict {
    /// Every verdict of this release.
    pub const ALL: [Self; 5] =
        [Self::UpToDate, Self::Behind, Self::BehindNothing, Self::UnnamedSilicon, Self::NoSilicon];

    /// Its name, as records have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "up-to-date",
            Self::Behind => "behind",
            Self::BehindNothing => "behind-nothing",
            Self::UnnamedSilicon => "unnamed-silicon",
            Self::NoSilicon => "no-silicon",
            Self::Other => "other",
        }
    }

    /// The verdict of this name.
    pub fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name).unwrap_or(Self::Other)
    }
}

impl From<Verdict> for &'static str {
    fn from(verdict: Verdict) -> Self {
        verdict.name()
    }
}

impl From<String> for Verdict {
    fn from(name: String) -> Self {
        Self::parse(&name)
    }
}

/// The verdict on one report. Its record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TcbVerdict {
    /// The date of the table.
    pub table: Date,
    /// How the platform stands.
    pub verdict: Verdict,
    /// The bulletins that it is behind.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub bulletins: Vec<String>,
    /// The number of the table's rows for its silicon.
    pub rows: u16,
    /// The number of those that nobody read at AMD.
    pub unconfirmed: u16,
    /// The silicon, where the report names it.
    #[serde(with = "signature", skip_serializing_if = "Option::is_none", default)]
    pub silicon: Option<Cpuid>,
    /// COMMITTED_TCB, below which the platform cannot be rolled back, where it is not the reported one.
    #[serde(with = "amd::optional_tcb", skip_serializing_if = "Option::is_none", default)]
    pub committed: Option<TcbVersion>,
}

impl Advisories {
    /// The verdict on a report of a chip of `product`. Whether the report is genuine, the caller must know.
    pub fn verdict(&self, report: &Report, product: Product) -> TcbVerdict {
        let silicon = report.cpuid();
        let reported = Version::Reported.of(report, product);
        let rows: Vec<&Row> = silicon.into_iter().flat_map(|silicon| self.rows_of(silicon)).collect();
        let missed = rows.iter().filter(|row| !row.misses(report, product).is_empty());
        let bulletins: Vec<String> = missed.map(|row| row.bulletin.clone()).collect();
        let unconfirmed = rows.iter().filter(|row| row.is_unconfirmed()).count();
        let verdict = match silicon {
            None => Verdict::NoSilicon,
            Some(_) if rows.is_empty() => Verdict::UnnamedSilicon,
            Some(_) if !bulletins.is_empty() => Verdict::Behind,
            Some(_) if unconfirmed > 0 => Verdict::BehindNothing,
            Some(_) => Verdict::UpToDate,
        };
        // A table has no more rows for one silicon than fit.
        let number = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        TcbVerdict {
            table: self.date(),
            verdict,
            bulletins,
            rows: number(rows.len()),
            unconfirmed: number(unconfirmed),
            silicon,
            committed: Version::Committed
                .of(report, product)
                .filter(|committed| Some(*committed) != reported),
        }
    }
}

impl TcbVerdict {
    /// Whether the platform is behind a bulletin.
    pub fn is_behind(&self) -> bool {
        self.verdict == Verdict::Behind
    }
}

/// In words, as the rest of a sentence that begins with the platform.
impl fmt::Display for TcbVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, verdict, bulletins, rows, unconfirmed, .. } = self;
        match verdict {
            Verdict::UpToDate => write!(f, "up to date by a table of {table}, all {rows} rows read at AMD"),
            Verdict::Behind => write!(
                f,
                "behind {} by a table of {table}, {unconfirmed} of {rows} rows unconfirmed",
                bulletins.join(", ")
            ),
            Verdict::BehindNothing => {
                write!(f, "behind nothing in a table of {table}, {unconfirmed} of {rows} rows unconfirmed")
            }
            Verdict::UnnamedSilicon => write!(f, "of silicon that the table of {table} does not name"),
            Verdict::NoSilicon => write!(
                f,
                "of unknown silicon: a report of version 2 does not name it, and the table of {table} has levels of \
                 silicon alone"
            ),
            Verdict::Other => write!(f, "judged by a later release, with a table of {table}"),
        }
    }
}

/// Silicon by its signature: a name might be one that another release does not know.
mod signature {
    use keybroker_snp::silicon::Cpuid;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        silicon: &Option<Cpuid>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        silicon.map(|silicon| format!("0x{:08X}", silicon.signature())).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cpuid>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        Cpuid::parse(&text).map(Some).ok_or_else(|| de::Error::custom("not the signature of silicon"))
    }
}
