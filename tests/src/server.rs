//! `keybroker serve` as a process.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::Instant,
};

use keybroker_simulator::tls::Identity;
use tempfile::TempDir;

use crate::{
    DEADLINE,
    program::{self, Ended},
};

/// A broker's files: a data directory, a separate key file, trust anchors. Several servers may use them in
/// turn.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
}

impl Home {
    /// Files with only the trust anchors (PEM).
    pub fn new(anchors: &str) -> Self {
        let home = Self { directory: TempDir::new().expect("a directory") };
        fs::write(home.anchors(), anchors).expect("a file");
        home
    }

    /// The directory of the store.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The file of the wrapping key.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("secret/key")
    }

    /// The file of the trust anchors.
    pub fn anchors(&self) -> PathBuf {
        self.directory.path().join("anchors.pem")
    }

    /// Writes what a server proves its name with, and returns the arguments that name the files. A pair that
    /// is there is replaced.
    pub fn identity(&self, identity: &Identity) -> [String; 4] {
        let (certificate, key) =
            (self.directory.path().join("cert.pem"), self.directory.path().join("cert-key.pem"));
        fs::write(&certificate, identity.certificate_pem()).expect("a file");
        fs::write(&key, identity.key_pem()).expect("a file");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
        let path = |path: PathBuf| path.to_str().expect("a name").to_owned();
        ["--tls-cert".to_owned(), path(certificate), "--tls-key".to_owned(), path(key)]
    }

    /// `keybroker serve` on a free port over these files, with this KDS and further arguments.
    pub fn command(&self, kds_url: &str, arguments: &[&str]) -> Command {
        let mut command = self.untrusting(kds_url);
        command.args(["--listen", "127.0.0.1:0", "--trust-anchor"]).arg(self.anchors()).args(arguments);
        command
    }

    /// `keybroker serve` over these files that trusts only AMD, on its default port.
    pub fn untrusting(&self, kds_url: &str) -> Command {
        let mut command = program::keybroker();
        command.args(["serve", "--kds-url", kds_url]);
        command.arg("--data-dir").arg(self.data_dir()).arg("--key-file").arg(self.key_file());
        command
    }

    /// Starts it.
    pub fn serve(&self, kds_url: &str, arguments: &[&str]) -> Server {
        Server::start(self.command(kds_url, arguments))
    }
}

/// The lines that a process writes, as they arrive.
#[derive(Debug, Default)]
struct Lines {
    written: Mutex<Written>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn gather(from: impl Read + Send + 'static) -> (Arc<Self>, JoinHandle<()>) {
        let lines = Arc::new(Self::default());
        let gathered = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                gathered.written.lock().unwrap().lines.push(line);
                gathered.more.notify_all();
            }
            gathered.written.lock().unwrap().ended = true;
            gathered.more.notify_all();
        });
        (lines, thread)
    }

    /// The first result of `find`, as soon as a line gives one.
    fn find<T>(&self, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now() + DEADLINE;
        let mut seen = 0;
        let mut written = self.written.lock().unwrap();
        loop {
            let found = written.lines.iter().skip(seen).find_map(|line| find(line));
            if found.is_some() || written.ended {
                return found;
            }
            seen = written.lines.len();
            let left = until.checked_duration_since(Instant::now())?;
            written = self.more.wait_timeout(written, left).unwrap().0;
        }
    }

    fn text(&self) -> String {
        self.written.lock().unwrap().lines.iter().map(|line| line.clone() + "\n").collect()
    }
}

/// A running `keybroker serve`. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Its base URL.
    pub url: String,
    child: Child,
    out: Arc<Lines>,
    log: Arc<Lines>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts `command` and waits until it listens.
    pub fn start(command: Command) -> Self {
        Self::start_into(command, Stdio::piped())
    }

    /// The same, with another standard output.
    pub fn start_into(mut command: Command, out: impl Into<Stdio>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        let out: Box<dyn Read + Send> = match child.stdout.take() {
            Some(out) => Box::new(out),
            None => Box::new(std::io::empty()),
        };
        let (out, out_thread) = Lines::gather(out);
        let (log, log_thread) = Lines::gather(child.stderr.take().unwrap());
        let mut server = Self { url: String::new(), child, out, log, threads: vec![out_thread, log_thread] };
        let url = server.log.find(|line| {
            let (_, url) = line.split_once("listening on http")?;
            // In the JSON format, a quote ends the message.
            Some(format!("http{}", url.split('"').next()?))
        });
        server.url = url.unwrap_or_else(|| panic!("it does not listen:\n{}", server.log.text()));
        server
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first result of `find` for a line of standard output, once there is one.
    pub fn out<T>(&self, find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        self.out.find(find)
    }

    /// The first result of `find` for a line of the log, once there is one.
    pub fn log<T>(&self, find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        self.log.find(find)
    }

    /// Standard output until now.
    pub fn out_until_now(&self) -> String {
        self.out.text()
    }

    /// The log until now.
    pub fn log_until_now(&self) -> String {
        self.log.text()
    }

    /// Sends a signal: `TERM`, `INT` and so on.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// Kills it, as a power cut would, and waits for its end.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        self.ended()
    }

    /// Ends it with SIGTERM.
    pub fn terminate(mut self) -> Ended {
        self.signal("TERM");
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        Ended { code: status.code(), out: self.out.text(), log: self.log.text() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
