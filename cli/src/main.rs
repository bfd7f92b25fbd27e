//! The program `keybroker`: the broker on one machine, and an operator's tools.

#[macro_use]
mod say;

mod advisories;
mod aws;
mod behind;
mod bounded;
mod broker;
mod carried;
mod chip_prefix;
mod command;
mod confirm;
mod counted;
mod credential;
mod csv;
mod disk_document;
mod distinct;
mod endorsement_row;
mod endorser;
mod environment;
mod evidence;
mod exit;
mod fleet;
mod given;
mod hex;
mod id_key;
mod listing;
mod log;
mod measurements;
mod note;
mod operator;
mod output;
mod paths;
mod pem;
mod platform;
mod policy_fault;
mod requirements;
mod revoked;
mod rvps;
mod secret_row;
mod server;
mod sharing;
mod suggest;
mod table;
mod tls;
mod unechoed;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches as _, Parser};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    command::Command,
    environment::Reach,
    exit::{Exit, Failure},
};

/// Releases the secrets of confidential workloads to AMD SEV-SNP guests that prove what they are.
#[derive(Debug, Parser)]
#[command(name = "keybroker", version, after_help = Exit::TABLE, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: log::LogArgs,
}

fn main() -> ExitCode {
    leave_no_core();
    let matches =
        Cli::command().try_get_matches().unwrap_or_else(|error| environment::refuse_arguments(&error));
    let reach = Reach::of(&matches);
    match run(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()), &reach) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

/// Forbids core files, which would hold what this process knows: passphrases, keys, tokens.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // The package's units forbid the call, and core files themselves.
    let _ = setrlimit(Resource::Core, none);
}

fn run(cli: Cli, reach: &Reach) -> Result<Exit, Failure> {
    if !cli.command.reports_environment() {
        environment::check(&Cli::command(), reach)?;
    }
    let _flush = log::start(&cli.log, cli.command.is_server())?;
    keybroker_common::panics::hush();
    cli.command.run(reach)
}

#[cfg(test)]
mod runbook;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Arg;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// clap forgets that an argument requires another as soon as something is given that conflicts with that
    /// other. The first would then be taken, and mean nothing.
    #[test]
    fn no_conflict_hides_a_requirement() {
        let mut command = Cli::command();
        command.build();
        let mut commands = vec![&command];
        let (mut required, mut hidden) = (0, Vec::new());
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            let id = |argument: &Arg| argument.get_id().to_string();
            let mut conflicts = BTreeSet::new();
            for argument in command.get_arguments() {
                for other in command.get_arg_conflicts_with(argument) {
                    conflicts.extend([(id(argument), id(other)), (id(other), id(argument))]);
                }
            }
            for argument in command.get_arguments() {
                for needed in requirements(argument) {
                    required += 1;
                    let against = conflicts.iter().filter(|(one, _)| *one == needed);
                    let lost = against
                        .filter(|(_, other)| !conflicts.contains(&(id(argument), other.clone())))
                        .map(|(_, other)| format!("{} {argument} beside {other}", command.get_name()));
                    hidden.extend(lost);
                }
            }
        }
        assert!(required > 50, "{required}");
        assert!(hidden.is_empty(), "these are taken without what they require:\n{}", hidden.join("\n"));
    }

    /// The arguments that `argument` requires, which clap shows in its debug output alone.
    fn requirements(argument: &Arg) -> Vec<String> {
        let all = format!("{argument:?}");
        let (_, list) = all.split_once(", requires: [").unwrap();
        let (list, _) = list.split_once(']').unwrap();
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }
}
