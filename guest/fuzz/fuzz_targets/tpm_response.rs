//! A TPM that answers anything: every response is read or refused, nothing outside of it is read, and the
//! guest comes to an end.
#![no_main]

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use jiff::Timestamp;
use keybroker_guest::{
    report::vtpm::{
        Machine, Vtpm,
        wire::{self, Attributes, Authority, Command, Public, Response},
    },
    time::Time,
};

/// Waits for nothing.
struct NoTime;

impl Time for NoTime {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn sleep(&self, _: Duration) {}
}

/// The responses: a byte for the kind, a length in two bytes, and the bytes of each.
struct Responses<'a>(&'a [u8]);

impl Responses<'_> {
    /// The next response: as it stands, or within a sound header, so that what is behind it is reached.
    fn next(&mut self) -> Option<Vec<u8>> {
        let (kind, rest) = self.0.split_first()?;
        let (size, rest) = rest.split_first_chunk()?;
        let size = usize::from(u16::from_be_bytes(*size)).min(rest.len());
        let (bytes, rest) = rest.split_at(size);
        self.0 = rest;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default();
        let (tag, body) = match kind % 3 {
            0 => return Some(bytes.to_vec()),
            1 => (1, bytes.to_vec()),
            _ => (2, [&length(bytes).to_be_bytes(), bytes, &[0, 0, 1, 0, 0]].concat()),
        };
        let size = length(&body).saturating_add(10);
        Some([&[0x80, tag], size.to_be_bytes().as_slice(), &[0; 4], &body].concat())
    }
}

impl<'a> Machine for Responses<'a> {
    type Channel = Responses<'a>;

    fn open(&self) -> io::Result<Responses<'a>> {
        Ok(Responses(self.0))
    }
}

impl Read for Responses<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let response = self.next().unwrap_or_default();
        bytes.iter_mut().zip(&response).for_each(|(to, from)| *to = *from);
        Ok(response.len().min(bytes.len()))
    }
}

impl Write for Responses<'_> {
    fn write(&mut self, command: &[u8]) -> io::Result<usize> {
        Ok(command.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let public = Public { attributes: Attributes::OWNERS, size: 64 };
    for command in [
        Command::ReadPublic,
        Command::Read { by: Authority::Owner, size: 64, offset: 0 },
        Command::Write { by: Authority::Index, bytes: &[0; 64] },
        Command::Define(public),
    ] {
        let Ok(response) = command.response(bytes) else { continue };
        assert_eq!(wire::announced(bytes).is_ok(), bytes.len() <= wire::MAX_RESPONSE);
        match response {
            Response::Error(code) => assert_ne!(code, 0),
            Response::Done(parameters) => {
                assert!(parameters.len() <= bytes.len());
                if let Ok(data) = wire::data(64, parameters) {
                    assert_eq!(data.len(), 64);
                }
                let _ = Public::parse(0x0140_0001, parameters);
            }
        }
    }
    assert!(Vtpm::new(Responses(bytes)).attest(&NoTime, &[0x5A; 64]).is_err());
});
