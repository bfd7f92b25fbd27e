//! Opening every disk of the document.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use keybroker_initdata::Disk;

use crate::{
    disk::{self, DiskError, Header, Mapping, Opener, mapping},
    document::{self, Found},
    failure::Failure,
    release::Asker,
    root::Root,
    time::until,
};

/// How long a device may take to come, for all of them together.
pub const DEVICES: Duration = Duration::from_secs(60);

/// A disk with its device and the judged copy of its header.
pub struct Ready<'a> {
    /// Its entry in the document.
    pub disk: &'a Disk,
    /// Where it is.
    pub device: PathBuf,
    /// The copy.
    pub header: Header,
}

/// Waits for the devices of all disks, and copies and judges their headers. Nobody is asked for a passphrase
/// before all of them are the document's.
pub fn prepare<'a>(root: &Root, asker: &Asker<'a>) -> Result<Vec<Ready<'a>>, Failure> {
    let deadline = asker.time.elapsed() + DEVICES;
    let disks = asker.found.document.keybroker().disks.iter();
    disks
        .map(|disk| {
            let failed = |error| Failure::Disk { name: disk.name.clone(), error };
            let device = root.path(disk.device.path());
            if !device.exists() {
                asker.console.line(format_args!("waiting for the device {}", disk.device));
            }
            let left = deadline.saturating_sub(asker.time.elapsed());
            until(asker.time, left, || device.exists().then_some(())).ok_or_else(|| {
                let (device, seconds) = (disk.device.to_string(), DEVICES.as_secs());
                failed(DiskError::Absent { device, seconds })
            })?;
            if mapping(root, &disk.name) != Mapping::Absent {
                return Err(failed(DiskError::Taken(disk.name.clone())));
            }
            let header = disk::copy(root, disk, &device).map_err(failed)?;
            Ok(Ready { disk, device, header })
        })
        .collect()
}

/// The names of the secrets of all disks. Disks may share one, which is asked for once.
pub fn secrets(found: &Found) -> Vec<String> {
    let names = found.document.keybroker().disks.iter().map(|disk| disk.secret.clone());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Opens every disk of the document, and tells the names and the decision.
pub fn unlock(root: &Root, asker: &Asker<'_>, opener: &dyn Opener) -> Result<(), Failure> {
    asker.look()?;
    document::keep(root, asker.found)?;
    let ready = prepare(root, asker)?;
    let released = asker.release(&secrets(asker.found))?;
    for Ready { disk, device, header } in &ready {
        let failed = |error| Failure::Disk { name: disk.name.clone(), error };
        let key = released.secret(&disk.secret).ok_or_else(|| failed(DiskError::Passphrase))?;
        opener.open(disk, device, header, key).map_err(failed)?;
    }
    let opened: Vec<&str> = ready.iter().map(|ready| ready.disk.name.as_str()).collect();
    asker.console.line(format_args!("opened {} (decision {})", opened.join(", "), released.decision));
    Ok(())
}
