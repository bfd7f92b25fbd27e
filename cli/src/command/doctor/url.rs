//! The length that a workload's id may have behind a base URL.

use keybroker_common::http::guest_url::{MAX_LEN, room_for_id};

use super::finding::Finding;
use crate::counted::counted;

/// Characters of the userinfo that a token adds: `x:`, 14 characters and `@`.
const TOKEN_USERINFO: usize = "x:".len() + 14 + "@".len();
/// Characters of the ids that buildah generates.
const DEFAULT_ID: i64 = 64;
const CHECK: &str = "url";
/// A part of each name that AWS gives an API.
const OF_AWS: &str = ".execute-api.";
/// The advice about a slash at the end. buildah removes it when it registers, and leaves it in the image.
const SLASH: &str = "remove the slash at the end: it takes a character, and guests then ask for //kbs/v0/…. \
                     keybroker answers that, but Amazon API Gateway may find no route for it and answer 404";

/// The room for the id: libkrun's guest has 99 characters for the URL of its key.
pub(super) fn budget(url: &str) -> Finding {
    let Some((secure, rest)) = split(url) else {
        return Finding::fail(
            CHECK,
            format!("{url} is no base URL"),
            "give scheme and host, and a port or path if there is one: http://127.0.0.1:8000",
        );
    };
    if rest.contains(['?', '#']) {
        return Finding::fail(
            CHECK,
            format!("{url} has a query"),
            "remove the query: a guest appends its path to the URL",
        );
    }
    let with_userinfo = rest.contains('@');
    // A guest removes nothing from the URL.
    let room = room_for_id(url.len());
    let with_token = if with_userinfo { room } else { room_for_id(url.len() + TOKEN_USERINFO) };
    let mut finding = format!("{url} leaves {} for a workload's id", counted(room.max(0), "character"));
    if !with_userinfo {
        finding += &format!(", {} with a token in the URL", with_token.max(0));
    }
    let shorter = "give the broker a shorter name, or use a relay on the host: http://127.0.0.1:8000";
    if room < 1 {
        return Finding::fail(
            CHECK,
            format!("{finding}: libkrun's guest has {MAX_LEN} characters for the whole URL"),
            shorter,
        );
    }
    let mut advice = Vec::new();
    if room < DEFAULT_ID {
        advice.push(format!(
            "buildah's own ids have {DEFAULT_ID} characters: build with a shorter one (-w), or {shorter}"
        ));
    }
    if url.ends_with('/') {
        advice.push(SLASH.to_owned());
    }
    if secure {
        advice.push(
            "krun's stock guest has no TLS roots, so https fails in it: use a relay on the host, or \
             add roots to the guest"
                .to_owned(),
        );
    }
    if rest.contains(OF_AWS) {
        advice.push(
            "AWS gave the API this name: nothing answers under it where the functions' stack has \
             DisableExecuteApiEndpoint=yes, so build with its DomainName there"
                .to_owned(),
        );
    }
    if advice.is_empty() {
        Finding::ok(CHECK, finding)
    } else {
        Finding::warn(CHECK, finding, advice.join("; "))
    }
}

/// Whether it is https, and what follows the scheme.
fn split(url: &str) -> Option<(bool, &str)> {
    let (secure, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://")?),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let sound = !host.is_empty() && rest.chars().all(|c| c.is_ascii_graphic());
    sound.then_some((secure, rest))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn a_base_url_leaves_so_much_for_the_id() {
        for (url, verdict, said) in [
            // 21 characters: 66 are left, and 49 beside a token.
            (
                "http://127.0.0.1:8000",
                Severity::Ok,
                "leaves 66 characters for a workload's id, 49 with a token",
            ),
            ("http://kb-1.example.com", Severity::Ok, "leaves 64"),
            ("http://kb-10.example.com", Severity::Warn, "leaves 63"),
            ("http://x:aaaaaaaaaaaaaa@h", Severity::Warn, "leaves 62 characters for a workload's id"),
            (
                "http://127.0.0.1:8000/",
                Severity::Warn,
                "leaves 65 characters for a workload's id, 48 with a token",
            ),
            ("http://127.0.0.1:8000//", Severity::Warn, "leaves 64"),
            ("http://127.0.0.1:8000/base/", Severity::Warn, "leaves 60"),
            (
                "https://abcdefghij.execute-api.us-east-1.amazonaws.com",
                Severity::Warn,
                "leaves 33 characters for a workload's id, 16 with",
            ),
            ("https://kb", Severity::Warn, "leaves 77"),
            ("ftp://h", Severity::Fail, "no base URL"),
            ("http://", Severity::Fail, "no base URL"),
            ("http://u@", Severity::Fail, "no base URL"),
            ("kb.example.com", Severity::Fail, "no base URL"),
            ("http://h?x", Severity::Fail, "has a query"),
        ] {
            let found = budget(url);
            assert!(found.verdict == verdict && found.finding.contains(said), "{found:?}");
        }
    }

    #[test]
    fn a_slash_at_the_end_is_told_with_what_api_gateway_does() {
        let advice = |url| budget(url).advice.unwrap_or_default();
        for url in ["http://127.0.0.1:8000/", "http://127.0.0.1:8000/base/", "https://k.example.org//"] {
            let said = advice(url);
            assert!(said.contains("//kbs/v0/") && said.contains("API Gateway"), "{url}: {said}");
        }
        assert!(!advice("http://127.0.0.1:8000/base").contains("slash"));
    }

    #[test]
    fn aws_own_name_of_an_api_may_be_closed() {
        let advice = |url| budget(url).advice.unwrap_or_default();
        let closed = "DisableExecuteApiEndpoint";
        assert!(advice("https://abcdefghij.execute-api.us-east-1.amazonaws.com").contains(closed));
        assert!(!advice("https://kb.example.com").contains(closed));
    }

    #[test]
    fn a_url_that_leaves_nothing_fails() {
        let url = format!("http://{}", "h".repeat(80));
        assert_eq!(budget(&url).verdict, Severity::Fail);
        let url = format!("http://{}", "h".repeat(79));
        assert_eq!(budget(&url).verdict, Severity::Warn);
    }
}
