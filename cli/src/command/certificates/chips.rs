//! The chips that an operator names: by a report, by a URL, by name, or in a file of such lines.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use data_encoding::HEXLOWER_PERMISSIVE;
use keybroker_common::platform::{Levels, OfSilicon as _};
use keybroker_kds::VcekId;
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
};

use crate::{
    bounded,
    evidence::Evidence,
    exit::{Exit, Failure, Unusable},
    hex, platform,
};

/// The chips to fetch certificates for.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("chips").required(true).multiple(true).args([
    "report", "vcek_url", "from", "chip_id",
]))]
pub(super) struct ChipArgs {
    /// A report of the chip, in any form that `verify` takes: it says which certificate it needs. May be
    /// given several times
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// The URL of the chip's certificate, as `snphost show vcek-url` prints it: the command asks --kds-url
    /// for that certificate. May be given several times
    #[arg(long, value_name = "URL", value_parser = of_url)]
    vcek_url: Vec<VcekId>,
    /// A file of lines: `PRODUCT CHIP-ID TCB`, a VCEK's URL, or `report FILE`. Empty lines and text after `#`
    /// are ignored. `-` reads standard input. May be given several times
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The product of --chip-id, or of reports of version 2, which do not name it
    #[arg(long, value_name = "milan|genoa|turin", value_parser = platform::product)]
    product: Option<Product>,
    /// CHIP_ID in hex, 128 digits; for a Turin the first 16 are enough
    #[arg(long, value_name = "HEX", value_parser = chip_id, requires = "product", requires = "tcb")]
    chip_id: Option<ChipId>,
    /// The TCB that the chip reports: `bl=4,tee=0,snp=24,ucode=219`; a Turin's has `fmc=…` as well
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
            chips.push(of_report(path, self.product)?);
        }
        chips.extend(self.vcek_url.iter().cloned());
        if let (Some(product), Some(chip), Some(tcb)) = (self.product, &self.chip_id, &self.tcb) {
            chips.push(named(product, chip, tcb).map_err(|error| Failure::new(Exit::Usage, error))?);
        }
        for path in &self.from {
            chips.extend(self.in_file(path)?);
        }
        // The other options name a chip each.
        if let (Some(path), true) = (self.from.first(), chips.is_empty()) {
            return Err(anyhow!("the list names no chip").context(Unusable::content(path)).into());
        }
        let mut seen = std::collections::HashSet::new();
        chips.retain(|chip| seen.insert(chip.clone()));
        Ok(chips)
    }

    fn in_file(&self, path: &Path) -> anyhow::Result<Vec<VcekId>> {
        let reading = || Unusable::reading(path);
        let bytes = bounded::given(path).with_context(reading)?;
        let text = std::str::from_utf8(&bytes).with_context(reading)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let mut chips = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let at = || Unusable(format!("line {} of {}", index + 1, path.display()));
            let line = line.split('#').next().unwrap_or_default().trim();
            let words: Vec<_> = line.split_whitespace().collect();
            chips.push(match words.as_slice() {
                [] => continue,
                ["report", _, ..] => {
                    let report = line.strip_prefix("report").unwrap_or_default().trim();
                    of_report(&beside.join(report), self.product).with_context(at)?
                }
                [url] if url.contains("://") => {
                    of_url(url).map_err(|error| anyhow!(error)).with_context(at)?
                }
                [product, chip, tcb] => {
                    let product = platform::product(product)
                        .map_err(|error| anyhow!("the product {error}"))
                        .with_context(at)?;
                    let chip =
                        chip_id(chip).map_err(|error| anyhow!("the chip id is {error}")).with_context(at)?;
                    named(product, &chip, tcb).with_context(at)?
                }
                _ => Err(anyhow!("neither `PRODUCT CHIP-ID TCB` nor a VCEK's URL nor `report FILE`"))
                    .with_context(at)?,
            });
        }
        Ok(chips)
    }
}

fn chip_id(text: &str) -> Result<ChipId, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(hex::digits(text).as_bytes()).map_err(|_| "not hex".to_owned())?;
    match bytes.len() {
        8 | 64 => Ok(ChipId(bytes)),
        other => Err(format!("{} hex digits long, and must have 128 (16 for a Turin)", 2 * other)),
    }
}

fn named(product: Product, chip: &ChipId, tcb: &str) -> anyhow::Result<VcekId> {
    let levels = Levels::parse(product, tcb).map_err(|error| anyhow!("the TCB {error}"))?;
    let tcb = levels.version(product).ok_or_else(|| {
        let fmc = if product.has_fmc() { "fmc, " } else { "" };
        anyhow!("the TCB must name {fmc}bl, tee, snp and ucode")
    })?;
    at_tcb(product, chip, tcb)
}

fn at_tcb(product: Product, ChipId(chip): &ChipId, tcb: TcbVersion) -> anyhow::Result<VcekId> {
    let (hwid, rest) = chip.split_at_checked(product.hwid_len()).unwrap_or((chip, &[]));
    let hwid = if rest.iter().all(|byte| *byte == 0) { hwid } else { chip };
    VcekId::new(product, hwid, tcb)
        .ok_or_else(|| anyhow!("the chip id is all zeros, or not one of {product}"))
}

fn of_report(path: &Path, product: Option<Product>) -> anyhow::Result<VcekId> {
    let at = || Unusable(format!("the report {}", path.display()));
    let (sent, _) = Evidence::with_report(path)?;
    let read = sent.read()?;
    let report = read.report();
    if report.signing_key() == Some(EndorsementKind::Vlek) {
        return Err(anyhow!(
            "it is signed with a VLEK: the guest sends its certificate, and AMD publishes none"
        ))
        .with_context(at);
    }
    let product = match report.cpuid() {
        Some(cpuid) => {
            cpuid.product().ok_or_else(|| anyhow!("the CPU {cpuid} is no product that this release serves"))
        }
        None => product
            .ok_or_else(|| anyhow!("it is of version 2, which does not name the product: add --product")),
    };
    let product = product.with_context(at)?;
    VcekId::of(report, product)
        .ok_or_else(|| anyhow!("it names no chip, or no TCB, of {product} (is the chip id masked?)"))
        .with_context(at)
}

/// The VCEK that a URL of the KDS asks for:
/// `https://…/vcek/v1/Milan/CHIP-ID?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115`.
fn of_url(url: &str) -> Result<VcekId, String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let (_, path) = rest.and_then(|rest| rest.split_once('/')).ok_or("not a URL")?;
    if path.starts_with("vlek/") {
        return Err("the URL of a VLEK, which AMD gives to its provider alone".to_owned());
    }
    let (place, levels) = path.split_once('?').ok_or("not a VCEK's URL: it names no TCB")?;
    let ["vcek", "v1", product, chip] = *place.split('/').collect::<Vec<_>>() else {
        return Err("not a VCEK's URL: /vcek/v1/PRODUCT/CHIP-ID?blSPL=…".to_owned());
    };
    let product =
        platform::product(product).map_err(|error| format!("not a VCEK's URL: the product {error}"))?;
    let tcb =
        levels_of(levels).ok_or("not a VCEK's URL: its levels are not blSPL, teeSPL, snpSPL and ucodeSPL")?;
    at_tcb(product, &chip_id(chip)?, tcb).map_err(|error| format!("{error}, or its levels are not"))
}

/// `blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115`, on Turin with fmcSPL; each once, in any order.
fn levels_of(query: &str) -> Option<TcbVersion> {
    let [mut fmc, mut bl, mut tee, mut snp, mut ucode] = [None; 5];
    for pair in query.split('&') {
        let (name, level) = pair.split_once('=')?;
        let place = match name {
            "fmcSPL" => &mut fmc,
            "blSPL" => &mut bl,
            "teeSPL" => &mut tee,
            "snpSPL" => &mut snp,
            "ucodeSPL" => &mut ucode,
            _ => return None,
        };
        let level: u8 = level.bytes().all(|byte| byte.is_ascii_digit()).then(|| level.parse().ok())??;
        if place.replace(level).is_some() {
            return None;
        }
    }
    Some(TcbVersion { fmc, boot_loader: bl?, tee: tee?, snp: snp?, microcode: ucode? })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn args(from: &[&Path]) -> ChipArgs {
        let from = from.iter().map(|path| path.to_path_buf()).collect();
        ChipArgs { report: Vec::new(), vcek_url: Vec::new(), from, product: None, chip_id: None, tcb: None }
    }

    #[test]
    fn a_file_names_chips_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("chips");
        let chip = "ab".repeat(64);
        let turin = format!("{}{}", "cd".repeat(8), "00".repeat(56));
        let text = format!(
            "# a fleet\n\nmilan {chip} bl=4,tee=0,snp=24,ucode=219 # rack 7\n  Turin {turin} \
             fmc=1,bl=1,tee=1,snp=4,ucode=72\n\
             turin 0xcdcdcdcdcdcdcdcd fmc=1,bl=1,tee=1,snp=4,ucode=72\n\
             https://kdsintf.amd.com/vcek/v1/Turin/{turin}?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=72\n\
             https://kds.example/vcek/v1/Milan/{chip}?ucodeSPL=219&blSPL=04&teeSPL=00&snpSPL=24\n"
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
    fn the_url_of_a_vcek_names_it() {
        let hwid = "ab".repeat(64);
        for (hwid, tcb) in [(vec![0xAB; 64], [None, Some(3)]), (vec![0xAB; 8], [Some(1), Some(3)])] {
            let [fmc, _] = tcb;
            let product = if fmc.is_some() { Product::Turin } else { Product::Milan };
            let tcb = TcbVersion { fmc, boot_loader: 3, tee: 0, snp: 8, microcode: 115 };
            let id = VcekId::new(product, &hwid, tcb).unwrap();
            assert_eq!(of_url(&format!("https://kdsintf.amd.com{}", id.path())), Ok(id));
        }
        let levels = "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115";
        for (url, said) in [
            (format!("kdsintf.amd.com/vcek/v1/Milan/{hwid}?{levels}"), "not a URL"),
            (format!("https://kdsintf.amd.com:444/vlek/v1/Milan/cert?{levels}"), "of a VLEK"),
            (format!("https://kdsintf.amd.com/vcek/v1/Milan/{hwid}"), "names no TCB"),
            (format!("https://kdsintf.amd.com/vcek/v1/Rome/{hwid}?{levels}"), "the product must be"),
            (format!("https://kdsintf.amd.com/vcek/v1/Milan/cert_chain?{levels}"), "not hex"),
            (format!("https://kdsintf.amd.com/vcek/v2/Milan/{hwid}?{levels}"), "/vcek/v1/PRODUCT"),
            (format!("https://kdsintf.amd.com/vcek/v1/Milan/{hwid}?{levels}&blSPL=04"), "levels"),
            (format!("https://kdsintf.amd.com/vcek/v1/Milan/{hwid}?{levels}&x=1"), "levels"),
            (
                format!(
                    "https://kdsintf.amd.com/vcek/v1/Milan/{hwid}?blSPL=300&teeSPL=0&snpSPL=8&ucodeSPL=1"
                ),
                "levels",
            ),
            (
                format!("https://kdsintf.amd.com/vcek/v1/Milan/{hwid}?blSPL=+3&teeSPL=0&snpSPL=8&ucodeSPL=1"),
                "levels",
            ),
            (format!("https://kdsintf.amd.com/vcek/v1/Milan/{hwid}?fmcSPL=01&{levels}"), "levels"),
            (format!("https://kdsintf.amd.com/vcek/v1/Turin/abababababababab?{levels}"), "levels"),
        ] {
            let error = of_url(&url).unwrap_err();
            assert!(error.contains(said), "{url}: {error}");
        }
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
            ("https://kdsintf.amd.com/vcek/v1/Milan/cert_chain".to_owned(), "names no TCB"),
        ] {
            fs::write(&file, format!("\n{line}\n")).unwrap();
            let error = args(&[&file]).in_file(&file).unwrap_err();
            let told = format!("{error:#}");
            assert!(told.starts_with("line 2 of ") && told.contains(said), "{told}");
        }
    }
}
