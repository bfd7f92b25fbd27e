//! A Debian whose own systemd runs, in namespaces of this machine: its units are started as they would be,
//! with all that they forbid themselves, and without the minutes of an emulated machine.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::debian::Copy;

/// Makes the Debian the root of new namespaces, and becomes its systemd. The network is this machine's.
///
/// `pivot_root`, and no `chroot`: the kernel gives no user namespace to a process in one.
const BECOME: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir run/old
pivot_root . run/old
exec chroot . sh -c 'umount -l /run/old; exec /lib/systemd/systemd --system'
"#;

/// The variables of every command in it.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C"),
    ("HOME", "/root"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];

/// How long a system may take to start.
const START: Duration = Duration::from_secs(60);

/// The running system. It ends when this is dropped.
#[derive(Debug)]
pub struct System {
    /// Its files.
    pub files: Copy,
    outside: Child,
    /// Its first process, as this machine counts.
    first: u32,
}

impl System {
    /// Starts systemd in these files. The error says why this machine does not let it.
    pub fn start(files: Copy) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]);
        command.args(["sh", "-c", BECOME, "sh"]).arg(files.path("/")).env_clear().envs(ENVIRONMENT);
        command.env("container", "test");
        let log = fs::File::create(files.path("/start.log")).expect("a file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let mut outside = command.spawn().expect("unshare");
        let until = Instant::now() + START;
        loop {
            if let Some(first) = child(outside.id()).filter(|first| is_systemd(*first)) {
                let system = Self { files, outside, first };
                let state = "until systemctl is-system-running --wait; do sleep 0.1; done 2>/dev/null";
                let ready = system.try_run(&format!("timeout {} sh -c '{state}'", START.as_secs()));
                return if ready.status.success() {
                    Ok(system)
                } else {
                    Err("systemd does not start".into())
                };
            }
            if outside.try_wait().expect("a child").is_some() || Instant::now() > until {
                let _ = outside.kill();
                return Err(fs::read_to_string(files.path("/start.log"))
                    .unwrap_or_default()
                    .replace('\n', " "));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a script in it, however that ends.
    pub fn try_run(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string()]);
        command.args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wd"]);
        command.args(["sh", "-ec", script]).env_clear().envs(ENVIRONMENT).output().expect("nsenter")
    }

    /// Runs a script in it, which must end well. Gives all that it says.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success(), "{script}\n{said}");
        said
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // All processes of its namespace end with its first, which `unshare` kills when it is killed.
        let _ = Command::new("sh").args(["-c", &format!("kill -s KILL {}", self.first)]).status();
        let _ = self.outside.wait();
    }
}

/// The one child of a process.
fn child(of: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?.split(' ').next()?.parse().ok()
}

fn is_systemd(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name == "systemd\n")
}
