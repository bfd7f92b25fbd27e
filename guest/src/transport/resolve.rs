//! Names to addresses, without the C library: a static program cannot load what it would ask.
//!
//! The servers to ask are read at every attempt, because the network may come up in between.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};

use crate::root::Root;

/// Where a system writes its name servers: the C library's file, and those of what sets up a network in an
/// initrd.
const FILES: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/resolv.conf"];
/// Addresses of one name that are tried.
const MOST: usize = 8;

/// Why a name leads to no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No file names a server.
    #[error("no name server is known: is the network up?")]
    NoServer,
    /// The servers gave no address.
    #[error("the name {name} was not found: {why}")]
    NotFound {
        /// The name.
        name: String,
        /// The resolver's error.
        why: String,
    },
}

/// Resolves names as the files of a machine say.
#[derive(Debug, Clone)]
pub struct Resolver {
    root: Root,
}

impl Resolver {
    /// With the files of `root`.
    pub fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// The addresses of `host`, which may be one itself.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        // RFC 6761: the name is this machine's everywhere.
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let not_found = |why: &dyn std::fmt::Display| ResolveError::NotFound {
            name: host.to_owned(),
            why: why.to_string(),
        };
        let (config, mut options) = self.config().ok_or(ResolveError::NoServer)?;
        (options.timeout, options.attempts) = (Duration::from_secs(2), 2);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| not_found(&error))?;
        let found = resolver.lookup_ip(host).await.map_err(|error| not_found(&error))?;
        Ok(found.iter().take(MOST).collect())
    }

    fn config(&self) -> Option<(ResolverConfig, ResolverOpts)> {
        let from_file = |file| parse_resolv_conf(fs::read(self.root.path(file)).ok()?).ok();
        FILES.into_iter().find_map(from_file).or_else(|| self.initramfs())
    }

    /// The files of klibc's ipconfig in an initramfs: /run/net-INTERFACE.conf, with IPV4DNS0='ADDRESS'.
    fn initramfs(&self) -> Option<(ResolverConfig, ResolverOpts)> {
        let mut servers = Vec::new();
        for file in fs::read_dir(self.root.path("/run")).ok()?.flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if !(name.starts_with("net-") || name.starts_with("net6-")) || !name.ends_with(".conf") {
                continue;
            }
            servers.extend(name_servers(&fs::read_to_string(file.path()).unwrap_or_default()));
        }
        if servers.is_empty() {
            return None;
        }
        let servers = servers.into_iter().map(NameServerConfig::udp_and_tcp).collect();
        Some((ResolverConfig::from_parts(None, vec![], servers), ResolverOpts::default()))
    }
}

/// The servers of a file of klibc's ipconfig. It writes 0.0.0.0 for none.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let known = ["IPV4DNS0", "IPV4DNS1", "IPV6DNS0", "IPV6DNS1"].contains(&name.trim());
        let address: IpAddr = value.trim().trim_matches(['\'', '"']).parse().ok()?;
        (known && !address.is_unspecified()).then_some(address)
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_of_an_initramfs_are_read() {
        let text = "DEVICE='eth0'\nIPV4ADDR='10.0.2.15'\nIPV4DNS0='10.0.2.3'\nIPV4DNS1='0.0.0.0'\n";
        assert_eq!(name_servers(text), ["10.0.2.3".parse::<IpAddr>().unwrap()]);
    }
}
