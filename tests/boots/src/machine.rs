//! A virtual machine, its console, and who types on it.

use std::{
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256, Sha384};
use tempfile::TempDir;

use crate::{
    hardware::{self, Hardware},
    network::{Cable, Gate},
};

/// How long a boot may take on a busy machine, if nothing in it waits.
pub const BOUND: Duration = Duration::from_secs(300);

/// Everything that a machine is started with.
#[derive(Debug, Default)]
pub struct Launch {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// Disks, /dev/vda first. A machine's writes to them are dropped when it ends, unless they are `written`.
    pub disks: Vec<PathBuf>,
    /// Whether the disks keep what is written to them.
    pub written: bool,
    /// Files for the guest in QEMU's fw_cfg, by their names.
    pub fw_cfg: Vec<(String, Vec<u8>)>,
    /// Texts in SMBIOS tables of type 11.
    pub smbios: Vec<String>,
    /// The secure processor.
    pub hardware: Option<Hardware>,
    /// The way to the broker. Without one there is no network.
    pub gate: Option<Gate>,
    /// One frame in so many is lost, in each direction.
    pub loses_one_in: Option<usize>,
    /// A person types this after each line of the console, until [`Machine::types`] is called.
    pub typed: Option<String>,
}

impl Launch {
    /// The measurement of this launch. It stands for the real one with QEMU's kernel hashes: it covers
    /// kernel, initrd and command line, and nothing else.
    pub fn measurement(&self) -> [u8; 48] {
        let file = |path: &Path| Sha256::digest(fs::read(path).expect("a file"));
        let mut digest = Sha384::new();
        digest.update(file(&self.kernel));
        digest.update(file(&self.initrd));
        digest.update(Sha256::digest(self.command_line.as_bytes()));
        digest.finalize().into()
    }

    /// Starts the machine.
    pub fn boot(mut self) -> Machine {
        let directory = TempDir::new().expect("a directory");
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "512",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ]);
        command.args(["-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        command.args(["-append", &self.command_line]);
        let snapshot = if self.written { "off" } else { "on" };
        for disk in &self.disks {
            let disk = disk.display();
            command.args(["-drive", &format!("file={disk},if=virtio,format=raw,snapshot={snapshot}")]);
        }
        for (number, (name, contents)) in self.fw_cfg.iter().enumerate() {
            let file = directory.path().join(format!("fw_cfg.{number}"));
            fs::write(&file, contents).expect("a file");
            command.args(["-fw_cfg", &format!("name={name},file={}", file.display())]);
        }
        for text in &self.smbios {
            command.args(["-smbios", &format!("type=11,value={text}")]);
        }
        if let Some(hardware) = self.hardware.take() {
            let socket = directory.path().join("hardware");
            hardware.answer_at(&socket);
            command.args(["-chardev", &format!("socket,id=hardware,path={}", socket.display())]);
            command.args(["-device", "virtio-serial-pci", "-device"]);
            command.arg(format!("virtserialport,chardev=hardware,name={}", hardware::NAME));
        }
        if let Some(gate) = &self.gate {
            // A program of the host's for each connection, because QEMU itself would make only one.
            let forward = format!("guestfwd=tcp:10.0.2.100:8000-cmd:busybox nc 127.0.0.1 {}", gate.port());
            command.args(["-netdev", &format!("user,id=net,restrict=on,{forward}")]);
            command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
            if let Some(one_in) = self.loses_one_in {
                command.args(Cable::losing(one_in, directory.path()).arguments("net"));
            }
        }
        Machine::start(command, directory, self.typed)
    }
}

/// The output of a machine's serial line.
#[derive(Debug, Default)]
struct Console {
    written: Mutex<Written>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
    after_each_line: Option<String>,
}

/// A running machine. It is killed when this is dropped.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    console: Arc<Console>,
    keys: Sender<String>,
    started: Instant,
    _directory: TempDir,
}

/// A machine that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Everything on its console, without control sequences.
    pub console: String,
    /// How long it ran.
    pub ran: Duration,
}

impl Machine {
    fn start(mut command: Command, directory: TempDir, typed: Option<String>) -> Self {
        let errors = directory.path().join("errors");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(errors).expect("a file"));
        let mut qemu = command.spawn().expect("QEMU");
        let console = Arc::new(Console::default());
        console.written.lock().unwrap().after_each_line = typed;
        let (output, mut keyboard) = (qemu.stdout.take().unwrap(), qemu.stdin.take().unwrap());
        // A thread of its own: a machine that reads nothing stops its typist, and must not stop its console.
        let (keys, pressed) = mpsc::channel::<String>();
        thread::spawn(move || pressed.iter().try_for_each(|text| keyboard.write_all(text.as_bytes())));
        let (written, pressing) = (Arc::clone(&console), keys.clone());
        thread::spawn(move || gather(output, &written, &pressing));
        Self { qemu, console, keys, started: Instant::now(), _directory: directory }
    }

    /// Types `text` once, and nothing after further lines.
    ///
    /// A machine drops keys until something reads its console. Therefore [`Launch::typed`] has to be harmless
    /// in pieces, and `text` has to come when something is known to read.
    pub fn types(&self, text: &str) {
        self.console.written.lock().unwrap().after_each_line = None;
        // The machine may end at any time.
        let _ = self.keys.send(text.to_owned());
    }

    /// Waits until the console shows `text`.
    pub fn shows(&self, text: &str, bound: Duration) -> bool {
        self.until(bound, |written| plain(&written.bytes).contains(text))
    }

    /// Waits until the machine has powered off. It must do so within `bound`.
    pub fn ended(mut self, bound: Duration) -> Ended {
        let ended = self.until(bound, |written| written.ended);
        let console = plain(&self.console.written.lock().unwrap().bytes);
        let errors = fs::read_to_string(self._directory.path().join("errors")).unwrap_or_default();
        assert!(ended, "still running after {bound:?}:\n{console}\n{errors}");
        let status = self.qemu.wait().expect("QEMU");
        assert!(status.success(), "{status}: {errors}\n{console}");
        Ended { console, ran: self.started.elapsed() }
    }

    /// Whether `found` holds of what is written, within `bound` and before the end.
    fn until(&self, bound: Duration, found: impl Fn(&Written) -> bool) -> bool {
        let until = Instant::now() + bound;
        let mut written = self.console.written.lock().unwrap();
        loop {
            if found(&written) {
                return true;
            }
            let left = until.checked_duration_since(Instant::now());
            let (false, Some(left)) = (written.ended, left) else { return false };
            written = self.console.more.wait_timeout(written, left).unwrap().0;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both calls fail if it has already ended.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Gathers the console, and types after each line.
fn gather(mut output: impl Read, console: &Console, keys: &Sender<String>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = output.read(&mut buffer) {
        let bytes = buffer.get(..read).unwrap_or_default();
        let mut written = console.written.lock().unwrap();
        written.bytes.extend_from_slice(bytes);
        if let Some(typed) = written.after_each_line.clone().filter(|_| bytes.contains(&b'\n')) {
            // The machine may end at any time.
            let _ = keys.send(typed);
        }
        console.more.notify_all();
    }
    console.written.lock().unwrap().ended = true;
    console.more.notify_all();
}

/// The text of a terminal, without its control sequences.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            // ESC [ parameters letter, and two-character sequences.
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    let _ = characters.find(|character| ('@'..='~').contains(character));
                }
            }
            '\r' => {}
            character => plain.push(character),
        }
    }
    plain
}
