//! `keybroker measure krun`.

use std::{fs, num::NonZeroU8, path::PathBuf};

use anyhow::anyhow;
use keybroker_common::requirements::Measurement;
use keybroker_krun::Library;
use keybroker_snp::measurement::krun::{Fpu, KrunError, initrd_room, measure};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    table,
};

/// Compute the launch measurement of a krun guest
///
/// libkrun launches a guest from its firmware library, libkrunfw-sev. The command reads the library without
/// running any of it.
///
/// The host's kernel decides whether the state in which a vCPU starts has the initial values of the FPU. So
/// there are two measurements: libkrunfw's own tool, and so buildah, knows the first alone.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  keybroker measure krun --library /usr/lib64/libkrunfw-sev.so.4 --cpus 2 --memory 512
  keybroker measure krun --library ./libkrunfw-sev.so.5 --cpus 1 --memory 2048 --json")]
pub(super) struct KrunArgs {
    /// The library, for example /usr/lib64/libkrunfw-sev.so.4
    #[arg(long, value_name = "FILE")]
    library: PathBuf,
    /// Virtual processors
    #[arg(long, value_name = "N")]
    cpus: NonZeroU8,
    /// RAM in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
}

/// The launch measurements of one guest, by what the host's kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct KrunMeasurements {
    /// The FPU's state is left out: what libkrunfw's tool computes.
    pub(crate) measurement: Measurement,
    /// The FPU's initial state is in.
    pub(crate) measurement_with_fpu: Measurement,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct KrunOutput {
    /// Version of this form.
    schema: u8,
    library: String,
    cpus: NonZeroU8,
    memory: u32,
    #[serde(flatten)]
    measurements: KrunMeasurements,
}

pub(super) fn run(args: &KrunArgs) -> Result<Exit, Failure> {
    let path = &args.library;
    let of_file = move |error: anyhow::Error| {
        Failure::new(Exit::Configuration, error).context(format!("reading {}", path.display()))
    };
    let bytes = fs::read(path).map_err(|error| of_file(error.into()))?;
    let library = Library::parse(&bytes).map_err(|error| of_file(error.into()))?;
    let measurements = measured(&library, args.cpus, args.memory)?;
    let output = KrunOutput {
        schema: 1,
        library: library.soname(),
        cpus: args.cpus,
        memory: args.memory,
        measurements,
    };
    if args.json {
        table::json(&output)?;
    } else {
        table::print_fields(&[
            ("library", output.library),
            ("measurement", measurements.measurement.to_string()),
            ("with the FPU", measurements.measurement_with_fpu.to_string()),
        ])?;
    }
    Ok(Exit::Ok)
}

/// The launch measurements of a guest from this library.
pub(crate) fn measured(
    library: &Library<'_>,
    cpus: NonZeroU8,
    memory: u32,
) -> Result<KrunMeasurements, Failure> {
    let of = |fpu| measure(&library.firmware, cpus, memory, fpu).map(Measurement);
    let both = of(Fpu::Zero).and_then(|zero| Ok((zero, of(Fpu::Initial)?)));
    match both {
        Ok((measurement, measurement_with_fpu)) => Ok(KrunMeasurements { measurement, measurement_with_fpu }),
        Err(error) => {
            let failure = Failure::new(Exit::Failure, anyhow!("libkrun cannot launch this guest: {error}"));
            Err(match (error, initrd_room(library.firmware.kernel_address)) {
                (KrunError::Overlap { .. }, Some(room)) => failure.hint(format!(
                    "the initrd may have {room} bytes: strip the programs in it, or take a smaller cryptsetup"
                )),
                _ => failure,
            })
        }
    }
}
