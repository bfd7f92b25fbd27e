//! Which token a command is about: by its id, or by the token itself out of a file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{ids::TokenId, token::TokenText};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    given::GivenId,
    unechoed,
};

/// The most bytes that are read: `token create` writes a token and a URL.
const LIMIT: u64 = 4096;

/// The arguments that name a token.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The token's id, not the token itself: `token create` and `token list` show it
    #[arg(value_name = "ID", value_parser = GivenId::of_token)]
    id: Option<GivenId<TokenId>>,
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
