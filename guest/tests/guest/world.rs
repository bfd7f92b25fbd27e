//! A machine in a directory: document, devices, and everything around them.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Arc};

use keybroker_guest::{
    console::{Console, Kept},
    document::{self, Found, Place},
    exit::Exit,
    failure::Failure,
    release::{Asker, Limits},
    root::Root,
    unlock::unlock,
};
use keybroker_initdata::{
    Algorithm, Binding, Disk, Document, Settings,
    document::{Device, SigningKey as DocumentKey},
    volume_key::{Segment, VolumeKeyDigest},
};
use keybroker_native::SigningKey;
use tempfile::TempDir;

use crate::{
    doubles::{Cabinet, ManualTime, Network, Processor},
    headers::{self, DATA_OFFSET},
};

pub(crate) const URLS: [&str; 2] = ["https://k.example.org", "http://10.0.2.2:8000/broker/"];

/// A machine, in memory as the copies of headers must be.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) root: Root,
    pub(crate) settings: Settings,
    pub(crate) console: Arc<Kept>,
    pub(crate) time: Arc<ManualTime>,
    pub(crate) network: Network,
    pub(crate) cabinet: Cabinet,
    pub(crate) limits: Limits,
}

impl World {
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = Root::at(directory.path());
        let settings = Settings {
            workload: "web".to_owned(),
            brokers: URLS.map(str::to_owned).to_vec(),
            binding: Binding::HostData,
            certificates: None,
            broker_keys: vec![DocumentKey {
                key: key.broker_key().clone(),
                not_after: "2027-11-29T00:00:00Z".parse().unwrap(),
            }],
            disks: vec![disk("root", "passphrase", 4), disk("data", "data", 5)],
        };
        for place in ["run", "dev/mapper", "etc/keybroker"] {
            fs::create_dir_all(directory.path().join(place)).unwrap();
        }
        symlink("/proc", directory.path().join("proc")).unwrap();
        let world = Self {
            directory,
            root,
            settings,
            console: Arc::default(),
            time: Arc::default(),
            network: Network::new(key),
            cabinet: Cabinet::default(),
            limits: Limits::default(),
        };
        world.write_device("root", &headers::device(4));
        world.write_device("data", &headers::device(5));
        world
    }

    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root.path(absolute)
    }

    pub(crate) fn write_device(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(&format!("/dev/{name}")), bytes).unwrap();
    }

    pub(crate) fn document(&self) -> Document {
        Document::write(Algorithm::Sha256, &self.settings).unwrap()
    }

    /// Puts the document into a place of the machine, and finds it there.
    pub(crate) fn found(&self, place: Place) -> Found {
        let path = self.path(place.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, self.document().text()).unwrap();
        let found = document::find(&self.root).unwrap();
        assert_eq!(found.place, place);
        found
    }

    pub(crate) fn processor(&self) -> Processor {
        Processor::new(self.document().digest().host_data())
    }

    pub(crate) fn asker<'a>(&'a self, found: &'a Found, source: &'a Processor) -> Asker<'a> {
        Asker {
            found,
            source,
            transport: &self.network,
            time: &*self.time,
            console: &*self.console,
            limits: self.limits,
        }
    }

    /// A run of `unlock`, as the program does it: the last line on the console, and the exit code.
    pub(crate) fn unlock(&self, source: &Processor) -> (Result<(), Failure>, Exit) {
        let found = self.found(Place::FwCfg);
        let outcome = unlock(&self.root, &self.asker(&found, source), &self.cabinet);
        let exit = match &outcome {
            Ok(()) => Exit::Done,
            Err(failure) => {
                self.console.line(format_args!("{failure}"));
                failure.exit()
            }
        };
        (outcome, exit)
    }

    /// Adds a mapping to the kernel's list.
    pub(crate) fn map(&self, name: &str, uuid: &str) {
        let dm = self.path("/sys/block").join(format!("dm-{name}/dm"));
        fs::create_dir_all(&dm).unwrap();
        fs::write(dm.join("name"), format!("{name}\n")).unwrap();
        fs::write(dm.join("uuid"), format!("{uuid}\n")).unwrap();
    }

    pub(crate) fn last_line(&self) -> String {
        self.console.lines().last().cloned().unwrap_or_default()
    }

    /// How many copies of headers are left.
    pub(crate) fn copies(&self) -> usize {
        let is_copy = |file: &fs::DirEntry| file.path().extension().is_some_and(|kind| kind == "header");
        fs::read_dir(self.path("/run/keybroker"))
            .map_or(0, |files| files.map(Result::unwrap).filter(is_copy).count())
    }
}

/// A disk of LUKS1, whose volume key has a digest of `byte`.
pub(crate) fn disk(name: &str, secret: &str, byte: u8) -> Disk {
    Disk {
        name: name.to_owned(),
        device: Device::Path(format!("/dev/{name}")),
        secret: secret.to_owned(),
        volume_key: VolumeKeyDigest::Luks1 {
            hash: "sha256".to_owned(),
            iterations: 2000,
            salt: [3; 32],
            digest: [byte; 20],
        },
        segment: Segment {
            cipher: "aes-xts-plain64".to_owned(),
            key_bits: 512,
            sector_size: 512,
            offset: DATA_OFFSET,
            integrity: None,
            flags: vec![],
        },
    }
}
