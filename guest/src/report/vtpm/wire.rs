//! Commands of a TPM 2.0 and its responses, in bytes (TPM 2.0 Library, parts 2 and 3). No I/O.
//!
//! Four commands are needed, and a session that is an empty password. Every length in a response is held
//! against the bytes that are there: no byte may be missing, and none may be left over.

use std::fmt;

/// The longest response that is read: no TPM makes a longer one.
pub const MAX_RESPONSE: usize = 4096;
/// The most bytes that one command reads of an index: every TPM of a PC takes so much.
pub const MAX_PIECE: u16 = 512;

/// Tag, size, code.
const HEADER: usize = 10;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// The authorization of somebody who knows a password: TPM_RS_PW.
const PASSWORD: u32 = 0x4000_0009;
const SHA256: u16 = 0x000B;

/// The handle that authorizes a command. Its password is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The TPM's owner.
    Owner,
    /// The index itself.
    Index,
}

impl Authority {
    fn handle(self, index: u32) -> u32 {
        match self {
            // TPM_RH_OWNER.
            Self::Owner => 0x4000_0001,
            Self::Index => index,
        }
    }
}

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// The public area of an index.
    ReadPublic,
    /// Some bytes of an index.
    Read {
        /// The authority.
        by: Authority,
        /// How many bytes.
        size: u16,
        /// The first of them.
        offset: u16,
    },
    /// Overwrites the first bytes of an index.
    Write {
        /// The authority.
        by: Authority,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Makes an index of the owner's.
    Define(Public),
}

impl Command<'_> {
    /// The specification's name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadPublic => "NV_ReadPublic",
            Self::Read { .. } => "NV_Read",
            Self::Write { .. } => "NV_Write",
            Self::Define(_) => "NV_DefineSpace",
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::ReadPublic => 0x169,
            Self::Read { .. } => 0x14E,
            Self::Write { .. } => 0x137,
            Self::Define(_) => 0x12A,
        }
    }

    fn tag(self) -> u16 {
        match self {
            Self::ReadPublic => NO_SESSIONS,
            Self::Read { .. } | Self::Write { .. } | Self::Define(_) => SESSIONS,
        }
    }

    /// The authority, if the command needs one.
    pub fn authority(self) -> Option<Authority> {
        match self {
            Self::ReadPublic => None,
            Self::Read { by, .. } | Self::Write { by, .. } => Some(by),
            Self::Define(_) => Some(Authority::Owner),
        }
    }

    /// The command's bytes, about `index`.
    pub fn bytes(self, index: u32) -> Vec<u8> {
        let mut body = Vec::new();
        let authority = self.authority();
        body.extend(authority.iter().flat_map(|authority| authority.handle(index).to_be_bytes()));
        if !matches!(self, Self::Define(_)) {
            body.extend(index.to_be_bytes());
        }
        if authority.is_some() {
            // The size of the one session: handle, an empty nonce, no attributes, an empty password.
            body.extend(9_u32.to_be_bytes());
            body.extend(PASSWORD.to_be_bytes());
            body.extend([0; 5]);
        }
        match self {
            Self::ReadPublic => {}
            Self::Read { size, offset, .. } => {
                body.extend([size, offset].map(u16::to_be_bytes).as_flattened())
            }
            Self::Write { bytes, .. } => {
                body.extend(size16(bytes));
                body.extend(bytes);
                body.extend([0; 2]);
            }
            Self::Define(public) => {
                let public = public.bytes(index);
                // The index has an empty password.
                body.extend([0; 2]);
                body.extend(size16(&public));
                body.extend(public);
            }
        }
        let size = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        let mut bytes = self.tag().to_be_bytes().to_vec();
        bytes.extend(size.to_be_bytes());
        bytes.extend(self.code().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads the response to this command.
    pub fn response(self, bytes: &[u8]) -> Result<Response<'_>, ResponseError> {
        let mut fields = Fields(bytes);
        let (tag, size, code) = (fields.u16()?, fields.u32()?, fields.u32()?);
        if usize::try_from(size) != Ok(bytes.len()) {
            return Err(ResponseError::Size { says: size, has: bytes.len() });
        }
        if code != 0 {
            // An error has a header and nothing else, whatever the command's tag is.
            fields.end()?;
            return if tag == NO_SESSIONS { Ok(Response::Error(code)) } else { Err(ResponseError::Tag(tag)) };
        }
        if tag != self.tag() {
            return Err(ResponseError::Tag(tag));
        }
        if tag == NO_SESSIONS {
            return Ok(Response::Done(fields.0));
        }
        let size = fields.u32()?;
        let parameters = fields.take(size)?;
        // The session's answer: an empty nonce, attributes, an empty password.
        match fields.0 {
            [0, 0, _, 0, 0] => Ok(Response::Done(parameters)),
            _ => Err(ResponseError::Session),
        }
    }
}

/// A response, in its known form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response<'a> {
    /// The command was carried out: its parameters.
    Done(&'a [u8]),
    /// It was not: the code, never zero.
    Error(u32),
}

/// Why bytes are no response to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// A field does not end within the bytes.
    #[error("ends within a field")]
    Short,
    /// The size in its header is not its size.
    #[error("says that it has {says} bytes, and has {has}")]
    Size {
        /// The size in its header.
        says: u32,
        /// How many there are.
        has: usize,
    },
    /// More than any response has.
    #[error("says that it has {0} bytes, more than any response")]
    TooLong(u32),
    /// Its tag is not the command's.
    #[error("has the tag {0:#06x}")]
    Tag(u16),
    /// The session's answer is not that of a password.
    #[error("does not end with the answer of a password session")]
    Session,
    /// Bytes follow the last field.
    #[error("has {0} bytes too many")]
    LeftOver(usize),
    /// It is about another index.
    #[error("is about the index {0:#010x}")]
    Index(u32),
    /// It has another number of bytes than was asked for.
    #[error("has {has} bytes of the index where {asked} were asked for")]
    Data {
        /// The number that was asked for.
        asked: u16,
        /// The number that came.
        has: usize,
    },
}

/// The size of a response that begins with these bytes, as it says itself; nothing while there are too few.
pub fn announced(bytes: &[u8]) -> Result<Option<usize>, ResponseError> {
    let Some((_, rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
    let Some(size) = rest.first_chunk::<4>() else { return Ok(None) };
    let says = u32::from_be_bytes(*size);
    match usize::try_from(says) {
        Ok(size) if (HEADER..=MAX_RESPONSE).contains(&size) => Ok(Some(size)),
        Ok(size) if size < HEADER => Err(ResponseError::Size { says, has: bytes.len() }),
        _ => Err(ResponseError::TooLong(says)),
    }
}

/// The attributes of an index: TPMA_NV.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// Those of an index for the owner, who has no password: what other programs of this machine make, too.
    /// TPMA_NV_NO_DA: a wrong password of theirs does not lock the TPM.
    pub const OWNERS: Self = Self(1 << 1 | 1 << 17 | 1 << 25);

    fn has(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// The authority that can write with an empty password.
    pub fn writer(self) -> Option<Authority> {
        self.first(1, 2)
    }

    /// The authority that can read with an empty password.
    pub fn reader(self) -> Option<Authority> {
        self.first(17, 18)
    }

    /// Whether the owner can read.
    pub fn owner_reads(self) -> bool {
        self.has(17)
    }

    /// Whether the index holds bytes, as a file does: no counter, no PIN.
    pub fn is_ordinary(self) -> bool {
        self.0 & 0xF0 == 0
    }

    fn first(self, owner: u32, index: u32) -> Option<Authority> {
        match (self.has(owner), self.has(index)) {
            (true, _) => Some(Authority::Owner),
            (false, true) => Some(Authority::Index),
            (false, false) => None,
        }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#010x})", self.0)
    }
}

/// The public area of an index, as far as it is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Public {
    /// Its attributes.
    pub attributes: Attributes,
    /// Its size.
    pub size: u16,
}

impl Public {
    /// Reads the parameters of NV_ReadPublic about `index`.
    pub fn parse(index: u32, parameters: &[u8]) -> Result<Self, ResponseError> {
        let mut fields = Fields(parameters);
        let mut public = Fields(fields.sized()?);
        let _name = fields.sized()?;
        fields.end()?;
        match public.u32()? {
            known if known == index => {}
            other => return Err(ResponseError::Index(other)),
        }
        let _hash = public.u16()?;
        let attributes = Attributes(public.u32()?);
        let _policy = public.sized()?;
        let size = public.u16()?;
        public.end()?;
        Ok(Self { attributes, size })
    }

    /// TPMS_NV_PUBLIC of `index`, without a policy.
    fn bytes(self, index: u32) -> Vec<u8> {
        let mut bytes = index.to_be_bytes().to_vec();
        bytes.extend(SHA256.to_be_bytes());
        bytes.extend(self.attributes.0.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.size.to_be_bytes());
        bytes
    }
}

/// Reads the parameters of NV_Read: as many bytes as were asked for, and no others.
pub fn data(asked: u16, parameters: &[u8]) -> Result<&[u8], ResponseError> {
    let mut fields = Fields(parameters);
    let bytes = fields.sized()?;
    fields.end()?;
    if bytes.len() == usize::from(asked) {
        Ok(bytes)
    } else {
        Err(ResponseError::Data { asked, has: bytes.len() })
    }
}

fn size16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// The bytes that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ResponseError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ResponseError::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, ResponseError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ResponseError> {
        self.array().map(u32::from_be_bytes)
    }

    fn take(&mut self, size: u32) -> Result<&'a [u8], ResponseError> {
        let size = usize::try_from(size).map_err(|_| ResponseError::Short)?;
        let (field, rest) = self.0.split_at_checked(size).ok_or(ResponseError::Short)?;
        self.0 = rest;
        Ok(field)
    }

    /// A field behind its size in two bytes.
    fn sized(&mut self) -> Result<&'a [u8], ResponseError> {
        let size = self.u16()?;
        self.take(size.into())
    }

    fn end(&self) -> Result<(), ResponseError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(ResponseError::LeftOver(left)),
        }
    }
}
