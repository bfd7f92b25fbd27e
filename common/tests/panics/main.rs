//! The log of a panic. In a process of its own: the panic hook belongs to the whole process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, and so may what it is made of")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use keybroker_common::panics::{caught, hush};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_the_place_of_a_panic_and_not_its_message() {
    let lines = Lines::default();
    let out = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || out.clone());
    subscriber.init();
    hush();
    let passphrase = "open sesame".to_owned();
    let met = caught(async { panic!("no passphrase like {passphrase:?}") }).await;
    met.unwrap_err();
    std::thread::spawn(move || panic!("nor one like {passphrase}")).join().unwrap_err();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let places = text.lines().filter(|line| line.contains("ERROR") && line.contains("tests/panics/main.rs:"));
    assert_eq!(places.count(), 2, "{text}");
    assert!(!text.contains("sesame"), "{text}");
}
