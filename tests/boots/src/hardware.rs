//! The port at which a simulated secure processor answers.
//!
//! A guest writes 64 bytes of REPORT_DATA. It gets the report and the host's certificate table, each after
//! its length in four bytes, big-endian.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

/// The port's name.
pub const NAME: &str = "org.keybroker.simulator";

/// A report with this REPORT_DATA.
pub type Report = dyn Fn([u8; 64]) -> Vec<u8> + Send;

/// A secure processor for one machine.
pub struct Hardware(Box<Report>);

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hardware")
    }
}

impl Hardware {
    /// One that answers with `report`. Its table of certificates is empty, as QEMU's is.
    pub fn new(report: impl Fn([u8; 64]) -> Vec<u8> + Send + 'static) -> Self {
        Self(Box::new(report))
    }

    /// Answers the one machine that connects to `socket`, until it is gone.
    pub(crate) fn answer_at(self, socket: &Path) {
        let listener = UnixListener::bind(socket).expect("a socket");
        thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            self.answer(stream)
        });
    }

    fn answer(&self, mut stream: UnixStream) -> io::Result<()> {
        loop {
            let mut report_data = [0; 64];
            stream.read_exact(&mut report_data)?;
            for part in [(self.0)(report_data), Vec::new()] {
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                stream.write_all(&length.to_be_bytes())?;
                stream.write_all(&part)?;
            }
        }
    }
}
