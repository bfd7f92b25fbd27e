//! `keybroker relay` as a process.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use keybroker_simulator::{
    guest::{KrunGuest, Machine},
    http::{Endpoint, Response},
    tls::Authority,
};
use tempfile::TempDir;

use crate::{
    connection::Connection,
    program::{self, Ended},
    server::Server,
    tls::Terminator,
    world::World,
};

/// A token like those that a broker makes.
pub const TOKEN: &str = "Zm9vYmFyYmF6-_";

/// A relay, its files, and the TLS in front of its broker, if there is any.
#[derive(Debug)]
pub struct Relay {
    /// The process.
    pub server: Server,
    _files: TempDir,
    _tls: Option<Terminator>,
}

impl Relay {
    /// A relay with these arguments to a broker on this machine, over plain http.
    pub fn to(url: &str, arguments: &[&str]) -> Self {
        let files = TempDir::new().expect("a directory");
        Self { server: Server::start(command(url, arguments)), _files: files, _tls: None }
    }

    /// A relay with these arguments that reaches the broker of `world` over TLS. The relay is told which
    /// authority to trust.
    pub fn over_tls(world: &World, arguments: &[&str]) -> Self {
        let (ca, files) = (Authority::new(), TempDir::new().expect("a directory"));
        let tls = Terminator::start(&ca, &world.authority());
        let pem = files.path().join("ca.pem");
        fs::write(&pem, ca.pem()).expect("a file");
        let mut command = command(&tls.url, arguments);
        command.arg("--ca").arg(pem);
        Self { server: Server::start(command), _files: files, _tls: Some(tls) }
    }

    /// Waits for its end.
    pub fn end(self) -> Ended {
        self.server.wait()
    }

    /// Ends it with SIGTERM.
    pub fn terminate(self) -> Ended {
        self.server.terminate()
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        Connection::open(&Endpoint::parse(self.url()).expect("a URL").authority)
    }

    /// Sends a request as it is, on a connection of its own, and reads the response.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut connection = self.connect();
        connection.send(request);
        connection.response().expect("a response")
    }

    /// libkrun's guest with this relay's URL in its image.
    pub fn krun(&self, id: &str, machine: Machine) -> KrunGuest {
        KrunGuest::new(self.url(), id, machine).expect("a URL that guests understand")
    }
}

/// `keybroker relay` on a free port.
pub fn command(to: &str, arguments: &[&str]) -> Command {
    let mut command = program::keybroker();
    command.args(["relay", "--listen", "127.0.0.1:0", "--to", to]).args(arguments);
    command
}

/// A private file with `text`, and its directory.
pub fn private_file(text: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("file");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file");
    (directory, path)
}
