//! Which token a command is about: by its id, or by the token itself out of a file.

use std::{
    fs::File,
    io::{self, BufRead as _, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{ids::TokenId, token::TokenText};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// The most bytes that are read: `token create` writes a token and a URL.
const LIMIT: u64 = 4096;

/// The arguments that name a token.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The token's id, not the token itself: `token create` and `token list` show it
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The file whose first line is the token itself; `-` is standard input. The command prints the id alone
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Which {
    /// The id of the token. No message has what was given in its place, which may be a token.
    pub(super) fn id(&self) -> Result<TokenId, Failure> {
        match (&self.id, &self.token_file) {
            (_, Some(path)) => in_file(path),
            (Some(id), None) => TokenId::parse(id).ok_or_else(|| not_an_id(id)),
            (None, None) => Err(Failure::new(Exit::Usage, anyhow!("no token is named"))),
        }
    }
}

fn not_an_id(text: &str) -> Failure {
    let error = anyhow!("this is not the id of a token, which has 32 hexadecimal digits");
    let failure = Failure::new(Exit::Usage, error);
    if TokenText::parse(text.as_bytes()).is_none() {
        return failure;
    }
    failure.hint(
        "it looks like a token: other users may have seen it in the list of processes, and it stands in the \
         shell's history. Revoke it with --token-file",
    )
}

fn in_file(path: &Path) -> Result<TokenId, Failure> {
    let unusable = |error: anyhow::Error| {
        Failure::new(Exit::Configuration, error).context(format!("reading the token in {}", path.display()))
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if path == Path::new("-") {
        // No further: a person who types a token ends it with Enter.
        io::stdin().lock().take(LIMIT).read_until(b'\n', &mut bytes)
    } else {
        // No buffer that is not wiped holds it.
        File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
    };
    read.context("it cannot be read").map_err(unusable)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let token = TokenText::parse(line).ok_or_else(|| {
        unusable(anyhow!("its first line is not {} characters of base64url", TokenText::LEN))
    })?;
    Ok(token.id())
}
