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

/// The responses, each behind its length in two bytes.
struct Responses<'a>(&'a [u8]);

impl<'a> Machine for Responses<'a> {
    type Channel = Responses<'a>;

    fn open(&self) -> io::Result<Responses<'a>> {
        Ok(Responses(self.0))
    }
}

impl Read for Responses<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some((size, rest)) = self.0.split_first_chunk() else { return Ok(0) };
        let size = usize::from(u16::from_be_bytes(*size)).min(rest.len());
        let (response, rest) = rest.split_at(size);
        self.0 = rest;
        let taken = response.len().min(bytes.len());
        bytes.iter_mut().zip(response).for_each(|(to, from)| *to = *from);
        Ok(taken)
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
