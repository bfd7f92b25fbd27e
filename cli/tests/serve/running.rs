//! The process of `keybroker serve`: how it starts, what it says, how it ends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// `keybroker serve` with store and key under `home`, without the caller's environment.
pub(crate) fn serve(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keybroker"));
    command.env_clear().env("HOME", home).env("KEYBROKER_LISTEN", "127.0.0.1:0").arg("serve");
    command
}

/// A broker that listens.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: String,
    stderr: BufReader<std::process::ChildStderr>,
    /// Its log until it listened.
    pub(crate) log: String,
}

pub(crate) fn start(mut command: Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut running = Running { child, address: String::new(), stderr, log: String::new() };
    while running.address.is_empty() {
        let mut line = String::new();
        assert_ne!(
            running.stderr.read_line(&mut line).unwrap(),
            0,
            "it ended before it listened: {}",
            running.log
        );
        if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
            // In the JSON form, the message ends with a quote.
            running.address = address.split('"').next().unwrap().to_owned();
        }
        running.log += &line;
    }
    running
}

impl Running {
    pub(crate) fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> String {
        self.exchange(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: \
             {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        ))
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// Ends the broker: its exit code, its audit records, and its log since it listened.
    pub(crate) fn end(mut self, signal: &str) -> (Option<i32>, String, String) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        let (mut out, mut log) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut log).unwrap();
        (status.code(), out, log)
    }
}

impl Drop for Running {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit code, and stderr on one line.
pub(crate) fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, stdout } = command.output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}
