//! A crowd of connections that occupy a server.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{DEADLINE, tls::greet};

/// The behaviour of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Sends its head byte by byte.
    SlowHead,
    /// Sends a whole head, and its body byte by byte.
    SlowBody,
    /// Asks again and again, and reads no answer.
    NoReading,
    /// Sends nothing.
    Silent,
    /// Sends nothing and closes its sending half.
    HalfClosed,
    /// Asks, reads the answer, and asks again at once.
    Asking,
    /// Begins a handshake of TLS, and sends the rest of it byte by byte.
    SlowHello,
}

impl Manner {
    /// Every manner towards HTTP.
    pub const ALL: [Self; 5] =
        [Self::SlowHead, Self::SlowBody, Self::NoReading, Self::Silent, Self::HalfClosed];
}

/// How long a connection waits after it was closed before it comes again.
const AGAIN: Duration = Duration::from_millis(500);
/// The time between two bytes of a slow connection.
const TRICKLE: Duration = Duration::from_millis(500);
/// The crowd ends after this time in any case.
const LONGEST: Duration = Duration::from_secs(120);

/// The crowd. It ends when this is dropped.
#[derive(Debug)]
pub struct Crowd {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    over: AtomicBool,
    open: AtomicUsize,
    attempts: AtomicUsize,
}

impl Crowd {
    /// Opens `count` connections from `address` to `server`, on a thread of their own. Each comes again when
    /// it is closed. All have come once before this returns.
    pub fn of(count: usize, manners: &'static [Manner], address: Ipv4Addr, server: &str) -> Self {
        Self::over(None, count, manners, address, server)
    }

    /// The same, through TLS if there is a connector for it.
    pub fn over(
        tls: Option<TlsConnector>,
        count: usize,
        manners: &'static [Manner],
        address: Ipv4Addr,
        server: &str,
    ) -> Self {
        allow_files();
        let server: SocketAddr = server.parse().expect("an address and a port");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
                let mut crowd = JoinSet::new();
                for manner in manners.iter().copied().cycle().take(count) {
                    crowd.spawn(come_again(tls.clone(), manner, address, server, Arc::clone(&shared)));
                }
                crowd.join_all().await;
            });
        });
        let crowd = Self { state, thread: Some(thread) };
        let until = Instant::now() + DEADLINE;
        while crowd.attempts() < count && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        crowd
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// How often a connection was opened.
    pub fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Raises this process's limit of open files to the maximum; it often starts with fewer.
pub fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If this fails, connections fail with a clear error.
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn come_again(
    tls: Option<TlsConnector>,
    manner: Manner,
    address: Ipv4Addr,
    server: SocketAddr,
    state: Arc<State>,
) {
    let until = Instant::now() + LONGEST;
    while !state.over.load(Ordering::Relaxed) && Instant::now() < until {
        state.attempts.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut stream) = connect(address, server).await {
            state.open.fetch_add(1, Ordering::Relaxed);
            let _ = match &tls {
                None => misbehave(manner, &mut stream, &state).await,
                Some(tls) => match greet(tls, stream).await {
                    Ok(mut stream) => misbehave(manner, &mut stream, &state).await,
                    Err(error) => Err(error),
                },
            };
            state.open.fetch_sub(1, Ordering::Relaxed);
        }
        sleep(AGAIN).await;
    }
}

async fn connect(address: Ipv4Addr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A small buffer, so that unread answers stay with the server.
    socket.set_recv_buffer_size(2048)?;
    socket.bind((address, 0).into())?;
    timeout(DEADLINE, socket.connect(server)).await?
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// The connection below TLS.
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Misbehaves until the server ends the connection or the crowd ends.
async fn misbehave(manner: Manner, stream: &mut impl Stream, state: &State) -> io::Result<()> {
    let head = "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let question = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let asked = question.repeat(1000);
    match manner {
        Manner::SlowHead => stream.write_all(head.as_bytes()).await?,
        Manner::SlowBody => {
            stream.write_all(format!("{head}Content-Length: 4096\r\n\r\n{{").as_bytes()).await?;
        }
        Manner::HalfClosed => stream.shutdown().await?,
        Manner::SlowHello => stream.write_all(b"\x16\x03\x01\x01\xfc\x01\x00\x01\xf8\x03\x03").await?,
        Manner::NoReading | Manner::Silent | Manner::Asking => {}
    }
    stream.flush().await?;
    while !state.over.load(Ordering::Relaxed) {
        match manner {
            Manner::SlowHead | Manner::SlowBody | Manner::SlowHello => {
                stream.write_all(b"x").await?;
                stream.flush().await?;
            }
            // Sends only as much as the server takes.
            Manner::NoReading => drop(timeout(TRICKLE, stream.write_all(asked.as_bytes())).await),
            Manner::Asking => {
                stream.write_all(question.as_bytes()).await?;
                if stream.read(&mut [0; 4096]).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            Manner::Silent | Manner::HalfClosed => {}
        }
        let ended = match manner {
            // To wait for readable would mean to read the answers.
            Manner::NoReading => stream.tcp().ready(tokio::io::Interest::ERROR),
            _ => stream.tcp().ready(tokio::io::Interest::READABLE),
        };
        if timeout(TRICKLE, ended).await.is_ok() && manner != Manner::NoReading {
            // There is an answer, or the connection has ended.
            if stream.read(&mut [0; 1024]).await? == 0 {
                return Ok(());
            }
        }
        if manner == Manner::NoReading && stream.tcp().take_error()?.is_some() {
            return Ok(());
        }
    }
    Ok(())
}
