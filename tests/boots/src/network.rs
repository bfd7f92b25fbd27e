//! The one address that a machine reaches, and a cable that loses frames.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Where the machines' broker is, as they see it.
pub const BROKER: &str = "http://10.0.2.100:8000";

/// A gate before a broker, on the loopback: it lets connections through to it, or ends them at once.
#[derive(Debug, Clone)]
pub struct Gate {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    broker: Option<SocketAddr>,
    turned_away: Vec<Instant>,
}

impl Gate {
    /// A gate that is closed.
    pub fn closed() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let gate = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let serving = gate.clone();
        thread::spawn(move || {
            for guest in listener.incoming().map_while(Result::ok) {
                serving.serve(guest);
            }
        });
        gate
    }

    /// A gate to the broker at `authority`, `host:port`.
    pub fn to(authority: &str) -> Self {
        let gate = Self::closed();
        gate.open(authority);
        gate
    }

    /// Opens it to the broker at `authority`.
    pub fn open(&self, authority: &str) {
        self.state.0.lock().unwrap().broker = Some(authority.parse().expect("an address"));
    }

    /// Waits until connections have been turned away for `time`, from the first one to the last one. `false`
    /// if they have not within `bound`.
    pub fn turned_away_for(&self, time: Duration, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        let mut state = self.state.0.lock().unwrap();
        loop {
            let times = &state.turned_away;
            if let (Some(first), Some(last)) = (times.first(), times.last())
                && last.duration_since(*first) >= time
            {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    fn serve(&self, guest: TcpStream) {
        let mut state = self.state.0.lock().unwrap();
        let Some(broker) = state.broker.and_then(|broker| TcpStream::connect(broker).ok()) else {
            state.turned_away.push(Instant::now());
            self.state.1.notify_all();
            return;
        };
        let (Ok(guest_in), Ok(broker_in)) = (guest.try_clone(), broker.try_clone()) else { return };
        thread::spawn(move || carry(guest_in, broker));
        thread::spawn(move || carry(broker_in, guest));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Either end may go at any time.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A cable that loses frames, in both directions. QEMU hands it every frame and takes back those that it has
/// not lost.
#[derive(Debug)]
pub(crate) struct Cable {
    directory: PathBuf,
}

/// The ends of the cable, with QEMU's name of the direction.
const ENDS: [(&str, &str); 2] = [("there", "tx"), ("back", "rx")];

impl Cable {
    /// A cable that loses one frame in `one_in`. Its sockets are in `directory`.
    pub(crate) fn losing(one_in: usize, directory: &Path) -> Self {
        for (end, _) in ENDS {
            let bind =
                |side: &str| UnixListener::bind(directory.join(format!("{end}.{side}"))).expect("a socket");
            let (taken, given) = (bind("out"), bind("in"));
            thread::spawn(move || lose(taken.accept()?.0, given.accept()?.0, one_in));
        }
        Self { directory: directory.to_owned() }
    }

    /// QEMU's arguments for the network `netdev`.
    pub(crate) fn arguments(&self, netdev: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        for (end, queue) in ENDS {
            for side in ["out", "in"] {
                let path = self.directory.join(format!("{end}.{side}"));
                arguments.push("-chardev".to_owned());
                arguments.push(format!("socket,id={end}-{side},path={}", path.display()));
            }
            arguments.push("-object".to_owned());
            arguments.push(format!(
                "filter-redirector,id={end},netdev={netdev},queue={queue},outdev={end}-out,indev={end}-in"
            ));
        }
        arguments
    }
}

/// Frames as QEMU sends them: each after its length in four bytes.
fn lose(mut from: UnixStream, mut to: UnixStream, one_in: usize) -> io::Result<()> {
    for count in 1_usize.. {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or_default()];
        from.read_exact(&mut frame)?;
        if !count.is_multiple_of(one_in) {
            to.write_all(&length)?;
            to.write_all(&frame)?;
        }
    }
    Ok(())
}
