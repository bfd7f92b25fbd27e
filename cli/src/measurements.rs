//! Launch measurements as the tools that compute them print them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use keybroker_common::requirements::Measurement;
use serde_json::Value;

use crate::{
    bounded,
    distinct::Distinct,
    exit::{Exit, Failure},
    hex, rvps,
};

/// The flags that name launch measurements.
#[derive(Debug, clap::Args)]
pub(crate) struct MeasurementArgs {
    /// A launch measurement that the guest may have: 96 hex digits, or base64
    #[arg(long, value_name = "HEX|BASE64", value_parser = hex::measurement)]
    measurement: Vec<Measurement>,
    /// A file with launch measurements, as `keybroker measure`, sev-snp-measure, snpguest or Trustee's RVPS
    /// write them; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    measurements: Vec<PathBuf>,
}

impl MeasurementArgs {
    /// The files that are read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.measurements.iter()
    }

    /// All measurements, each once, in their order. None at all if no flag was given.
    pub(crate) fn read(&self) -> Result<Vec<Measurement>, Failure> {
        let mut all = Distinct::default();
        all.add(&self.measurement).map_err(|error| Failure::new(Exit::Usage, error))?;
        for path in &self.measurements {
            let unusable = |error: anyhow::Error| {
                let name =
                    if bounded::is_stdin(path) { "standard input".into() } else { path.to_string_lossy() };
                Failure::new(Exit::Configuration, error).context(format!("reading {name}"))
            };
            let bytes = contents(path).map_err(unusable)?;
            let read = parse(&bytes, Timestamp::now()).map_err(unusable)?;
            all.add(&read).map_err(|error| unusable(error.into()))?;
        }
        Ok(all.into_list())
    }
}

/// A file's contents, or with `-` standard input: a megabyte at most.
fn contents(path: &Path) -> anyhow::Result<Vec<u8>> {
    let source: Box<dyn Read> =
        if bounded::is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut bytes = Vec::new();
    source.take(rvps::LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > rvps::LONGEST {
        return Err(anyhow!("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// The measurements in a file: one at least.
fn parse(bytes: &[u8], now: Timestamp) -> anyhow::Result<Vec<Measurement>> {
    let text = std::str::from_utf8(bytes).context("it is no text")?.trim();
    let measurements = match serde_json::from_str(text) {
        Ok(Value::Object(members)) if members.contains_key("measurements") => {
            listed(members.get("measurements"))?
        }
        // Its measurement is the one that was asked about: it may be an attacker's.
        Ok(Value::Object(members)) if members.contains_key("explanation") => {
            return Err(anyhow!("--explain wrote it, and an explanation is no reference value"));
        }
        Ok(Value::Object(_) | Value::Array(_)) => reference_values(bytes, now),
        _ => lines(text)?,
    };
    if measurements.is_empty() { Err(anyhow!("it has no launch measurement")) } else { Ok(measurements) }
}

/// The list in a document of `keybroker measure` or of a registration: objects with a `measurement`, or
/// digests.
fn listed(list: Option<&Value>) -> anyhow::Result<Vec<Measurement>> {
    let items = list.and_then(Value::as_array).ok_or_else(|| anyhow!("`measurements` is no list"))?;
    let digest = |item: &Value| {
        let text = item.get("measurement").unwrap_or(item).as_str();
        let text = text.ok_or_else(|| anyhow!("an item of `measurements` has no measurement"))?;
        hex::measurement(text).map_err(|error| anyhow!("the measurement {text:?}: {error}"))
    };
    items.iter().map(digest).collect()
}

/// Trustee's reference values. A name that stands for no measurement is told of: what it demands has to be
/// said otherwise.
fn reference_values(json: &[u8], now: Timestamp) -> Vec<Measurement> {
    let read = rvps::read(json, now);
    for rvps::Name { name, stands_for } in &read.names {
        if let Err(why) = stands_for {
            say!("warning: left out {}: {why}", crate::table::printable(name));
        }
    }
    read.measurements
}

/// One digest in a line. sev-snp-measure puts words in front with --verbose.
fn lines(text: &str) -> anyhow::Result<Vec<Measurement>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let digest = |line: &str| {
        let digest = line.rsplit_once(" measurement: ").map_or(line, |(_, digest)| digest);
        hex::measurement(digest).map_err(|error| anyhow!("the line {line:?}: {error}"))
    };
    lines.map(digest).collect()
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn every_tools_output_gives_the_same() {
        let (one, other) = ("4d".repeat(48), "4e".repeat(48));
        let (bytes, digits) = (BASE64.encode(&[0x4E; 48]), BASE64.encode(other.as_bytes()));
        for text in [
            format!("{one}\n{other}\n"),
            format!("0x{one}\r\n\r\n0x{other}"),
            format!("Calculated SEV_SNP guest measurement: {one}\n{bytes}\n"),
            format!("  0x{one}\n{digits}\n"),
            json!({ "schema": 1, "measurements": [
                { "measurement": one, "vmm": "qemu", "vcpus": 1 },
                { "measurement": other, "vmm": "qemu", "vcpus": 2 },
            ]})
            .to_string(),
            json!({ "measurements": [one, other] }).to_string(),
            json!({ "snp_launch_measurement": [one, bytes], "snp_bootloader": [3] }).to_string(),
            json!([{ "version": "0.1.0", "name": "measurement", "value": [one, other] }]).to_string(),
        ] {
            let read = parse(text.as_bytes(), now()).unwrap();
            assert_eq!(read, [Measurement([0x4D; 48]), Measurement([0x4E; 48])], "{text}");
        }
    }

    #[test]
    fn a_file_without_a_measurement_is_an_error() {
        let one = "4d".repeat(48);
        for text in [
            String::new(),
            "\n\n".to_owned(),
            "{}".to_owned(),
            "[]".to_owned(),
            "7".to_owned(),
            one[1..].to_owned(),
            format!("{one}\nand more"),
            "0".repeat(96),
            json!({ "schema": 1, "measurement": one, "explanation": "The guest was launched …" }).to_string(),
            json!({ "measurements": [] }).to_string(),
            json!({ "measurements": one }).to_string(),
            json!({ "measurements": [one, 7] }).to_string(),
            json!({ "measurements": [{ "vcpus": 1 }] }).to_string(),
            json!({ "measurements": [one, "4d"] }).to_string(),
            json!({ "snp_bootloader": [3] }).to_string(),
        ] {
            assert!(parse(text.as_bytes(), now()).is_err(), "{text}");
        }
        assert!(parse(&[0xFF], now()).is_err());
    }
}
