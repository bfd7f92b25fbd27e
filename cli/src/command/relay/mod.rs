//! `keybroker relay`: plain http on this machine's loopback, TLS to a broker elsewhere.

mod forward;
mod present;
mod sign;
mod target;
mod token;
mod upstream;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow};
use axum::{Router, middleware};
use keybroker_common::http;
use tokio::{net::TcpListener, runtime::Runtime};

pub(crate) use self::target::Target;
use self::{
    forward::{BuildCredential, Relay, RelayKind},
    sign::Signer,
    upstream::Upstream,
};
use crate::{
    exit::{Exit, Failure},
    server,
};

const EXAMPLES: &str = "\
Examples:
  For the guests of this host, whose images name http://127.0.0.1:8000:
      keybroker relay --to https://k.example.org
  For a build, under the AWS credentials of whoever starts it:
      keybroker relay --to https://k.example.org --sign --region eu-central-1
      buildah mkcw --type snp --attestation-url http://127.0.0.1:8000 IMAGE ENCRYPTED-IMAGE
  For a build, with a token that its operator handed out:
      keybroker relay --to https://k.example.org --token-file /run/build/token
  To a broker whose certificate a private authority has signed:
      keybroker relay --to https://broker.internal/keys --ca /etc/keybroker/ca.pem";

/// Pass requests from this machine on to a broker, over TLS.
///
/// Without --sign and --token-file it is a guest relay, for hosts that run guests: it passes on what guests
/// ask, and nobody can register through it. With one of them it is a build relay: it passes on registrations,
/// and nothing that guests ask. WHOEVER REACHES A BUILD RELAY REGISTERS AS IT: run it for as long as a build
/// takes.
///
/// It sees what TLS hides on the rest of the way, and no secret of a guest: those are sealed to the guest's
/// key. The Authorization that a client sends is passed on in neither case. SIGTERM and SIGINT end it once
/// the requests under way are answered, within 10 seconds; a second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("{EXAMPLES}\n\n{}", Exit::TABLE))]
pub(crate) struct RelayArgs {
    /// The broker's base URL: https, or http on the loopback. A base path is kept.
    #[arg(long, env = "KEYBROKER_RELAY_TO", value_parser = Target::parse, value_name = "URL")]
    to: Target,
    /// Address and port to listen on; port 0 takes any that is free. `:8000` is every IPv4 address.
    ///
    /// Guests reach the loopback of their host through libkrun's TSI. http://127.0.0.1:8000 leaves 66 of the
    /// 99 characters that libkrun's guest has for its key's URL to the workload id.
    #[arg(
        long,
        env = "KEYBROKER_RELAY_LISTEN",
        default_value = "127.0.0.1:8000",
        value_parser = server::listen_address,
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Be a build relay that signs registrations for AWS (SigV4), with the credentials that AWS's tools would
    /// find: environment, profile, role of the container or the machine.
    ///
    /// Registrations go to the broker's signed routes, under /iam.
    #[arg(long, conflicts_with = "token_file")]
    sign: bool,
    /// The region to sign for, where it is not the one that AWS's tools would take.
    #[arg(long, requires = "sign", value_name = "REGION")]
    region: Option<String>,
    /// Be a build relay that registers with the token in this file.
    ///
    /// A line of 14 characters, in a file that nobody else may read.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let a build relay listen where others than this machine reach it. All of them can register as it does.
    #[arg(long)]
    anyone_may_register: bool,
    /// Also trust the authorities in this PEM file to vouch for the broker's name. May be given several
    /// times.
    #[arg(long, value_name = "PEM")]
    ca: Vec<PathBuf>,
    /// For how many seconds the broker may take to answer.
    ///
    /// One that has to ask AMD for a new chip's certificate takes up to 25, and API Gateway answers in its
    /// place after 30.
    #[arg(
        long,
        default_value_t = 35,
        value_parser = clap::value_parser!(u16).range(1..=300),
        value_name = "SECONDS"
    )]
    timeout: u16,
}

/// Runs the command.
pub(crate) fn run(args: &RelayArgs) -> Result<Exit, Failure> {
    let runtime = Runtime::new().context("starting")?;
    runtime.block_on(async {
        let role = role(args).await?;
        check_reach(args.listen, &role, args.anyone_may_register)?;
        let upstream = Upstream::new(args.to.clone(), Duration::from_secs(args.timeout.into()), &args.ca)?;
        tracing::info!("{role} to {}", args.to);
        let build = matches!(role, RelayKind::Build(_));
        let guarded = build && args.listen.ip().is_loopback() && !args.anyone_may_register;
        let router = http::router(Relay::new(role, upstream));
        let router = router.layer(middleware::from_fn_with_state(guarded, server::loopback::only));
        server::until_signalled(args.listen, router, None::<(TcpListener, Router)>).await
    })
}

/// What a build relay that signs serves, for a process that asks it in its own name.
pub(crate) async fn signing(
    to: Target,
    region: Option<String>,
    answer_timeout: Duration,
    authorities: &[PathBuf],
) -> Result<Router, Failure> {
    let role = RelayKind::Build(BuildCredential::Signature(Signer::new(region).await?));
    Ok(http::router(Relay::new(role, Upstream::new(to, answer_timeout, authorities)?)))
}

async fn role(args: &RelayArgs) -> Result<RelayKind, Failure> {
    match &args.token_file {
        Some(path) => Ok(RelayKind::Build(BuildCredential::Token(token::read(path)?))),
        None if args.sign => {
            Ok(RelayKind::Build(BuildCredential::Signature(Signer::new(args.region.clone()).await?)))
        }
        None => Ok(RelayKind::Guest),
    }
}

/// Warns of an address that others reach, and refuses it to a build relay unless that is what was asked for.
fn check_reach(address: SocketAddr, role: &RelayKind, anyone_may_register: bool) -> Result<(), Failure> {
    match role {
        RelayKind::Guest if anyone_may_register => {
            let error =
                anyhow!("--anyone-may-register is for a build relay, and nobody registers through this one");
            return Err(Failure::new(Exit::Usage, error).hint("add --sign or --token-file, or leave it out"));
        }
        _ if address.ip().is_loopback() => {}
        RelayKind::Guest => tracing::warn!(
            %address,
            "NOT ON THE LOOPBACK: whoever reaches this address can ask the broker through it, and nothing on this side is encrypted"
        ),
        RelayKind::Build(_) if !anyone_may_register => {
            let error = anyhow!("whoever reaches {address} could register as this relay");
            return Err(Failure::new(Exit::Usage, error)
                .hint("listen on the loopback, or add --anyone-may-register if that is meant"));
        }
        RelayKind::Build(_) => tracing::warn!(
            %address,
            "ANYONE MAY REGISTER: whoever reaches this address registers as this relay, and passphrases pass here unencrypted"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    #[test]
    fn the_examples_are_command_lines() {
        let lines = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("keybroker "));
        let mut parsed = 0;
        for line in lines {
            Cli::try_parse_from(format!("keybroker {line}").split_whitespace()).expect(line);
            parsed += 1;
        }
        assert_eq!(parsed, 4);
    }
}
