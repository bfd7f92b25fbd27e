//! A TPM at the other end of a channel: the kernel's device, or a socket of an emulator.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use rustix::io::Errno;

use crate::{
    report::vtpm::wire::{
        self, Attributes, Authority, Command, MAX_PIECE, MAX_RESPONSE, Public, Response, ResponseError,
    },
    time::Time,
};

/// Pauses in milliseconds between the attempts of a command while the TPM asks for patience.
const PAUSES: [u64; 5] = [50, 100, 200, 400, 800];

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The kernel did not take the command, or gave no response.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The response is none.
    #[error("{0}: the response {1}")]
    Response(&'static str, ResponseError),
    /// The TPM asked for patience, again and again.
    #[error("{0}: the TPM was busy at every one of {1} attempts ({2:#x})")]
    Busy(&'static str, usize, u32),
    /// Somebody tried too many passwords.
    #[error("{0}: the TPM is locked after too many wrong passwords (TPM_RC_LOCKOUT)")]
    Lockout(&'static str),
    /// The owner, or the index, has a password.
    #[error("{0}: the TPM wants a password of its {whose}, and this guest has none", whose = whose(*.1))]
    Password(&'static str, Authority),
    /// Another code.
    #[error("{0}: the TPM answered error {1:#x}")]
    Code(&'static str, u32),
    /// The index has an attribute that makes it of no use.
    #[error("the index {0:#010x} cannot be {1} without a policy ({2:?})")]
    NoAccess(u32, &'static str, Attributes),
}

fn whose(authority: Authority) -> &'static str {
    match authority {
        Authority::Owner => "owner",
        Authority::Index => "index",
    }
}

/// A TPM.
pub struct Tpm<'a, C> {
    channel: C,
    time: &'a dyn Time,
}

impl<'a, C: Read + Write> Tpm<'a, C> {
    /// The TPM behind `channel`, which takes a command in one piece.
    pub fn new(channel: C, time: &'a dyn Time) -> Self {
        Self { channel, time }
    }

    /// The public area of the index; nothing if there is no such index.
    pub fn public(&mut self, index: u32) -> Result<Option<Public>, TpmError> {
        let command = Command::ReadPublic;
        match self.run(command, index, |parameters| Public::parse(index, parameters)) {
            Ok(public) => Ok(Some(public)),
            // The first handle names nothing.
            Err(TpmError::Code(_, HANDLE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole index, from its first byte on, in pieces.
    pub fn read(&mut self, index: u32, public: Public) -> Result<Vec<u8>, TpmError> {
        let by = public.attributes.reader().ok_or(TpmError::NoAccess(index, "read", public.attributes))?;
        let mut bytes = Vec::with_capacity(public.size.into());
        for offset in (0..public.size).step_by(MAX_PIECE.into()) {
            let size = MAX_PIECE.min(public.size - offset);
            let command = Command::Read { by, size, offset };
            let piece =
                self.run(command, index, |parameters| wire::data(size, parameters).map(<[u8]>::to_vec))?;
            bytes.extend(piece);
        }
        Ok(bytes)
    }

    /// Overwrites the first bytes of the index.
    pub fn write(&mut self, index: u32, public: Public, bytes: &[u8]) -> Result<(), TpmError> {
        let by = public.attributes.writer().ok_or(TpmError::NoAccess(index, "written", public.attributes))?;
        self.run(Command::Write { by, bytes }, index, nothing)
    }

    /// Makes an index of the owner's.
    pub fn define(&mut self, index: u32, public: Public) -> Result<(), TpmError> {
        self.run(Command::Define(public), index, nothing)
    }

    /// Runs a command, as often as the TPM asks for patience.
    fn run<T>(
        &mut self,
        command: Command<'_>,
        index: u32,
        read: impl Fn(&[u8]) -> Result<T, ResponseError>,
    ) -> Result<T, TpmError> {
        let (name, sent) = (command.name(), command.bytes(index));
        let told = |fault| TpmError::Response(name, fault);
        let mut pauses = PAUSES.iter();
        loop {
            let busy = match self.exchange(&sent, told) {
                Ok(bytes) => match command.response(&bytes).map_err(told)? {
                    Response::Done(parameters) => return read(parameters).map_err(told),
                    Response::Error(code) if is_busy(code) => code,
                    Response::Error(code) => return Err(refused(command, code)),
                },
                Err(TpmError::Io(error)) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => RETRY,
                Err(error) => return Err(error),
            };
            match pauses.next() {
                Some(pause) => self.time.sleep(Duration::from_millis(*pause)),
                None => return Err(TpmError::Busy(name, PAUSES.len() + 1, busy)),
            }
        }
    }

    /// Sends a command, and reads one response.
    fn exchange(
        &mut self,
        command: &[u8],
        told: impl Fn(ResponseError) -> TpmError,
    ) -> Result<Vec<u8>, TpmError> {
        self.channel.write_all(command)?;
        let mut bytes = Vec::new();
        // The kernel gives a response whole, and forgets what is left of one that is read in part.
        let mut piece = [0; MAX_RESPONSE];
        loop {
            let read = match self.channel.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            bytes.extend(piece.iter().take(read));
            match wire::announced(&bytes).map_err(&told)? {
                Some(size) if bytes.len() >= size => return Ok(bytes),
                _ if read == 0 => return Err(told(ResponseError::Short)),
                _ => {}
            }
        }
    }
}

fn nothing(parameters: &[u8]) -> Result<(), ResponseError> {
    if parameters.is_empty() { Ok(()) } else { Err(ResponseError::LeftOver(parameters.len())) }
}

/// TPM_RC_HANDLE, of the first handle.
const HANDLE: u32 = 0x18B;
/// TPM_RC_RETRY.
const RETRY: u32 = 0x922;

/// TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY, TPM_RC_NV_UNAVAILABLE.
fn is_busy(code: u32) -> bool {
    matches!(code, 0x908 | 0x90A | 0x920 | RETRY | 0x923)
}

fn refused(command: Command<'_>, code: u32) -> TpmError {
    let name = command.name();
    match (code, command.authority()) {
        (0x921, _) => TpmError::Lockout(name),
        // TPM_RC_AUTH_FAIL and TPM_RC_BAD_AUTH, of the first session.
        (0x98E | 0x9A2, Some(authority)) => TpmError::Password(name, authority),
        _ => TpmError::Code(name, code),
    }
}
