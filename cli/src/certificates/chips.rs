//! Chips that an operator knows: by a report of theirs, by name, or in a file of such lines.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use data_encoding::HEXLOWER_PERMISSIVE;
use keybroker_common::snp::{
    certificate::EndorsementKind,
    kds::VcekId,
    product::{Product, TcbVersion},
    report::Report,
};

use crate::{
    exit::{Exit, Failure},
    verify,
};

/// Which chips.
#[derive(Debug, clap::Args)]
pub(super) struct ChipArgs {
    /// A report of the chip, raw or in hex: whose certificate it needs is read from it. May be given several times
    #[arg(long, value_name = "FILE", required_unless_present_any = ["chip_id", "from"])]
    report: Vec<PathBuf>,
    /// Lines of `PRODUCT CHIP-ID TCB`, or of `report FILE`; empty ones and what follows `#` count for nothing. `-`: standard
    /// input. May be given several times
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The product of --chip-id, or of reports of version 2, which do not say
    #[arg(long, value_name = "milan|genoa|turin", value_parser = product)]
    product: Option<Product>,
    /// CHIP_ID in hex, 128 digits; of a Turin the first 16 will do
    #[arg(long, value_name = "HEX", value_parser = chip_id, requires = "product", requires = "tcb")]
    chip_id: Option<ChipId>,
    /// The TCB that the chip reports: `bl=4,tee=0,snp=24,ucode=219`; on Turin with `fmc=…` too
    #[arg(long, value_name = "LEVELS", requires = "chip_id")]
    tcb: Option<String>,
}

/// CHIP_ID, or as much of it as was given.
#[derive(Debug, Clone)]
struct ChipId(Vec<u8>);

impl ChipArgs {
    /// The certificates that the chips need, each once, in the order in which they were named.
    pub(super) fn read(&self) -> Result<Vec<VcekId>, Failure> {
        let mut chips = Vec::new();
        for path in &self.report {
            chips.push(of_report(path, self.product).map_err(unusable)?);
        }
        if let (Some(product), Some(chip), Some(tcb)) = (self.product, &self.chip_id, &self.tcb) {
            chips.push(named(product, chip, tcb).map_err(|error| Failure::new(Exit::Usage, error))?);
        }
        for path in &self.from {
            chips.extend(self.in_file(path).map_err(unusable)?);
        }
        let mut seen = std::collections::HashSet::new();
        chips.retain(|chip| seen.insert(chip.clone()));
        Ok(chips)
    }

    fn in_file(&self, path: &Path) -> anyhow::Result<Vec<VcekId>> {
        let reading = || format!("reading {}", path.display());
        let mut text = String::new();
        if path == Path::new("-") {
            io::stdin().read_to_string(&mut text).with_context(reading)?;
        } else {
            text = fs::read_to_string(path).with_context(reading)?;
        }
        let beside = path.parent().unwrap_or(Path::new("."));
        let mut chips = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let at = || format!("line {} of {}", index + 1, path.display());
            let line = line.split('#').next().unwrap_or_default().trim();
            let words: Vec<_> = line.split_whitespace().collect();
            chips.push(match words.as_slice() {
                [] => continue,
                ["report", _, ..] => {
                    let report = line.strip_prefix("report").unwrap_or_default().trim();
                    of_report(&beside.join(report), self.product).with_context(at)?
                }
                [product, chip, tcb] => {
                    let product = self::product(product)
                        .map_err(|error| anyhow!("the product {error}"))
                        .with_context(at)?;
                    let chip =
                        chip_id(chip).map_err(|error| anyhow!("the chip id is {error}")).with_context(at)?;
                    named(product, &chip, tcb).with_context(at)?
                }
                _ => Err(anyhow!("neither `PRODUCT CHIP-ID TCB` nor `report FILE`")).with_context(at)?,
            });
        }
        Ok(chips)
    }
}

fn unusable(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Configuration, error)
}

pub(super) fn product(name: &str) -> Result<Product, &'static str> {
    Product::parse(name).ok_or("must be milan, genoa or turin")
}

fn chip_id(text: &str) -> Result<ChipId, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| "not hex".to_owned())?;
    match bytes.len() {
        8 | 64 => Ok(ChipId(bytes)),
        other => Err(format!("{} hex digits long, expected 128 (of a Turin 16)", 2 * other)),
    }
}

fn named(product: Product, ChipId(chip): &ChipId, tcb: &str) -> anyhow::Result<VcekId> {
    let tcb = TcbVersion::parse(product, tcb).map_err(|error| anyhow!("the TCB {error}"))?;
    let (hwid, rest) = chip.split_at_checked(product.hwid_len()).unwrap_or((chip, &[]));
    let hwid = if rest.iter().all(|byte| *byte == 0) { hwid } else { chip };
    VcekId::new(product, hwid, tcb)
        .ok_or_else(|| anyhow!("the chip id is all zeros, or not one of {product}"))
}

fn of_report(path: &Path, product: Option<Product>) -> anyhow::Result<VcekId> {
    let at = || format!("the report {}", path.display());
    let report = Report::parse(&verify::read_report(path)?).with_context(at)?;
    if report.signing_key() == Some(EndorsementKind::Vlek) {
        return Err(anyhow!(
            "it is signed with a VLEK: its certificate comes with the guest, AMD publishes none"
        ))
        .with_context(at);
    }
    let product = match report.cpuid() {
        Some((family, model)) => Product::from_cpuid(family, model)
            .ok_or_else(|| anyhow!("CPUID family {family:#x} model {model:#x} is no known product")),
        None => product
            .ok_or_else(|| anyhow!("it is of version 2, which does not say the product: add --product")),
    };
    let product = product.with_context(at)?;
    VcekId::of(&report, product)
        .ok_or_else(|| anyhow!("it names no chip, or no TCB, of {product} (is the chip id masked?)"))
        .with_context(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(from: &[&Path]) -> ChipArgs {
        let from = from.iter().map(|path| path.to_path_buf()).collect();
        ChipArgs { report: Vec::new(), from, product: None, chip_id: None, tcb: None }
    }

    #[test]
    fn a_file_names_chips_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("chips");
        let chip = "ab".repeat(64);
        let turin = format!("{}{}", "cd".repeat(8), "00".repeat(56));
        let text = format!(
            "# a fleet\n\nmilan {chip} bl=4,tee=0,snp=24,ucode=219 # rack 7\n  Turin {turin} fmc=1,bl=1,tee=1,snp=4,ucode=72\n\
             turin cdcdcdcdcdcdcdcd fmc=1,bl=1,tee=1,snp=4,ucode=72\n"
        );
        fs::write(&file, text).unwrap();
        let chips = args(&[&file]).read().unwrap();
        let keys: Vec<_> = chips.iter().map(ToString::to_string).collect();
        assert_eq!(
            keys,
            [format!("Milan/{chip}/4.0.24.219"), "Turin/cdcdcdcdcdcdcdcd/1.1.1.4.72".to_owned()]
        );
    }

    #[test]
    fn a_line_that_names_no_chip_is_refused_with_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("chips");
        let chip = "ab".repeat(64);
        for (line, said) in [
            ("milan".to_owned(), "neither"),
            (format!("rome {chip} bl=4,tee=0,snp=24,ucode=219"), "the product must be"),
            ("milan abc bl=4,tee=0,snp=24,ucode=219".to_owned(), "not hex"),
            (format!("milan {chip}00 bl=4,tee=0,snp=24,ucode=219"), "130 hex digits"),
            (format!("milan {chip} bl=4,tee=0,snp=24"), "the TCB must name"),
            (format!("turin {chip} fmc=1,bl=1,tee=1,snp=4,ucode=72"), "not one of Turin"),
            (format!("genoa {} bl=4,tee=0,snp=24,ucode=219", "0".repeat(128)), "all zeros"),
            ("report missing.bin".to_owned(), "missing.bin"),
        ] {
            fs::write(&file, format!("\n{line}\n")).unwrap();
            let error = args(&[&file]).in_file(&file).unwrap_err();
            let told = format!("{error:#}");
            assert!(told.starts_with("line 2 of ") && told.contains(said), "{told}");
        }
    }
}
