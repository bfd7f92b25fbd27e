//! A verdict on a platform's TCB in few bytes: a decision with its session must stay within one write unit.
//!
//! | bytes | |
//! |---|---|
//! | 2 | the table's date, in days since 2020-01-01 |
//! | 1 | the verdict by its place in [`CODES`]; bit 7: the silicon follows, bit 6: the committed TCB does |
//! | 2 | the numbers of rows and of unconfirmed ones |
//! | 3 | the silicon: family, model and stepping |
//! | 1, and 4 or 5 | the committed TCB, after its length |
//! | rest | the bulletins, each in one of three forms |
//!
//! `AMD-SB-` and a number of four digits is a byte below 0x80, which is the distance from the number before,
//! plus 64; or two bytes from 0x8000 on, which are 0x8000 and the number. Any other id is 0xC0 and its
//! length, and its letters.

use jiff::{ToSpan as _, civil::Date};
use keybroker_common::advisories::{TcbVerdict, Verdict};
use keybroker_snp::silicon::Cpuid;

use super::tcb;

/// The verdicts by their codes. A code never changes.
const CODES: [Verdict; 5] =
    [Verdict::UpToDate, Verdict::Behind, Verdict::BehindNothing, Verdict::UnnamedSilicon, Verdict::NoSilicon];
/// The code of a verdict that this release does not know.
const OTHER: u8 = 0x3F;
const SILICON: u8 = 0x80;
const COMMITTED: u8 = 0x40;

/// The beginning of AMD's ids.
const AMDS: &str = "AMD-SB-";
/// The first number that is none.
const NUMBERS: u16 = 10_000;
/// A distance of nothing.
const SAME: u8 = 64;
/// Marks a number.
const NUMBER: u16 = 0x8000;
/// Marks the length of another id.
const TEXT: u8 = 0xC0;

fn epoch() -> Date {
    jiff::civil::date(2020, 1, 1)
}

/// The bytes of a verdict.
pub(super) fn encode(judged: &TcbVerdict) -> Vec<u8> {
    let TcbVerdict { table, verdict, bulletins, rows, unconfirmed, silicon, committed } = judged;
    let days = epoch().until(*table).map_or(0, |span| span.get_days());
    let mut bytes = u16::try_from(days).unwrap_or_default().to_be_bytes().to_vec();
    let code = CODES.iter().position(|code| code == verdict).and_then(|code| u8::try_from(code).ok());
    let flags = if silicon.is_some() { SILICON } else { 0 } | if committed.is_some() { COMMITTED } else { 0 };
    bytes.push(code.unwrap_or(OTHER) | flags);
    bytes.extend([rows, unconfirmed].map(|number| u8::try_from(*number).unwrap_or(u8::MAX)));
    bytes.extend(silicon.iter().flat_map(|Cpuid { family, model, stepping }| [*family, *model, *stepping]));
    if let Some(committed) = committed {
        let levels = tcb::levels(*committed);
        bytes.extend(u8::try_from(levels.len()));
        bytes.extend(levels);
    }
    let mut before = None;
    for bulletin in bulletins {
        let Some(number) = number(bulletin) else {
            let letters = bulletin.as_bytes();
            let letters = letters.get(..usize::from(!TEXT)).unwrap_or(letters);
            bytes.extend(u8::try_from(letters.len()).map(|len| TEXT | len));
            bytes.extend(letters);
            continue;
        };
        match before.replace(number).and_then(|before| distance(before, number)) {
            Some(near) => bytes.push(near),
            None => bytes.extend((NUMBER | number).to_be_bytes()),
        }
    }
    bytes
}

/// The number of a bulletin whose id is AMD's with four digits.
fn number(bulletin: &str) -> Option<u16> {
    let digits = bulletin.strip_prefix(AMDS)?;
    let is_number = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// The distance from one number to another, if it is short.
fn distance(from: u16, to: u16) -> Option<u8> {
    let near = i32::from(to) - i32::from(from) + i32::from(SAME);
    u8::try_from(near).ok().filter(|near| *near < 2 * SAME)
}

/// The verdict of bytes that [`encode`] made.
pub(super) fn decode(bytes: &[u8]) -> Option<TcbVerdict> {
    let (days, bytes) = bytes.split_first_chunk()?;
    let ([code, rows, unconfirmed], mut bytes) = bytes.split_first_chunk()?;
    let table = epoch().checked_add(i32::from(u16::from_be_bytes(*days)).days()).ok()?;
    let mut silicon = None;
    if code & SILICON != 0 {
        let ([family, model, stepping], rest) = bytes.split_first_chunk()?;
        (silicon, bytes) = (Some(Cpuid { family: *family, model: *model, stepping: *stepping }), rest);
    }
    let mut committed = None;
    if code & COMMITTED != 0 {
        let (len, rest) = bytes.split_first()?;
        let (levels, rest) = rest.split_at_checked(usize::from(*len))?;
        (committed, bytes) = (Some(tcb::read(levels)?), rest);
    }
    Some(TcbVerdict {
        table,
        verdict: CODES.get(usize::from(code & !(SILICON | COMMITTED))).copied().unwrap_or(Verdict::Other),
        bulletins: bulletins(bytes)?,
        rows: (*rows).into(),
        unconfirmed: (*unconfirmed).into(),
        silicon,
        committed,
    })
}

fn bulletins(mut bytes: &[u8]) -> Option<Vec<String>> {
    let (mut bulletins, mut before) = (Vec::new(), None::<u16>);
    while let Some((first, rest)) = bytes.split_first() {
        if *first >= TEXT {
            let (letters, rest) = rest.split_at_checked(usize::from(first & !TEXT))?;
            bulletins.push(String::from_utf8(letters.to_vec()).ok()?);
            bytes = rest;
            continue;
        }
        let number = if *first < 2 * SAME {
            bytes = rest;
            (before? + u16::from(*first)).checked_sub(SAME.into())?
        } else {
            let (number, rest) = bytes.split_first_chunk()?;
            bytes = rest;
            u16::from_be_bytes(*number) & !NUMBER
        };
        let number = Some(number).filter(|number| *number < NUMBERS)?;
        bulletins.push(format!("{AMDS}{number:04}"));
        before = Some(number);
    }
    Some(bulletins)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use keybroker_testing::sample;

    use super::*;

    #[test]
    fn a_verdict_is_read_as_it_was_written() {
        let judged = sample::verdict();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for judged in [
            judged.clone(),
            TcbVerdict {
                bulletins: texts(&[
                    "AMD-SB-0001",
                    "AMD-SB-9999",
                    "AMD-SB-30271",
                    "AMD-SB-1x",
                    "X",
                    "amd-sb-3019",
                ]),
                ..judged.clone()
            },
            TcbVerdict { silicon: None, committed: None, bulletins: Vec::new(), ..judged.clone() },
            TcbVerdict { table: date(2020, 1, 1), rows: 0, unconfirmed: 0, ..judged.clone() },
            TcbVerdict { table: date(2199, 6, 1), rows: 64, unconfirmed: 64, ..judged.clone() },
        ] {
            assert_eq!(decode(&encode(&judged)), Some(judged));
        }
        for verdict in Verdict::ALL.into_iter().chain([Verdict::Other]) {
            let judged = TcbVerdict { verdict, ..judged.clone() };
            assert_eq!(decode(&encode(&judged)), Some(judged));
        }
    }

    /// A usual one: silicon is named, and nothing was reported that is not committed.
    #[test]
    fn a_verdict_is_small() {
        let judged = TcbVerdict { committed: None, ..sample::verdict() };
        assert_eq!(encode(&judged), [9, 220, 0x81, 8, 7, 0x1A, 2, 1, 0x8B, 0xD3, 53]);
    }

    #[test]
    fn bytes_that_are_cut_short_are_no_verdict() {
        let whole = encode(&sample::verdict());
        // Whole bulletins may be missing: nobody could tell.
        let ends = [whole.len() - 1, whole.len() - 3];
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]).is_some(), ends.contains(&len), "{len}");
        }
    }
}
