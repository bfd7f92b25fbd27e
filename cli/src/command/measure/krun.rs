//! `keybroker measure krun`.

use std::{
    fs,
    num::NonZeroU8,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use keybroker_common::requirements::Measurement;
use keybroker_krun::Library;
use keybroker_snp::measurement::krun::{Fpu, KrunError, Prepared, initrd_room};
use serde::Serialize;

use super::{
    explain::ExplainArgs,
    input::{Input, unusable},
    output::{Host, LaunchedFrom, Measured, OutputArgs},
};
use crate::exit::{Exit, Failure};

/// Compute the launch measurement of a krun guest
///
/// libkrun launches a guest from its firmware library, libkrunfw-sev. The command reads the library without
/// running any of it. Lists, with commas, give the measurements of every combination.
///
/// The host's kernel decides whether the state in which a vCPU starts has the initial values of the FPU. So
/// each guest has two measurements: libkrunfw's own tool, and so buildah, knows the one with zeros alone.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker measure krun --library /usr/lib64/libkrunfw-sev.so.4 --vcpus 2 --memory 512
  keybroker measure krun --library ./libkrunfw-sev.so.5 --vcpus 1,2,4 --memory 512,2048 --json
  A guest that was refused, by the measurement in its report:
      keybroker measure krun --explain report.bin

{}", Exit::TABLE))]
pub(super) struct KrunArgs {
    /// The library. With --explain the default is this machine's
    #[arg(long, value_name = "FILE", required_unless_present = "explain")]
    library: Option<PathBuf>,
    /// The number of vCPUs, or several with commas. Only --explain does without it
    #[arg(long, visible_alias = "cpus", value_name = "N", value_delimiter = ',')]
    #[arg(required_unless_present = "explain")]
    vcpus: Vec<NonZeroU8>,
    /// RAM in MiB, or several with commas. Only --explain does without it
    #[arg(long, value_name = "MIB", value_delimiter = ',', required_unless_present = "explain")]
    #[arg(value_parser = mebibytes)]
    memory: Vec<u32>,
    #[command(flatten)]
    explain: ExplainArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Reads a size of the memory.
fn mebibytes(text: &str) -> Result<u32, &'static str> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or("a number of MiB, such as 512; several are written 512,2048")
}

/// The launch measurements of one guest, by what the host's kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct KrunMeasurements {
    /// The FPU's state is left out: what libkrunfw's tool computes.
    pub(crate) measurement: Measurement,
    /// The FPU's initial state is in.
    pub(crate) measurement_with_fpu: Measurement,
}

/// Where distributions have the library.
const DIRECTORIES: [&str; 4] = ["/usr/lib64", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib64"];
/// Its names, the latest first.
const NAMES: [&str; 2] = ["libkrunfw-sev.so.5", "libkrunfw-sev.so.4"];

/// The guests of a library. An empty list was not given.
#[derive(Debug)]
pub(super) struct KrunGuests<'a> {
    pub(super) library: &'a Input,
    pub(super) vcpus: &'a [NonZeroU8],
    pub(super) memory: &'a [u32],
}

pub(super) fn run(args: &KrunArgs) -> Result<Exit, Failure> {
    let library = Input::read(&args.library()?)?;
    let guests = KrunGuests { library: &library, vcpus: &args.vcpus, memory: &args.memory };
    match args.explain.digest()? {
        Some(digest) => guests.explain(digest, &args.explain.others()?)?.print(&args.output),
        None => {
            args.output.print(&guests.measured()?)?;
            Ok(Exit::Ok)
        }
    }
}

impl KrunArgs {
    fn library(&self) -> Result<PathBuf, Failure> {
        if let Some(library) = &self.library {
            return Ok(library.clone());
        }
        let places =
            DIRECTORIES.iter().flat_map(|directory| NAMES.iter().map(|name| Path::new(directory).join(name)));
        places.into_iter().find(|path| fs::exists(path).unwrap_or_default()).ok_or_else(|| {
            Failure::new(Exit::Usage, anyhow!("this machine has no libkrunfw-sev, so --library must name it"))
                .hint("give the library that the host launches guests from: libkrunfw-sev.so.4 or .so.5")
        })
    }
}

impl KrunGuests<'_> {
    /// The measurements of every combination.
    fn measured(&self) -> Result<Vec<Measured>, Failure> {
        let library = parse(self.library)?;
        let prepared = prepared(&library)?;
        let mut measured = Vec::new();
        for vcpus in self.vcpus.iter().copied() {
            for memory in self.memory.iter().copied() {
                for fpu in Fpu::ALL {
                    let digest = prepared.measure(vcpus, memory, fpu);
                    let digest = digest.map_err(|error| cannot_launch(&library, error))?;
                    measured.push(of(self.library, vcpus, memory, fpu, Measurement(digest)));
                }
            }
        }
        Ok(measured)
    }
}

/// A measurement with all that it was computed from.
pub(super) fn of(
    library: &Input,
    vcpus: NonZeroU8,
    memory: u32,
    fpu: Fpu,
    measurement: Measurement,
) -> Measured {
    let of = LaunchedFrom::Krun { memory, fpu: fpu == Fpu::Initial, library: library.name.clone() };
    Measured { measurement, vmm: Host::Krun, vcpus: vcpus.get().into(), of }
}

/// Reads a library's file.
pub(super) fn parse(input: &Input) -> Result<Library<'_>, Failure> {
    Library::parse(&input.bytes).map_err(|error| unusable(input.name.path(), error))
}

/// The part of a launch that every guest of a library has.
pub(super) fn prepared<'a>(library: &Library<'a>) -> Result<Prepared<'a>, Failure> {
    Prepared::new(&library.firmware).map_err(|error| cannot_launch(library, error))
}

fn cannot_launch(library: &Library<'_>, error: KrunError) -> Failure {
    let failure = Failure::new(Exit::Failure, anyhow!("libkrun cannot launch this guest: {error}"));
    match (error, initrd_room(library.firmware.kernel_address)) {
        (KrunError::Overlap { .. }, Some(room)) => failure.hint(format!(
            "the initrd may have {room} bytes: strip the programs in it, or take a smaller cryptsetup"
        )),
        _ => failure,
    }
}

/// The launch measurements of a guest from this library.
pub(crate) fn measured(
    library: &Library<'_>,
    cpus: NonZeroU8,
    memory: u32,
) -> Result<KrunMeasurements, Failure> {
    let prepared = prepared(library)?;
    let of = |fpu| {
        let digest = prepared.measure(cpus, memory, fpu);
        digest.map(Measurement).map_err(|error| cannot_launch(library, error))
    };
    Ok(KrunMeasurements { measurement: of(Fpu::Zero)?, measurement_with_fpu: of(Fpu::Initial)? })
}
