//! The key broker on one machine, and its tools.

mod broker;
mod demo;
mod environment;
mod exit;
mod fleet;
mod log;
mod output;
mod relay;
mod serve;
mod server;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::{Exit, Failure};

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
    Demo(demo::DemoArgs),
    Relay(relay::RelayArgs),
    Serve(serve::ServeArgs),
    Verify(verify::VerifyArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    environment::check(&Cli::command())?;
    let _flush = log::start(&cli.log, matches!(cli.command, Command::Relay(_) | Command::Serve(_)))?;
    match cli.command {
        Command::Demo(args) => Ok(demo::run(&args)?),
        Command::Relay(args) => relay::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Verify(args) => verify::run(&args),
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
