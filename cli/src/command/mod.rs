//! The commands: a file or a folder for each. Modules that several commands share are beside this folder.

mod audit;
mod certificates;
mod demo;
mod doctor;
mod id_block;
mod import_trustee;
mod keys;
mod krun_initrd;
mod manual;
mod measure;
mod register;
mod relay;
mod report;
mod resource;
mod serve;
mod tcb;
mod token;
mod verify;
mod workload;

use crate::{
    environment::Reach,
    exit::{Exit, Failure},
};

/// A command and its arguments.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Audit(audit::AuditArgs),
    Certificates(certificates::CertificatesArgs),
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
    IdBlock(id_block::IdBlockArgs),
    ImportTrustee(Box<import_trustee::ImportTrusteeArgs>),
    Keys(keys::KeysArgs),
    KrunInitrd(krun_initrd::KrunInitrdArgs),
    Measure(measure::MeasureArgs),
    Register(Box<register::RegisterArgs>),
    Relay(relay::RelayArgs),
    Report(report::ReportArgs),
    Resource(resource::ResourceArgs),
    Serve(serve::ServeArgs),
    Tcb(tcb::TcbArgs),
    Token(token::TokenArgs),
    Verify(verify::VerifyArgs),
    Workload(workload::WorkloadArgs),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

impl Command {
    /// Whether the command goes on until it is stopped. Such a command prints audit records, and logs more.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Relay(_) | Self::Serve(_))
    }

    /// Whether the command itself reports a variable that is wrong, as one of its findings.
    pub(crate) fn reports_environment(&self) -> bool {
        matches!(self, Self::Doctor(_))
    }

    /// Runs the command.
    pub(crate) fn run(self, reach: &Reach) -> Result<Exit, Failure> {
        match self {
            Self::Audit(args) => audit::run(&args),
            Self::Certificates(args) => certificates::run(&args),
            Self::Demo(args) => Ok(demo::run(&args)?),
            Self::Doctor(args) => doctor::run(&args, reach),
            Self::IdBlock(args) => id_block::run(&args),
            Self::ImportTrustee(args) => import_trustee::run(&args),
            Self::Keys(args) => keys::run(&args),
            Self::KrunInitrd(args) => krun_initrd::run(&args),
            Self::Measure(args) => measure::run(&args),
            Self::Register(args) => register::run(&args),
            Self::Relay(args) => relay::run(&args),
            Self::Report(args) => report::run(&args),
            Self::Resource(args) => resource::run(&args),
            Self::Serve(args) => serve::run(&args),
            Self::Tcb(args) => tcb::run(&args),
            Self::Token(args) => token::run(&args),
            Self::Verify(args) => verify::run(&args),
            Self::Workload(args) => workload::run(&args),
            Self::Completions(args) => manual::completions(&args),
            Self::Man(args) => manual::man(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use clap::CommandFactory as _;

    use crate::Cli;

    /// The commands below `command`, as a person types them, and whether they take `--aws`.
    fn commands(command: &clap::Command, name: &str, found: &mut BTreeMap<String, bool>) {
        let aws = command.get_arguments().any(|argument| argument.get_long() == Some("aws"));
        found.insert(name.to_owned(), aws);
        for inner in command.get_subcommands() {
            commands(inner, format!("{name} {}", inner.get_name()).trim_start(), found);
        }
    }

    /// Another test compares the table with what the commands call, and `infra/policies` the policies of
    /// operators with the table.
    #[test]
    fn every_command_on_aws_has_its_permissions_in_the_table() {
        let mut all = BTreeMap::new();
        commands(&Cli::command(), "", &mut all);
        let table = include_str!("../../../infra/operator-permissions.txt");
        let rows = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let second = |row: &'static str| row.split("  ").filter(|field| !field.is_empty()).nth(1);
        let listed: BTreeSet<_> = rows.filter_map(second).map(str::trim).collect();
        let on_aws = all.iter().filter(|(_, aws)| **aws).map(|(name, _)| name.as_str());
        let missing: Vec<_> = on_aws.filter(|name| !listed.contains(name)).collect();
        assert!(missing.is_empty(), "infra/operator-permissions.txt lacks {missing:?}");
        for row in listed {
            // `keys rotate signature` is `keys rotate` with an argument.
            let known = |name: &str| all.contains_key(name);
            let known = known(row) || row.rsplit_once(' ').is_some_and(|(name, _)| known(name));
            assert!(known, "infra/operator-permissions.txt has {row}, which is no command");
        }
    }
}
