//! The AF_UNIX socket that systemd-cryptsetup takes a key from.
//!
//! systemd-cryptsetup connects to a key file that is a socket, from an abstract address that carries the name
//! of the volume: `\0RANDOM/cryptsetup/VOLUME`. It opens the device by itself. So each volume is served once,
//! to root alone, and only if the process that asks was told to take the header's judged copy in place of the
//! device's own: with `header=/run/keybroker/VOLUME.header` among its options. Otherwise the host could have
//! it read another header than the one that was judged, and "open" a disk of the host's own making.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener as StdListener, UnixStream},
        },
    },
    path::Path,
    time::Duration,
};

use rustix::net::sockopt::{socket_acceptconn, socket_peercred};
use sd_notify::NotifyState;
use tokio::{
    net::UnixListener,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    disk::{DiskError, Header, Mapping, mapping},
    document,
    failure::Failure,
    release::{Asker, Released},
    root::Root,
    time::LOOK,
    unlock::{Ready, prepare, secrets},
};

/// How long a peer may take to take its key.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long opening may take after the last key was served.
const OPENING: Duration = Duration::from_secs(120);

/// Why a peer gets no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The kernel does not say who it is.
    #[error("the kernel does not say which process asks")]
    Unknown,
    /// Not root.
    #[error("user {0} asks for a key, which only root gets")]
    User(u32),
    /// It does not call itself as systemd-cryptsetup does.
    #[error("a process asks for a key and names no volume")]
    NoVolume,
    /// No disk of the document has that name.
    #[error("the document has no disk {0:?}")]
    UnknownVolume(String),
    /// The key was given away before.
    #[error("the key of {0} was given away before")]
    Again(String),
    /// It would read the device's own header.
    #[error("the process that asks for the key of {0} was not told header={1}")]
    OwnHeader(String, String),
}

/// A peer, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// The abstract address that it bound.
    pub address: Option<Vec<u8>>,
    /// The arguments that it was started with.
    pub arguments: Vec<String>,
}

impl Peer {
    fn of(root: &Root, stream: &UnixStream) -> Result<Self, PeerError> {
        let credentials = socket_peercred(stream).map_err(|_| PeerError::Unknown)?;
        let address = stream.peer_addr().map_err(|_| PeerError::Unknown)?;
        let pid = credentials.pid.as_raw_nonzero();
        let arguments = fs::read(root.path(format!("/proc/{pid}/cmdline"))).unwrap_or_default();
        let arguments =
            arguments.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(Self {
            uid: credentials.uid.as_raw(),
            address: address.as_abstract_name().map(<[u8]>::to_vec),
            arguments: arguments.collect(),
        })
    }

    /// The volume that the peer asks for.
    fn volume(&self) -> Option<&str> {
        let address = std::str::from_utf8(self.address.as_deref()?).ok()?;
        let (_, volume) = address.split_once("/cryptsetup/")?;
        Some(volume)
    }

    /// Whether one of its lists of options has `option`.
    fn has_option(&self, option: &str) -> bool {
        self.arguments.iter().flat_map(|argument| argument.split(',')).any(|known| known == option)
    }
}

/// The volumes, and which of them were served.
#[derive(Debug)]
pub struct Volumes<'a> {
    root: &'a Root,
    names: Vec<&'a str>,
    served: BTreeSet<&'a str>,
}

impl<'a> Volumes<'a> {
    /// The disks of these names.
    pub fn new(root: &'a Root, names: Vec<&'a str>) -> Self {
        Self { root, names, served: BTreeSet::new() }
    }

    /// Whether every volume was served.
    pub fn are_served(&self) -> bool {
        self.served.len() == self.names.len()
    }

    /// Whether something else took the name of a volume that was not served.
    fn taken(&self) -> Result<(), Failure> {
        let taken =
            |name: &&&str| !self.served.contains(**name) && mapping(self.root, name) != Mapping::Absent;
        match self.names.iter().find(taken) {
            None => Ok(()),
            Some(name) => {
                let name = (*name).to_owned();
                Err(Failure::Disk { error: DiskError::Taken(name.clone()), name })
            }
        }
    }

    /// The volume that `peer` may have the key of. From now on, nobody else may.
    pub fn admit(&mut self, peer: &Peer) -> Result<&'a str, PeerError> {
        if peer.uid != 0 {
            return Err(PeerError::User(peer.uid));
        }
        let volume = peer.volume().ok_or(PeerError::NoVolume)?;
        let known = self.names.iter().copied().find(|name| *name == volume);
        let volume = known.ok_or_else(|| PeerError::UnknownVolume(volume.to_owned()))?;
        let header = Header::place(self.root, volume).display().to_string();
        if !peer.has_option(&format!("header={header}")) {
            return Err(PeerError::OwnHeader(volume.to_owned(), header));
        }
        if !self.served.insert(volume) {
            return Err(PeerError::Again(volume.to_owned()));
        }
        Ok(volume)
    }
}

/// The next thing to act on.
enum Event {
    Connection(UnixStream),
    /// Nothing came for a while.
    Quiet,
    /// The service manager ends this program: the root is about to be switched.
    Stop,
}

/// Waits for connections and for the end, on a runtime of its own.
struct Events {
    runtime: Runtime,
    listener: UnixListener,
    stop: Signal,
}

impl Events {
    fn new(listener: StdListener) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let stop = signal(SignalKind::terminate())?;
        drop(context);
        Ok(Self { runtime, listener, stop })
    }

    fn next(&mut self) -> io::Result<Event> {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.stop.recv() => Ok(Event::Stop),
                () = tokio::time::sleep(LOOK) => Ok(Event::Quiet),
                connection = self.listener.accept() => {
                    let stream = connection?.0.into_std()?;
                    stream.set_nonblocking(false)?;
                    Ok(Event::Connection(stream))
                }
            }
        })
    }

    /// Whether the end came within `pause`.
    fn stopped_within(&mut self, pause: Duration) -> bool {
        self.runtime.block_on(async { tokio::time::timeout(pause, self.stop.recv()).await.is_ok() })
    }
}

/// The listening socket: at `path`, else the standard input, as a socket unit with `StandardInput=socket`
/// hands it over.
pub fn listener(path: Option<&Path>) -> Result<StdListener, Failure> {
    let Some(path) = path else {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| Failure::doing("the standard input", error))?;
        return match socket_acceptconn(&input) {
            Ok(true) => Ok(input.into()),
            _ => Err(Failure::NotDone(
                "the standard input is no listening socket: give --socket PATH".to_owned(),
            )),
        };
    };
    let failed = |error| Failure::doing(path.display(), error);
    let listener = StdListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Prepares every disk, then serves each volume's key once. Brokers are asked at the first connection. Ends
/// when every volume is open, or when the service manager says so.
pub fn serve_keys(root: &Root, asker: &Asker<'_>, listener: StdListener) -> Result<(), Failure> {
    asker.look()?;
    document::keep(root, asker.found)?;
    let ready = prepare(root, asker)?;
    let names = ready.iter().map(|ready| ready.disk.name.as_str()).collect();
    let mut volumes = Volumes::new(root, names);
    let socket = |error| Failure::doing("the socket for keys", error);
    let mut events = Events::new(listener).map_err(socket)?;
    asker.console.line(format_args!("serves keys for {}", volumes.names.join(", ")));
    // systemd-cryptsetup reads the header before it asks for the key, so it is started only now. Where no
    // service manager waits, this does nothing.
    sd_notify::notify(&[NotifyState::Ready]).map_err(|error| Failure::doing("the service manager", error))?;
    let mut released = None;
    while !volumes.are_served() {
        let stream = match events.next().map_err(socket)? {
            Event::Connection(stream) => stream,
            // systemd takes a mapping that is there for an open disk, and asks for no key: the boot would go
            // on from whatever is behind that name.
            Event::Quiet => {
                volumes.taken()?;
                continue;
            }
            Event::Stop => return Err(Failure::NotDone("ended before every key was served".to_owned())),
        };
        let volume = match Peer::of(root, &stream).and_then(|peer| volumes.admit(&peer)) {
            Ok(volume) => volume,
            Err(error) => {
                asker.console.line(format_args!("warning: {error}"));
                continue;
            }
        };
        let released = match &released {
            Some(released) => released,
            None => released.insert(asker.release(&secrets(asker.found))?),
        };
        if let Some(error) = serve(&ready, released, volume, stream).err() {
            return Err(Failure::doing(format_args!("the key of {volume}"), error));
        }
    }
    let decision = released.map(|released| released.decision).unwrap_or_default();
    // The copies of the headers must stay until they were used.
    let mut pauses = OPENING.as_millis() / LOOK.as_millis();
    let is_open = |ready: &Ready<'_>| mapping(root, &ready.disk.name) == Mapping::Encrypted;
    while !ready.iter().all(is_open) {
        pauses = pauses.saturating_sub(1);
        if pauses == 0 || events.stopped_within(LOOK) {
            let open = ready.iter().find(|ready| !is_open(ready)).map(|ready| ready.disk.name.as_str());
            let name = open.unwrap_or_default().to_owned();
            return Err(Failure::Disk { name, error: DiskError::NotOpened(decision) });
        }
    }
    asker.console.line(format_args!("opened {} (decision {decision})", volumes.names.join(", ")));
    Ok(())
}

/// Hands a key over, as it is: the end of the stream ends it.
fn serve(ready: &[Ready<'_>], released: &Released, volume: &str, mut stream: UnixStream) -> io::Result<()> {
    let disk = ready.iter().map(|ready| ready.disk).find(|disk| disk.name == volume);
    let key = disk.and_then(|disk| released.secret(&disk.secret));
    let key = key.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(key)?;
    stream.shutdown(std::net::Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, address: &str, options: &str) -> Peer {
        let arguments = ["systemd-cryptsetup", "attach", "root", "/dev/vda2", "/run/keys", options];
        let address = Some(address.as_bytes().to_vec());
        Peer { uid, address, arguments: arguments.map(str::to_owned).to_vec() }
    }

    const ADDRESS: &str = "9a8b7c/cryptsetup/root";
    const OPTIONS: &str = "luks,header=/run/keybroker/root.header,discard";

    #[test]
    fn systemd_cryptsetup_is_served_once() {
        let root = Root::machine();
        let mut volumes = Volumes::new(&root, vec!["root", "data"]);
        assert_eq!(volumes.admit(&peer(0, ADDRESS, OPTIONS)), Ok("root"));
        assert_eq!(volumes.admit(&peer(0, ADDRESS, OPTIONS)), Err(PeerError::Again("root".to_owned())));
        assert!(!volumes.are_served());
        let options = "header=/run/keybroker/data.header";
        assert_eq!(volumes.admit(&peer(0, "x/cryptsetup/data", options)), Ok("data"));
        assert!(volumes.are_served());
    }

    #[test]
    fn others_get_no_key() {
        let root = Root::machine();
        let mut volumes = Volumes::new(&root, vec!["root"]);
        let header = "/run/keybroker/root.header".to_owned();
        let rows = [
            (peer(1000, ADDRESS, OPTIONS), PeerError::User(1000)),
            (peer(0, "9a8b7c/cryptenroll/root", OPTIONS), PeerError::NoVolume),
            (peer(0, "9a8b7c/cryptsetup/other", OPTIONS), PeerError::UnknownVolume("other".to_owned())),
            (peer(0, ADDRESS, "luks"), PeerError::OwnHeader("root".to_owned(), header.clone())),
            (
                peer(0, ADDRESS, "luks,header=/dev/vda2"),
                PeerError::OwnHeader("root".to_owned(), header.clone()),
            ),
            (
                peer(0, ADDRESS, "header=/run/keybroker/root.header2"),
                PeerError::OwnHeader("root".to_owned(), header),
            ),
        ];
        for (peer, error) in rows {
            assert_eq!(volumes.admit(&peer), Err(error));
        }
        let unnamed = Peer { address: None, ..peer(0, ADDRESS, OPTIONS) };
        assert_eq!(volumes.admit(&unnamed), Err(PeerError::NoVolume));
        assert!(!volumes.are_served());
        assert_eq!(volumes.admit(&peer(0, ADDRESS, OPTIONS)), Ok("root"));
    }
}
