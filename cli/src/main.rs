//! The key broker on one machine, and its tools.

mod audit;
mod broker;
mod certificates;
mod confirm;
mod demo;
mod doctor;
mod endorser;
mod environment;
mod evidence;
mod exit;
mod fleet;
mod hex;
mod log;
mod manual;
mod operator;
mod output;
mod register;
mod relay;
mod serve;
mod server;
mod suggest;
mod table;
mod token;
mod verify;
mod when;
mod workload;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};

use crate::{
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
    log: log::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::AuditArgs),
    Certificates(certificates::CertificatesArgs),
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
    Register(register::RegisterArgs),
    Relay(relay::RelayArgs),
    Serve(serve::ServeArgs),
    Token(token::TokenArgs),
    Verify(verify::VerifyArgs),
    Workload(workload::WorkloadArgs),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let reach = Reach::of(&matches);
    match run(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()), &reach) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli, reach: &Reach) -> Result<Exit, Failure> {
    // Of the doctor's findings it is one.
    if !matches!(cli.command, Command::Doctor(_)) {
        environment::check(&Cli::command(), reach)?;
    }
    let _flush = log::start(&cli.log, matches!(cli.command, Command::Relay(_) | Command::Serve(_)))?;
    keybroker_common::panics::hush();
    match cli.command {
        Command::Audit(args) => audit::run(&args),
        Command::Certificates(args) => certificates::run(&args),
        Command::Demo(args) => Ok(demo::run(&args)?),
        Command::Doctor(args) => doctor::run(&args, reach),
        Command::Register(args) => register::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Workload(args) => workload::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
