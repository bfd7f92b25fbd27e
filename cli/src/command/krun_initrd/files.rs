//! The files of this machine that go into an initrd.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_initdata::Document;
use keybroker_krun::initrd::{Parts, needed};

use crate::{
    bounded,
    exit::{Exit, Failure},
};

/// The programs of the guest.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Programs of the guest")]
pub(super) struct Sources {
    /// The guest's program, which must be static
    ///
    /// libkrunfw-sev has 6 MiB for the initrd. Debian's cryptsetup with its libraries takes 4.3 MB of it, and
    /// the guest fits beside it if it is built without TLS: `guest/build --no-default-features`. It then asks
    /// a broker over http, on the host's loopback; `keybroker relay` takes the way over TLS to another
    /// machine.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/keybroker-guest")]
    guest: PathBuf,
    /// cryptsetup; its libraries are taken along. Without it: this machine's
    #[arg(long, value_name = "FILE")]
    cryptsetup: Option<PathBuf>,
}

/// Where this machine has cryptsetup.
const CRYPTSETUP: [&str; 3] = ["/usr/sbin/cryptsetup", "/sbin/cryptsetup", "/usr/bin/cryptsetup"];

/// Where the dynamic linkers of distributions look for libraries by themselves.
const LIBRARIES: [&str; 6] =
    ["/lib64", "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];

impl Sources {
    /// The initrd of the workload whose document this is. The library has `room` bytes for it.
    pub(super) fn initrd(&self, document: &Document, room: u64) -> Result<Vec<u8>, Failure> {
        let init = read(&self.guest).map_err(|failure| {
            failure.hint("install the package keybroker-guest, or name the program with --guest")
        })?;
        let own = needed(&init).map_err(|error| unusable(&self.guest, error))?;
        if own.interpreter.is_some() || !own.libraries.is_empty() {
            return Err(unusable(&self.guest, anyhow!("the program is not static")));
        }
        let cryptsetup = self.cryptsetup()?;
        let program = read(&cryptsetup)?;
        let libraries = libraries(&cryptsetup, &program)?;
        let parts = Parts { init: &init, document: document.text(), cryptsetup: &program, libraries };
        let initrd = parts.initrd(room).context("writing the initrd")?;
        if initrd.len() as u64 > room {
            let (length, init) = (initrd.len(), init.len());
            let error = anyhow!(
                "the initrd has {length} bytes, and the library has room for {room}: the guest alone has {init} \
                 before compression"
            );
            return Err(Failure::new(Exit::Failure, error).hint(
                "build the guest without TLS (guest/build --no-default-features) and name it with --guest, or name a \
                 smaller cryptsetup with --cryptsetup",
            ));
        }
        Ok(initrd)
    }

    fn cryptsetup(&self) -> Result<PathBuf, Failure> {
        let found = || CRYPTSETUP.into_iter().map(PathBuf::from).find(|path| path.exists());
        self.cryptsetup.clone().or_else(found).ok_or_else(|| {
            Failure::new(Exit::Configuration, anyhow!("this machine has no cryptsetup"))
                .hint("install cryptsetup, or name the program with --cryptsetup")
        })
    }
}

/// The dynamic linker and all libraries that a program needs, each at the path that it has here: the linker
/// looks for it there.
fn libraries(path: &Path, program: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut found = BTreeMap::new();
    let of_program = needed(program).map_err(|error| unusable(path, error))?;
    if let Some(linker) = of_program.interpreter {
        let bytes = read(Path::new(&linker))?;
        found.insert(linker, bytes);
    }
    let mut names: VecDeque<String> = of_program.libraries.into();
    while let Some(name) = names.pop_front() {
        if found.keys().any(|path| path.ends_with(&format!("/{name}"))) {
            continue;
        }
        let places = LIBRARIES.into_iter().map(|directory| format!("{directory}/{name}"));
        let library = places.into_iter().find_map(|place| {
            let bytes = bounded::read(Path::new(&place), bounded::IMAGE).ok()?;
            Some((needed(&bytes).ok()?, place, bytes))
        });
        let (needs, place, bytes) = library
            .ok_or_else(|| unusable(path, anyhow!("it needs {name}, which is not on this machine")))?;
        names.extend(needs.libraries);
        found.insert(place, bytes);
    }
    Ok(found.into_iter().map(|(path, bytes)| (path.trim_start_matches('/').to_owned(), bytes)).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    bounded::read(path, bounded::IMAGE).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Configuration, error).context(path.display().to_string())
}
