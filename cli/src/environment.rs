//! KEYBROKER_… variables that nobody reads are refused: a mistyped setting must not be passed over in silence.

use std::{collections::BTreeSet, env};

use clap::Command;
use keybroker_common::config;

use crate::exit::{Exit, Failure};

/// Refuses the environment if it holds a variable of ours that no option of `command` reads.
pub(crate) fn check(command: &Command) -> Result<(), Failure> {
    let known = known(command);
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    match unknown(names, &known) {
        None => Ok(()),
        Some(name) => Err(refuse(&name, &known)),
    }
}

fn refuse(name: &str, known: &BTreeSet<String>) -> Failure {
    let failure =
        Failure::new(Exit::Configuration, anyhow::anyhow!("the environment variable {name} is not known"));
    match nearest(name, known) {
        Some(nearest) => failure.hint(format!("did you mean {nearest}?")),
        None => failure.hint("keybroker serve --help names all of them"),
    }
}

/// The variables that the options of `command` and its subcommands read.
fn known(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(known)).collect()
}

fn unknown(mut names: impl Iterator<Item = String>, known: &BTreeSet<String>) -> Option<String> {
    names.find(|name| name.starts_with(config::PREFIX) && !known.contains(name))
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    config::nearest(name, known.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    fn find(names: &[&str]) -> Option<String> {
        unknown(names.iter().map(|name| (*name).to_owned()), &known(&Cli::command()))
    }

    #[test]
    fn options_of_every_command_are_known() {
        assert_eq!(find(&["KEYBROKER_LISTEN", "KEYBROKER_LOG", "PATH", "keybroker_x"]), None);
    }

    #[test]
    fn a_mistyped_name_is_found_and_the_right_one_suggested() {
        assert_eq!(find(&["PATH", "KEYBROKER_LISTN"]), Some("KEYBROKER_LISTN".to_owned()));
        let known = known(&Cli::command());
        assert_eq!(nearest("KEYBROKER_LISTN", &known), Some("KEYBROKER_LISTEN"));
        assert_eq!(nearest("KEYBROKER_DATADIR", &known), Some("KEYBROKER_DATA_DIR"));
        assert_eq!(nearest("KEYBROKER_QQQ", &known), None);
    }
}
