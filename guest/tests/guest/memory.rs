//! The program as the kernel describes it: memory that is locked, no core file, and nobody who traces it.

use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::UnixStream,
            process::CommandExt as _,
        },
    },
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, geteuid, getrlimit};
use tempfile::TempDir;

/// Each command that may have a secret begins with one of the two places that protect it. `get` waits for a
/// document.
const COMMANDS: [&[&str]; 2] = [&["get", "passphrase"], &["doctor"]];

/// The program as it runs, until this is dropped.
struct Running {
    child: Child,
    _output: UnixStream,
    _directory: TempDir,
}

impl Running {
    /// As `user`. Its output goes nowhere: what prints a line waits.
    fn start(arguments: &[&str], user: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let program = directory.path().join("keybroker-guest");
        // By another process: a file that any process has open to write cannot be run, and a child that
        // another test starts meanwhile has what this one has open.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_keybroker-guest")).arg(&program).status();
        assert!(copied.unwrap().success());
        let (mut full, output) = UnixStream::pair().unwrap();
        full.set_nonblocking(true).unwrap();
        while full.write(&[0; 4096]).map_err(|error| error.kind()) != Err(ErrorKind::WouldBlock) {}
        full.set_nonblocking(false).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdout(OwnedFd::from(full)).stderr(Stdio::null());
        if user != geteuid().as_raw() {
            command.uid(user).gid(user);
        }
        Self { child: command.spawn().unwrap(), _output: output, _directory: directory }
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    /// The rest of the line of this file that begins so.
    fn line(&self, name: &str, begin: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let rest = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_default();
        rest.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn comes(&self, what: &str, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < Duration::from_secs(8), "{what} does not come");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn memory_is_locked_and_there_is_no_core_file() {
    if !geteuid().is_root() {
        return crate::skip("whether memory is locked, for want of root");
    }
    if getrlimit(Resource::Core).maximum == Some(0) {
        crate::skip("whether a core file is forbidden: none can be had here");
    }
    for arguments in COMMANDS {
        let program = Running::start(arguments, geteuid().as_raw());
        program.comes("locked memory", || !["", "0 kB"].contains(&&*program.line("status", "VmLck:")));
        assert_eq!(program.line("limits", "Max core file size"), "0 0 bytes", "{arguments:?}");
    }
}

/// The kernel gives the files of such a process to root, so that its own user cannot read its memory either.
#[test]
fn nobody_may_trace_the_program() {
    let user = if geteuid().is_root() { crate::NOBODY } else { geteuid().as_raw() };
    for arguments in COMMANDS {
        let program = Running::start(arguments, user);
        program.comes("root's own environ", || fs::metadata(program.path("environ")).unwrap().uid() != user);
    }
}
