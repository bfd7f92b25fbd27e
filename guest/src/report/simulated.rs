//! Reports of a simulated processor, over a virtio-serial port. No release has this: see tests/guest-size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::PathBuf,
    sync::Mutex,
};

use crate::{
    report::{Evidence, ReportError, ReportSource},
    root::Root,
};

const NAME: &str = "org.keybroker.simulator";
/// A table, and more.
const MAX_PART: u32 = 64 * 1024;

/// The port.
#[derive(Debug)]
pub struct Port(Mutex<PathBuf>);

impl Port {
    /// The port of that name: by the link that udev makes, else by what the kernel says of its ports.
    pub fn find(root: &Root) -> Option<Self> {
        let link = root.path("/dev/virtio-ports").join(NAME);
        if link.exists() {
            return Some(Self(Mutex::new(link)));
        }
        fs::read_dir(root.path("/sys/class/virtio-ports")).ok()?.flatten().find_map(|port| {
            let name = fs::read_to_string(port.path().join("name")).ok()?;
            let path = root.path("/dev").join(port.file_name());
            (name.trim() == NAME).then_some(Self(Mutex::new(path)))
        })
    }

    fn exchange(&self, report_data: &[u8; 64]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        // One request at a time: the port is one stream.
        let path = self.0.lock().map_err(|_| io::Error::other("the port is broken"))?;
        let mut port = OpenOptions::new().read(true).write(true).open(&*path)?;
        port.write_all(report_data)?;
        Ok((part(&mut port)?, part(&mut port)?))
    }
}

fn part(port: &mut File) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    port.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_PART {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    port.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl ReportSource for Port {
    fn name(&self) -> &'static str {
        NAME
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        let answer = self.exchange(report_data);
        let (report, table) = answer.map_err(|error| ReportError::Io { place: NAME.to_owned(), error })?;
        Ok(Evidence::new(report, &table))
    }
}
