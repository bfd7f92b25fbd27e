//! Asking before what cannot be undone is done.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow};

use crate::exit::{Exit, Failure};

/// Whether it is to be done, and whether to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

impl ConfirmArgs {
    /// Whether to go on: unasked, or because somebody at a terminal agrees. An error where nobody can be
    /// asked.
    pub(crate) fn agreed(&self, question: &str) -> Result<bool, Failure> {
        if self.yes { Ok(true) } else { ask(question) }
    }

    /// Nobody agrees to what is not shown: with `--json` there is nothing to read before it is done.
    pub(crate) fn check_shown(&self, json: bool) -> Result<(), Failure> {
        if !json || self.yes {
            return Ok(());
        }
        let error = anyhow!("--json shows nothing before it is done");
        Err(Failure::new(Exit::Usage, error).hint("add --yes, or --dry-run to see what would be done"))
    }
}

fn ask(question: &str) -> Result<bool, Failure> {
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
