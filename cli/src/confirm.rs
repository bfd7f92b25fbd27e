//! Asking before what cannot be undone is done.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow};

use crate::exit::{Exit, Failure};

/// Whether somebody at a terminal agrees. An error where nobody can be asked: the command takes `--yes` and `--dry-run`.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let error = anyhow!("there is no terminal to ask at, and no --yes");
        return Err(
            Failure::new(Exit::Usage, error).hint("--dry-run shows what would be done, --yes does it")
        );
    }
    let asked = write!(io::stderr(), "{question} [y/N] ");
    asked.and_then(|()| io::stderr().flush()).context("asking")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
