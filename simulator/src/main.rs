//! AMD's Key Distribution Service on the loopback as a process, for brokers that run as other processes.

use std::{env, error::Error, fs, future, io::Write, ops::Range, path::PathBuf, process::ExitCode};

use jiff::Timestamp;
use keybroker_simulator::{
    Product,
    kds::Kds,
    pki::{Amd, CSP_ID, Chip, SHARED_KEYS},
};

const USAGE: &str = "\
Usage: keybroker-simulator kds [--port PORT] [--write-anchors FILE]

Serves the certificates of 64 chips of each product on the loopback, with their chains and revocation lists.
Once it answers, it prints the settings for a broker:

    export KEYBROKER_KDS_URL=… KEYBROKER_TRUST_ANCHORS=… KEYBROKER_ACCEPT_CSP_IDS=…

  --port PORT           listen on this port; by default on a free one
  --write-anchors FILE  write the roots of all products to this file, PEM

The chips have the seeds 0 to 63; this AMD has made no other chips. The process makes its own root keys,
unless KEYBROKER_SIMULATOR_KEYS names a directory: all processes that share it are the same AMD.";

const SEEDS: Range<u8> = 0..64;

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("keybroker-simulator: {cause}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    port: u16,
    anchors: Option<PathBuf>,
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    if words.next().as_deref() != Some("kds") {
        return Err(USAGE.into());
    }
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match word.as_str() {
            "--port" => options.port = value.parse()?,
            "--write-anchors" => options.anchors = Some(value.into()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn run(words: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let options = options(words)?;
    if let Some(directory) = env::var_os(SHARED_KEYS) {
        fs::create_dir_all(directory)?;
    }
    let now = Timestamp::now();
    let products = Product::ALL.map(|product| Amd::new(product, now));
    let anchors: String = products.iter().map(Amd::ark_pem).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let kds = Kds::on(options.port, products).await?;
        for product in Product::ALL {
            SEEDS.for_each(|seed| kds.add(&Chip::new(product, seed)));
        }
        let mut told =
            format!("export KEYBROKER_KDS_URL={}\nexport KEYBROKER_ACCEPT_CSP_IDS={CSP_ID}\n", kds.url());
        if let Some(path) = options.anchors {
            fs::write(&path, anchors)?;
            told += &format!("export KEYBROKER_TRUST_ANCHORS={}\n", fs::canonicalize(&path)?.display());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(told.as_bytes())?;
        out.flush()?;
        future::pending().await
    })
}
