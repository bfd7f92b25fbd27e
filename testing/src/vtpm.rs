//! A confidential VM of Azure: an emulated TPM (swtpm), Azure's paravisor in front of it, and tpm2-tools
//! beside it.
//!
//! The paravisor does what OpenHCL does. Each command goes to the TPM as it is. Before the first byte of the
//! index 0x01400001 is read, it renews that index, at most once in two seconds: with a report of the
//! simulated chip, over claims that repeat what the index 0x01400002 holds.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use data_encoding::HEXLOWER;
use keybroker_simulator::guest::Machine;
use tempfile::TempDir;

/// The size of the paravisor's index: swtpm makes none of 2600 bytes, as Azure's has.
const SIZE: usize = 2048;
/// The password of the paravisor's index.
const PASSWORD: &str = "hex:0123456789abcdef";
/// NV_Read.
const READ: u32 = 0x14E;

/// Whether swtpm and tpm2-tools are at hand. If not, a line says so: a test that needs them then ends.
pub fn at_hand() -> bool {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let both = there("swtpm") && there("tpm2_nvread");
    if !both {
        // Around the test harness, which would hide the line. It is no fault if nobody reads it.
        let _ = io::stdout()
            .write_all(b"\nskipped: the vTPM of Azure's guests, for want of swtpm and tpm2-tools\n");
    }
    both
}

/// An emulated TPM. It ends with the test.
struct Swtpm {
    program: Mutex<Child>,
    directory: TempDir,
}

impl Swtpm {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let program = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", path(""))])
            .args(["--server", &format!("type=unixio,path={}", path("tpm"))])
            .args(["--ctrl", &format!("type=unixio,path={}", path("tpm.ctrl"))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm of Debian's package");
        let swtpm = Self { program: Mutex::new(program), directory };
        let up = (0..12_000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            UnixStream::connect(swtpm.socket()).is_ok()
        });
        assert!(up, "swtpm does not listen");
        swtpm
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("tpm")
    }

    fn command(&self, command: &[u8]) -> Vec<u8> {
        // It has one client at a time.
        let mut socket = UnixStream::connect(self.socket()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.write_all(command).unwrap();
        let mut response = vec![0; 4096];
        let size = socket.read(&mut response).unwrap();
        response.truncate(size);
        response
    }

    fn end(&self) {
        let mut program = self.program.lock().unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.end();
    }
}

/// The VM.
pub struct Vm {
    swtpm: Swtpm,
    /// The machine that it runs on.
    pub machine: Machine,
    /// Makes the blob that the paravisor writes, for the 64 bytes of the guest.
    pub makes: fn(&Machine, [u8; 64]) -> Vec<u8>,
    /// When the paravisor renewed its index; without that it never does.
    renewed: Mutex<Option<Duration>>,
    /// The time since some moment.
    elapsed: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// The blob of an honest paravisor, with claims that fit into the index.
pub fn honest(machine: &Machine, user_data: [u8; 64]) -> Vec<u8> {
    let claims = format!(r#"{{"keys":[],"user-data":"{}"}}"#, HEXLOWER.encode(&user_data));
    machine.hcl_report_of(claims.as_bytes())
}

impl Vm {
    /// A VM on `machine`, by this clock.
    pub fn new(machine: Machine, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let vm = Self::without_report(machine, elapsed);
        let size = SIZE.to_string();
        let attributes = "authread|authwrite|ownerread|platformcreate|no_da";
        let report = ["-C", "p", "-p", PASSWORD, "-s", &size, "-a", attributes, "0x01400001"];
        vm.tool("tpm2_nvdefine", &report);
        vm.renew();
        vm
    }

    /// A VM with a TPM that no paravisor of Azure's has anything in.
    pub fn without_report(machine: Machine, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            swtpm: Swtpm::start(),
            machine,
            makes: honest,
            renewed: Mutex::default(),
            elapsed: Box::new(elapsed),
        }
    }

    /// Ends the TPM, where somebody else still holds the VM.
    pub fn end(&self) {
        self.swtpm.end();
    }

    /// Runs one of tpm2-tools against the TPM: what it wrote to its output.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let tcti = format!("swtpm:path={}", self.swtpm.socket().display());
        let output = Command::new(program)
            .args(arguments)
            .env("TPM2TOOLS_TCTI", tcti)
            .output()
            .expect("tpm2-tools of Debian's package");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// All of an index, as tpm2-tools read it.
    pub fn index(&self, index: &str) -> Vec<u8> {
        self.tool("tpm2_nvread", &["-C", "o", index])
    }

    /// Writes an index, as tpm2-tools do.
    pub fn write(&self, index: &str, bytes: &[u8], authority: &[&str]) {
        let file = self.swtpm.directory.path().join("bytes");
        fs::write(&file, bytes).unwrap();
        self.tool("tpm2_nvwrite", &[authority, &["-i", file.to_str().unwrap(), index]].concat());
    }

    /// Writes a new report, with what the guest wrote; zeros if it wrote nothing.
    pub fn renew(&self) {
        let indices = self.tool("tpm2_getcap", &["handles-nv-index"]);
        let is_written = String::from_utf8(indices).unwrap().contains("0x1400002");
        let input = if is_written { self.index("0x01400002") } else { vec![0; 64] };
        let mut blob = (self.makes)(&self.machine, input.try_into().unwrap());
        assert!(blob.iter().skip(SIZE).all(|byte| *byte == 0), "the claims are too long for swtpm");
        blob.resize(SIZE, 0);
        self.write("0x01400001", &blob, &["-C", "0x01400001", "-P", PASSWORD]);
        *self.renewed.lock().unwrap() = Some((self.elapsed)());
    }

    /// The response to a command of the guest's.
    pub fn respond(&self, command: &[u8]) -> Vec<u8> {
        let number = |at: usize| u32::from_be_bytes(command[at..at + 4].try_into().unwrap());
        let renewed = *self.renewed.lock().unwrap();
        if number(6) == READ
            && number(14) == 0x0140_0001
            && command.ends_with(&[0, 0])
            && renewed.is_some_and(|then| (self.elapsed)() - then > Duration::from_secs(2))
        {
            self.renew();
        }
        self.swtpm.command(command)
    }
}

type Responds<'a> = dyn Fn(&[u8]) -> io::Result<Vec<u8>> + 'a;

/// A guest's way to something that responds to commands.
pub struct Channel<'a> {
    responds: Box<Responds<'a>>,
    response: Vec<u8>,
}

impl<'a> Channel<'a> {
    /// To this.
    pub fn to(responds: impl Fn(&[u8]) -> io::Result<Vec<u8>> + 'a) -> Self {
        Self { responds: Box::new(responds), response: Vec::new() }
    }
}

impl Write for Channel<'_> {
    fn write(&mut self, command: &[u8]) -> io::Result<usize> {
        self.response = (self.responds)(command)?;
        Ok(command.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Channel<'_> {
    /// In pieces, as a socket may give a response.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let size = self.response.len().min(bytes.len());
        let size = if size > 16 { size / 2 } else { size };
        bytes[..size].copy_from_slice(&self.response[..size]);
        self.response.drain(..size);
        Ok(size)
    }
}
