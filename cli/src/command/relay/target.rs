//! The broker that a relay leads to.

use std::{fmt, net::IpAddr};

use keybroker_common::http::Route;
use reqwest::Url;

/// The base URL of a broker, over a connection that nobody else can read: TLS, or this machine's loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target(Url);

impl Target {
    /// Reads a base URL. A URL must hold no credentials: they come from files and AWS's own chain.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL")?;
        let target = Self(url);
        let url = &target.0;
        match url.scheme() {
            "https" => {}
            "http" if target.is_loopback() => {}
            "http" => return Err("must be https, unless it is on the loopback"),
            _ => return Err("must begin with https://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no user and no password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must hold neither ? nor #");
        }
        Ok(target)
    }

    /// Whether the host is this machine, by its address or by the one name that always means it.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The URL of `path`, which matched `route`, with `prefix` before it. `None` if it would lead to another
    /// route: a URL drops `.` and `..` from its path, however they are spelt, and takes `\` for `/`.
    pub(super) fn url(&self, prefix: &str, route: &Route, path: &str) -> Option<Url> {
        let base = self.0.path().trim_end_matches('/');
        let mut url = self.0.clone();
        url.set_path(&[base, prefix, path].concat());
        let path = url.path().strip_prefix(&[base, prefix].concat())?;
        let leads = route.path.split('/').count() == path.split('/').count()
            && route
                .path
                .split('/')
                .zip(path.split('/'))
                .all(|(own, asked)| if own.starts_with('{') { !asked.is_empty() } else { own == asked });
        leads.then_some(url)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use keybroker_common::http::ROUTES;

    use super::*;

    fn route(path: &str) -> Route {
        ROUTES.into_iter().find(|route| route.path == path).unwrap()
    }

    fn url(to: &str, prefix: &str, template: &str, path: &str) -> Option<String> {
        Target::parse(to).unwrap().url(prefix, &route(template), path).map(String::from)
    }

    const KEY: &str = "/kbs/v0/key/{workload_id}";
    const AUTH: &str = "/kbs/v0/auth";

    #[test]
    fn tls_or_the_loopback() {
        for to in [
            "https://k.example.org",
            "https://k.example.org:8443/prod/",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:8080",
            "http://localhost:8080/base",
        ] {
            assert!(Target::parse(to).is_ok(), "{to}");
        }
        for to in [
            "http://k.example.org",
            "http://10.0.0.1",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "ftp://127.0.0.1",
            "k.example.org",
            "127.0.0.1:8080",
            "https://user@k.example.org",
            "https://user:password@k.example.org",
            "https://:password@k.example.org",
            "https://k.example.org?a=b",
            "https://k.example.org/#a",
            "https://",
            "",
        ] {
            assert!(Target::parse(to).is_err(), "{to}");
        }
    }

    #[test]
    fn a_base_path_is_kept_and_a_slash_at_its_end_is_none() {
        for (to, expected) in [
            ("https://k.example.org", "https://k.example.org/kbs/v0/auth"),
            ("https://k.example.org/", "https://k.example.org/kbs/v0/auth"),
            ("https://k.example.org/prod", "https://k.example.org/prod/kbs/v0/auth"),
            ("https://k.example.org:8443/a/b//", "https://k.example.org:8443/a/b/kbs/v0/auth"),
        ] {
            assert_eq!(url(to, "", AUTH, AUTH).as_deref(), Some(expected));
        }
        let register = "/kbs/v0/register_workload";
        let signed = url("https://k.example.org/prod", "/iam", register, register);
        assert_eq!(signed.as_deref(), Some("https://k.example.org/prod/iam/kbs/v0/register_workload"));
    }

    #[test]
    fn an_id_is_passed_on_as_it_was_written() {
        for id in ["web", &"0".repeat(64), "a%20b", "a%2Fb", "%C3%A4", "a:b@c;d=e", "...", "%2e%2e%2e"] {
            let path = format!("/kbs/v0/key/{id}");
            assert_eq!(url("https://k", "", KEY, &path), Some(format!("https://k{path}")));
        }
    }

    #[test]
    fn a_path_may_have_several_parameters() {
        let (auth, resource) = ("/w/{workload_id}/kbs/v0/auth", "/kbs/v0/resource/{repository}/{type}/{tag}");
        for (template, path) in [
            (auth, "/w/web/kbs/v0/auth"),
            (auth, "/w/%C3%A4/kbs/v0/auth"),
            (resource, "/kbs/v0/resource/default/key/tls"),
            (resource, "/kbs/v0/resource/kbs/v0/auth"),
        ] {
            assert_eq!(url("https://k/prod", "", template, path), Some(format!("https://k/prod{path}")));
        }
        for (template, path) in [
            (auth, "/w/../kbs/v0/auth"),
            (auth, "/w//kbs/v0/auth"),
            (auth, "/w/%2e%2e/kbs/v0/auth"),
            (auth, r"/w/a\b/kbs/v0/auth"),
            (auth, "/w/web/kbs/v0/attest"),
            (auth, "/w/web/kbs/v0/auth/"),
            (resource, "/kbs/v0/resource/a/../b"),
            (resource, "/kbs/v0/resource/%2e%2e/%2E/auth"),
            (resource, r"/kbs/v0/resource/a/..\..\..\key/web"),
        ] {
            assert_eq!(url("https://k/prod", "", template, path), None, "{path}");
        }
    }

    #[test]
    fn no_id_leads_to_another_route() {
        for id in [
            ".",
            "..",
            "%2e",
            "%2E%2e",
            ".%2e",
            r"..\..\v0\register_workload",
            r"..\key\..\register_workload",
            r"a\b",
            r"\",
        ] {
            assert_eq!(url("https://k/prod", "", KEY, &format!("/kbs/v0/key/{id}")), None, "{id}");
        }
    }
}
