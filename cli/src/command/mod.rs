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
