//! `keybroker krun-initrd`: makes an image that buildah made into a workload that is bound to itself.
//!
//! It is a command of the operator, for it registers. The guest's own program stays free of all that is
//! needed here and not at boot.

mod earlier;
mod files;

use std::{
    fs,
    num::NonZeroU8,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{
    ids::{HostData, WorkloadId},
    wire::keybroker::register_request,
};
use keybroker_embedded::files::replace;
use keybroker_initdata::{Binding, Document, document::Device, trailer::Trailer};
use keybroker_krun::{Library, relink};
use keybroker_snp::measurement::krun::initrd_room;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use self::{
    earlier::{Earlier, EarlierArgs},
    files::Sources,
};
use crate::{
    bounded,
    command::{
        measure::{KrunMeasurements, measured},
        register::{self, DestinationArgs},
    },
    confirm::ConfirmArgs,
    disk_document::{self, BrokerArgs},
    exit::{Exit, Failure, Unusable},
    operator::{OperatorHandle, block_on},
    table::{self, printable},
};

/// Bind an image that buildah made to a library of its own, and register it
///
/// Run it after buildah. It reads the header of the image's disk, writes the workload's document and an
/// initrd with the guest's program, and links the distribution's libkrunfw-sev anew with this initrd. Qboot,
/// kernel and their addresses stay the distribution's. Then it computes the launch measurement of a guest
/// from that library, and registers the workload under it.
///
/// The new registration takes the place of buildah's, which any guest of the distribution's library could
/// use. If you give the workload another id, the command revokes buildah's.
///
/// Only buildah and the broker know a passphrase that buildah drew, so choose one: `buildah mkcw
/// --passphrase`.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker krun-initrd --image /srv/web/disk.img --out /srv/web/lib \\
      --library /usr/lib64/libkrunfw-sev.so.4 \\
      --broker http://127.0.0.1:8000 --passphrase-file secret
  To see what would be registered, without writing anything:
      keybroker krun-initrd --image disk.img --library libkrunfw-sev.so.4 --out lib \\
          --broker http://127.0.0.1:8000 --passphrase-file secret --dry-run
  To start the guest with its library:
      LD_LIBRARY_PATH=/srv/web/lib krun …

{}", Exit::TABLE))]
pub(crate) struct KrunInitrdArgs {
    /// disk.img of the image, or the directory that it is in
    #[arg(long, value_name = "PATH")]
    image: PathBuf,
    /// The distribution's library, for example /usr/lib64/libkrunfw-sev.so.4
    #[arg(long, value_name = "FILE")]
    library: PathBuf,
    /// The directory for document, initrd and library, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The file of the passphrase that the disk was encrypted with; one line break at its end is dropped
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    #[command(flatten)]
    earlier: EarlierArgs,
    /// Virtual processors, if they are not the image's
    #[arg(long, value_name = "N")]
    cpus: Option<NonZeroU8>,
    /// RAM in MiB, if it is not the image's
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    destination: DestinationArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct KrunInitrdOutput {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    workload_id: WorkloadId,
    /// The digest of the document, with its algorithm.
    init_data: String,
    cpus: NonZeroU8,
    memory: u32,
    #[serde(flatten)]
    measurements: KrunMeasurements,
    /// The files that were written.
    files: Vec<PathBuf>,
    /// The workload that was revoked, if --revoke named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<WorkloadId>,
}

/// Runs the command.
pub(crate) fn run(args: &KrunInitrdArgs) -> Result<Exit, Failure> {
    if !args.confirm.dry_run {
        args.destination.check()?;
    }
    let image = if args.image.is_dir() { args.image.join("disk.img") } else { args.image.clone() };
    let trailer = trailer(&image)?;
    let id = match &args.earlier.workload_id {
        Some(id) => id.clone(),
        None => WorkloadId::new(trailer.workload_id.clone()).context("the image's workload id")?,
    };
    let cpus = args.cpus.or_else(|| NonZeroU8::new(u8::try_from(trailer.cpus).ok()?));
    let cpus = cpus.ok_or_else(|| anyhow!("the image asks for {} processors", trailer.cpus))?;
    let memory = args.memory.unwrap_or(trailer.ram_mib);

    let (earlier, document) = block_on(async {
        let operator = args.destination.store.open().await?;
        let earlier = args.earlier.read(&operator, &id, &trailer.workload_id).await?;
        Ok((earlier, document(args, &image, &id, &operator).await?))
    })?;
    let original = read(&args.library)?;
    let linking = || Unusable(format!("linking {} anew", args.library.display()));
    let kernel_address = Library::parse(&original).with_context(linking)?.firmware.kernel_address;
    let initrd = args.sources.initrd(&document, initrd_room(kernel_address).unwrap_or(u64::MAX))?;
    let made = relink(&original, &initrd).with_context(linking)?;
    let library = Library::parse(&made).with_context(linking)?;
    let measurements = measured(&library, cpus, memory)?;
    let body = body(args, &id, &document, measurements)?;
    show(&body)?;
    earlier.show();

    let mut output = KrunInitrdOutput {
        schema: 1,
        dry_run: args.confirm.dry_run,
        workload_id: id,
        init_data: format!("{:?}", document.digest()),
        cpus,
        memory,
        measurements,
        files: Vec::new(),
        revoked: None,
    };
    if args.confirm.dry_run {
        say!("nothing was written or registered");
        return told(args, &output);
    }
    if !args.confirm.agreed("Register it?")? {
        say!("nothing was written or registered");
        return Ok(Exit::Failure);
    }
    block_on(async {
        let operator = args.destination.store.open().await?;
        earlier.check_unchanged(&operator, &output.workload_id).await
    })?;
    fs::create_dir_all(&args.out).with_context(|| Unusable::writing(&args.out))?;
    // The document is in the initrd, and the initrd in the library: these two are for people to look at.
    for (name, bytes) in [
        ("initdata.toml".to_owned(), document.text().as_bytes()),
        ("initrd.gz".to_owned(), &initrd),
        (library.soname(), &made),
    ] {
        let path = args.out.join(name);
        replace(&path, bytes).with_context(|| Unusable::writing(&path))?;
        output.files.push(path);
    }
    output.revoked = block_on(registered(args, &body, &earlier))?;
    told(args, &output)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    bounded::read(path, bounded::IMAGE).map_err(|error| {
        Failure::new(Exit::Configuration, error).context(format!("reading {}", path.display()))
    })
}

fn trailer(image: &Path) -> Result<Trailer, Failure> {
    let doing = || format!("reading {}", image.display());
    let end = disk_document::end_of(image, Trailer::MAX_LEN);
    let end = end.map_err(|error| Failure::new(Exit::Configuration, error).context(doing()))?;
    let (trailer, _) =
        Trailer::parse(&end).map_err(|error| Failure::new(Exit::Configuration, error).context(doing()))?;
    if trailer.tee != "snp" {
        let error = anyhow!("the image is made for {}, not for snp", printable(&trailer.tee));
        return Err(Failure::new(Exit::Configuration, error).context(doing()));
    }
    Ok(trailer)
}

/// The document of the workload. libkrun gives the guest one disk, and /init opens it.
async fn document(
    args: &KrunInitrdArgs,
    image: &Path,
    id: &WorkloadId,
    operator: &OperatorHandle,
) -> Result<Document, Failure> {
    let keys = args.broker.keys(Some(operator), args.destination.key_file.as_deref()).await?;
    let header = disk_document::header(image)?;
    let disk = disk_document::disk(&header, "root", Device::Path("/dev/vda".to_owned()), "passphrase");
    args.broker.document(id, Binding::Measured, keys, disk)
}

/// The registration, as the broker takes it.
fn body(
    args: &KrunInitrdArgs,
    id: &WorkloadId,
    document: &Document,
    measurements: KrunMeasurements,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let passphrase = Zeroizing::new(read(&args.passphrase_file)?);
    let passphrase = passphrase.strip_suffix(b"\n").unwrap_or(&passphrase);
    let passphrase = std::str::from_utf8(passphrase).map_err(|_| {
        anyhow!("the passphrase must be UTF-8").context(Unusable::reading(&args.passphrase_file))
    })?;
    let body = json!({
        "workload_id": id,
        "init_data": { "bound_by": "measurement", "document": document.text() },
        "measurements": [measurements.measurement, measurements.measurement_with_fpu],
        "resources": { "passphrase": passphrase },
    });
    Ok(Zeroizing::new(serde_json::to_vec(&body).context("writing the registration")?))
}

/// Shows what is registered, as the broker will read it.
fn show(body: &[u8]) -> Result<(), Failure> {
    let (request, _) = register_request(body, HostData::random())
        .map_err(|error| Failure::new(Exit::Usage, error).context("the registration"))?;
    register::show(&request, false)
}

/// Registers the workload. Returns the one that was revoked, if the operator named one.
async fn registered(
    args: &KrunInitrdArgs,
    body: &[u8],
    earlier: &Earlier,
) -> Result<Option<WorkloadId>, Failure> {
    let written = || format!("the files in {} are written, and nothing is registered", args.out.display());
    let answer =
        args.destination.send("/rvp/register", body).await.map_err(|error| error.context(written()))?;
    if !answer.status.is_success() {
        return Err(answer.refusal(&args.destination.store.place()).context(written()));
    }
    if !earlier.revokes() {
        return Ok(None);
    }
    earlier.end(&args.destination.store.open().await?).await
}

fn told(args: &KrunInitrdArgs, output: &KrunInitrdOutput) -> Result<Exit, Failure> {
    if args.json {
        table::json(output)?;
        return Ok(Exit::Ok);
    }
    let mut fields = vec![
        ("workload", output.workload_id.to_string()),
        ("init data", output.init_data.clone()),
        ("measurement", output.measurements.measurement.to_string()),
        ("with the FPU", output.measurements.measurement_with_fpu.to_string()),
    ];
    fields.extend(output.files.iter().map(|path| ("wrote", path.display().to_string())));
    fields.extend(output.revoked.iter().map(|id| ("revoked", id.to_string())));
    table::print_fields(&fields)?;
    if !output.dry_run {
        say!("to start the guest with its library: LD_LIBRARY_PATH={} krun …", args.out.display());
    }
    Ok(Exit::Ok)
}
