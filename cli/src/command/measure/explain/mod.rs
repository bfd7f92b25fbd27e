//! `--explain`: what differs in the launch of a guest that reported another measurement.

mod krun;
mod ovmf;

use std::{fmt::Display, path::PathBuf};

use keybroker_common::requirements::Measurement;
use serde::Serialize;

use super::{
    digest,
    input::Input,
    output::{Measured, OutputArgs},
};
use crate::{
    exit::{Exit, Failure},
    suggest::quoted,
    table::{self, printable},
};

/// The measurement that is asked about.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Explanation")]
pub(super) struct ExplainArgs {
    /// Say what differs in a guest with this measurement: hex, 0x, base64, or the file of its report
    ///
    /// The command tries the likely neighbours of what you give: other numbers and types of vCPUs, other
    /// guest features, other hosts, white space at the ends of the command line. It names what fits, and the
    /// flag to change. Flags that you leave out are searched for.
    #[arg(long, value_name = "DIGEST", conflicts_with = "format")]
    explain: Option<String>,
    /// With --explain: another firmware that the guest may have, or another libkrunfw-sev
    #[arg(long, value_name = "FILE", requires = "explain", conflicts_with = "format")]
    firmware: Vec<PathBuf>,
}

impl ExplainArgs {
    /// The measurement, if one is asked about.
    pub(super) fn digest(&self) -> Result<Option<Measurement>, Failure> {
        self.explain.as_deref().map(digest::given).transpose()
    }

    /// The other firmware.
    pub(super) fn others(&self) -> Result<Vec<Input>, Failure> {
        self.firmware.iter().map(|path| Input::read(path)).collect()
    }
}

/// A measurement, and the launch that has it.
#[derive(Debug)]
pub(super) struct Explanation {
    pub(super) digest: Measurement,
    /// The launch that has it, if one was found.
    pub(super) fit: Option<Fit>,
    /// The possible differences if none was found.
    pub(super) otherwise: &'static str,
}

/// A launch that has the measurement.
#[derive(Debug, Serialize)]
pub(super) struct Fit {
    /// Where it differs from what was given.
    pub(super) differences: Vec<Difference>,
    #[serde(rename = "fits")]
    pub(super) measured: Measured,
}

/// A difference between the launch that fits and what was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The input that differs, as the JSON of measurements names it.
    pub(super) input: &'static str,
    /// How the guest was launched: "with 4 vCPUs, not 2".
    pub(super) launched: String,
    /// The remedy: a flag to give, or another instruction.
    pub(super) change: Change,
}

/// The remedy for a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Give this flag.
    Give(String),
    /// Do this.
    Do(String),
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// Version of this form.
    schema: u8,
    measurement: Measurement,
    explanation: String,
    #[serde(flatten)]
    fit: Option<&'a Fit>,
}

impl Explanation {
    /// Prints it. That nothing fits is a failure.
    pub(super) fn print(&self, output: &OutputArgs) -> Result<Exit, Failure> {
        let explanation = self.sentence();
        if output.json {
            let fit = self.fit.as_ref();
            table::json(&Document { schema: 1, measurement: self.digest, explanation, fit })?;
        } else {
            table::line(&printable(&explanation))?;
        }
        Ok(if self.fit.is_some() { Exit::Ok } else { Exit::Failure })
    }

    fn sentence(&self) -> String {
        match &self.fit {
            Some(fit) => fit.sentence(),
            None => format!("No likely neighbour of this launch has the measurement: {}.", self.otherwise),
        }
    }
}

impl Fit {
    fn sentence(&self) -> String {
        if self.differences.is_empty() {
            return format!("The guest was launched as you say: {}.", self.measured.summary());
        }
        let launched: Vec<_> = self.differences.iter().map(|one| one.launched.as_str()).collect();
        let mut flags = Vec::new();
        let mut changes = Vec::new();
        for difference in &self.differences {
            match &difference.change {
                Change::Give(flag) => flags.push(flag.as_str()),
                Change::Do(what) => changes.push(what.clone()),
            }
        }
        if !flags.is_empty() {
            changes.insert(0, format!("give {}", flags.join(" ")));
        }
        format!("The guest was launched {}: {}.", launched.join(", and "), changes.join(", and "))
    }
}

/// "with 4 vCPUs, not 2", and the flag. Nothing if 4 was given; "not …" is left out if none was.
fn differs<T: PartialEq + Display>(
    (input, flag): (&'static str, &str),
    found: &T,
    given: &[T],
    words: impl Fn(&T) -> String,
) -> Option<Difference> {
    if given.contains(found) {
        return None;
    }
    let not: Vec<_> = given.iter().map(ToString::to_string).collect();
    let launched = match not.as_slice() {
        [] => words(found),
        not => format!("{}, not {}", words(found), listed(not)),
    };
    Some(Difference { input, launched, change: Change::Give(format!("{flag} {found}")) })
}

/// "with the firmware b.fd, not a.fd", and the flag.
fn other_file((input, flag): (&'static str, &str), found: &Input, given: &Input) -> Difference {
    let [found, given] = [found, given].map(|input| quoted(&input.name.path().display().to_string()));
    let kind = if input == "ovmf" { "firmware" } else { input };
    let launched = format!("with the {kind} {found}, not {given}");
    Difference { input, launched, change: Change::Give(format!("{flag} {found}")) }
}

fn act(what: &str) -> Change {
    Change::Do(what.to_owned())
}

/// "1, 2 or 4".
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_against_all_that_was_given() {
        let vcpus = |found: u32, given: &[u32]| {
            differs(("vcpus", "--vcpus"), &found, given, |n| format!("with {n} vCPUs"))
        };
        assert_eq!(vcpus(4, &[2, 4]), None);
        let told = |given| vcpus(4, given).unwrap().launched;
        assert_eq!(told(&[]), "with 4 vCPUs");
        assert_eq!(told(&[2]), "with 4 vCPUs, not 2");
        assert_eq!(told(&[1, 2, 8]), "with 4 vCPUs, not 1, 2 or 8");
        assert_eq!(vcpus(4, &[]).unwrap().change, Change::Give("--vcpus 4".to_owned()));
    }
}
