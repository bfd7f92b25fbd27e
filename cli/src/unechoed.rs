//! A line that a person types, and that the terminal does not show.

use std::{
    io::{self, BufRead as _, Read as _},
    process, thread,
};

use rustix::{
    process::{Signal, getpid, kill_process},
    termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};
use zeroize::Zeroizing;

/// The first line of standard input, with its line break, of `limit` bytes at most. A person at a terminal is
/// asked for `what`. Signals that end or stop the program leave the terminal as it was.
pub(crate) async fn line(what: &str, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let read = move || {
        let mut bytes = Zeroizing::new(Vec::new());
        // No further: a person ends a line with Enter.
        io::stdin().lock().take(limit).read_until(b'\n', &mut bytes).map(|_| bytes)
    };
    if !isatty(io::stdin()) {
        return read();
    }
    let before = tcgetattr(io::stdin())?;
    for kind in [SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate(), SignalKind::hangup()] {
        let (mut signal, before) = (signal(kind)?, before.clone());
        // Until the program ends: nothing else heeds these signals from here on.
        tokio::spawn(async move {
            signal.recv().await;
            let _ = set(&before);
            process::exit(128 + kind.as_raw_value());
        });
    }
    let mut hiding = before.clone();
    hiding.local_modes.remove(LocalModes::ECHO);
    let (mut stop, shells) = (signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?, before.clone());
    set(&hiding)?;
    let (modes, while_running) = watch::channel(hiding);
    tokio::spawn(async move {
        // ctrl-Z leads back to a shell, whose user sees what they type there.
        while stop.recv().await.is_some() {
            let _ = set(&shells);
            let _ = kill_process(getpid(), Signal::STOP);
            let _ = set(&while_running.borrow());
        }
    });
    say!("type {what}, and Enter: the terminal does not show it");
    let (give, given) = oneshot::channel();
    // Only Enter ends a read of a terminal, so no runtime may wait for it.
    thread::spawn(move || give.send(read()));
    let line = given.await;
    modes.send_replace(before.clone());
    set(&before)?;
    line.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()))
}

fn set(modes: &Termios) -> io::Result<()> {
    Ok(tcsetattr(io::stdin(), OptionalActions::Now, modes)?)
}
