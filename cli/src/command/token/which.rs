//! Which token a command is about: by its id, or by the token itself out of a file.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{ids::TokenId, token::TokenText};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    unechoed,
};

/// The most bytes that are read: `token create` writes a token and a URL.
const LIMIT: u64 = 4096;

/// The arguments that name a token.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The token's id, not the token itself: `token create` and `token list` show it
    #[arg(value_name = "ID", value_parser = GivenId::parse)]
    id: Option<GivenId>,
    /// The file whose first line is the token itself; `-` is standard input. The command prints the id alone
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Which {
    /// The id of the token. No message has what was given in its place, which may be a token.
    pub(super) async fn id(&self) -> Result<TokenId, Failure> {
        match (self.id, &self.token_file) {
            (_, Some(path)) => in_file(path).await,
            (Some(given), None) => given.id(),
            (None, None) => Err(Failure::new(Exit::Usage, anyhow!("no token is named"))),
        }
    }
}

/// The argument of an option that takes a token's id. A parser of its own would fail with a message that
/// repeats a token which was given in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GivenId {
    /// An id.
    Id(TokenId),
    /// Something that has the form of a token.
    Token,
    /// Something else.
    Other,
}

impl GivenId {
    /// Takes every text.
    #[allow(clippy::unnecessary_wraps, reason = "clap asks for a result")]
    pub(crate) fn parse(text: &str) -> Result<Self, Infallible> {
        Ok(match TokenId::parse(text) {
            Some(id) => Self::Id(id),
            None if TokenText::parse(text.as_bytes()).is_some() => Self::Token,
            None => Self::Other,
        })
    }

    /// The id. The failure has nothing of what was given.
    pub(crate) fn id(self) -> Result<TokenId, Failure> {
        let no_id = || {
            let error = anyhow!("this is not the id of a token, which has 32 hexadecimal digits");
            Failure::new(Exit::Usage, error)
        };
        match self {
            Self::Id(id) => Ok(id),
            Self::Token => Err(no_id().hint(
                "it looks like a token: other users may have seen it in the list of processes, and it stands in \
                 the shell's history. Revoke it: token revoke takes it with --token-file",
            )),
            Self::Other => Err(no_id()),
        }
    }
}

async fn in_file(path: &Path) -> Result<TokenId, Failure> {
    let unusable = |error: anyhow::Error| {
        Failure::new(Exit::Configuration, error).context(format!("reading the token in {}", path.display()))
    };
    let bytes = if path == Path::new("-") { unechoed::line("the token", LIMIT).await } else { read(path) };
    let bytes = bytes.context("it cannot be read").map_err(unusable)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let token = TokenText::parse(line).ok_or_else(|| {
        unusable(anyhow!("its first line is not {} characters of base64url", TokenText::LEN))
    })?;
    Ok(token.id())
}

/// The beginning of a file, in no buffer that is not wiped.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
