//! `keybroker relay`: it takes plain http on this machine's loopback, and passes it on over TLS to a broker
//! elsewhere.

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
    aws::Login,
    exit::{Exit, Failure},
    server,
};

const EXAMPLES: &str = "\
Examples:
  For the guests of this host, whose images name http://127.0.0.1:8000:
      keybroker relay --to https://k.example.org
  For a build, with your own AWS credentials:
      keybroker relay --to https://k.example.org --sign --region eu-central-1
      buildah mkcw --type snp --attestation-url http://127.0.0.1:8000 IMAGE ENCRYPTED-IMAGE
  For a build, with a token from the broker's operator:
      keybroker relay --to https://k.example.org --token-file /run/build/token
  To a broker with a certificate of a private authority:
      keybroker relay --to https://broker.internal/keys --ca /etc/keybroker/ca.pem";

/// Pass requests from this machine on to a broker, over TLS.
///
/// Without --sign and --token-file this is a guest relay, for hosts that run guests: it passes on the
/// requests of guests, and nobody can register through it. With one of the two it is a build relay: it passes
/// on registrations and no requests of guests. ANYBODY WHO REACHES A BUILD RELAY CAN REGISTER IN ITS NAME:
/// run it only while a build runs.
///
/// The relay sees what TLS hides on the rest of the way, but no secret of a guest: those are sealed to the
/// guest's key. It passes on a client's Authorization header to one place, where Trustee's guests show their
/// attestation result to fetch a resource. On SIGTERM or SIGINT it answers the
/// requests under way, for at most 10 seconds, and ends. A second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("{EXAMPLES}\n\n{}", Exit::TABLE))]
pub(crate) struct RelayArgs {
    /// The broker's base URL: https, or http on the loopback. The relay keeps a base path.
    #[arg(
        long,
        env = "KEYBROKER_RELAY_TO",
        hide_env_values = true,
        value_parser = Target::parse,
        value_name = "URL"
    )]
    to: Target,
    /// Address and port to listen on. Port 0 takes any free port. `:8000` means every IPv4 address.
    ///
    /// Guests reach the loopback of their host through libkrun's TSI. libkrun's guest has 99 characters for
    /// the URL of its key: http://127.0.0.1:8000 leaves 66 of them for the workload id.
    #[arg(
        long,
        env = "KEYBROKER_RELAY_LISTEN",
        default_value = "127.0.0.1:8000",
        value_parser = server::listen_address,
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Be a build relay that signs registrations for AWS (SigV4). It uses the credentials that AWS's tools
    /// would find: from the environment, a profile, or the role of the container or machine.
    ///
    /// The relay sends registrations to the broker's signed routes, under /iam.
    #[arg(long)]
    sign: bool,
    /// The region to sign for, if it is not the one that AWS's tools would take.
    #[arg(long, requires = "sign", value_name = "REGION")]
    region: Option<String>,
    /// The profile to sign with, if it is not the one that AWS's tools would take.
    #[arg(long, requires = "sign", value_name = "NAME")]
    profile: Option<String>,
    /// Be a build relay that registers with the token in this file.
    ///
    /// The file holds one line of 14 characters, and nobody but its owner may read it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sign", "region", "profile"])]
    token_file: Option<PathBuf>,
    /// Let a build relay listen on an address that other machines reach. All of them can then register in its
    /// name.
    #[arg(long)]
    anyone_may_register: bool,
    /// Also trust the certificate authorities in this PEM file for the broker's name. May be given several
    /// times.
    #[arg(long, value_name = "PEM")]
    ca: Vec<PathBuf>,
    /// The seconds that the broker may take to answer.
    ///
    /// A broker that must ask AMD for a new chip's certificate takes up to 25 seconds, and API Gateway
    /// answers in its place after 30.
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
        server::until_signalled(args.listen, None, router, None::<(TcpListener, Router)>).await
    })
}

/// The routes of a build relay that signs, for a command that registers in its own name.
pub(crate) async fn signing(
    to: Target,
    login: &Login,
    answer_timeout: Duration,
    authorities: &[PathBuf],
) -> Result<Router, Failure> {
    let role = RelayKind::Build(BuildCredential::Signature(Signer::new(login).await?));
    Ok(http::router(Relay::new(role, Upstream::new(to, answer_timeout, authorities)?)))
}

async fn role(args: &RelayArgs) -> Result<RelayKind, Failure> {
    match &args.token_file {
        Some(path) => Ok(RelayKind::Build(BuildCredential::Token(token::read(path)?))),
        None if args.sign => {
            let login = Login { region: args.region.clone(), profile: args.profile.clone() };
            Ok(RelayKind::Build(BuildCredential::Signature(Signer::new(&login).await?)))
        }
        None => Ok(RelayKind::Guest),
    }
}

/// Warns of an address that other machines reach, and refuses it to a build relay unless the operator asked
/// for it.
fn check_reach(address: SocketAddr, role: &RelayKind, anyone_may_register: bool) -> Result<(), Failure> {
    match role {
        RelayKind::Guest if anyone_may_register => {
            let error = anyhow!(
                "--anyone-may-register is for a build relay, and nobody can register through a guest relay"
            );
            return Err(Failure::new(Exit::Usage, error)
                .hint("add --sign or --token-file, or remove --anyone-may-register"));
        }
        _ if address.ip().is_loopback() => {}
        RelayKind::Guest => tracing::warn!(
            %address,
            "NOT ON THE LOOPBACK: anybody who reaches this address can ask the broker through it, and \
             nothing on this side is encrypted"
        ),
        RelayKind::Build(_) if !anyone_may_register => {
            let error = anyhow!("anybody who reaches {address} could register in this relay's name");
            return Err(Failure::new(Exit::Usage, error)
                .hint("listen on the loopback, or add --anyone-may-register if you want that"));
        }
        RelayKind::Build(_) => tracing::warn!(
            %address,
            "ANYONE MAY REGISTER: anybody who reaches this address can register in this relay's name, and \
             passphrases pass here unencrypted"
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
