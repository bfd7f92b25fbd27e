//! The question before an act that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow};

use crate::exit::{Exit, Failure};

/// Whether to act, and whether to ask first.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Only show what the command would do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

impl ConfirmArgs {
    /// Whether to go on: because of --yes, or because a person at the terminal agrees. It is an error if
    /// nobody can be asked.
    pub(crate) fn agreed(&self, question: &str) -> Result<bool, Failure> {
        if self.yes { Ok(true) } else { ask(question) }
    }

    /// Refuses to ask about something that is not shown: with `--json` a person has nothing to read before
    /// the act.
    pub(crate) fn check_shown(&self, json: bool) -> Result<(), Failure> {
        if !json || self.yes {
            return Ok(());
        }
        let error = anyhow!("--json shows nothing before the command acts");
        Err(Failure::new(Exit::Usage, error)
            .hint("add --yes, or see with --dry-run what the command would do"))
    }
}

fn ask(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let error = anyhow!("there is no terminal to ask at, and --yes is not given");
        return Err(Failure::new(Exit::Usage, error)
            .hint("--dry-run shows what the command would do, --yes lets it act"));
    }
    let asked = write!(io::stderr(), "{question} [y/N] ");
    asked.and_then(|()| io::stderr().flush()).context("asking")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
