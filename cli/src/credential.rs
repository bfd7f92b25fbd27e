//! A token or a password in a URL: `token create --url` prints one, and no message repeats it.

use keybroker_common::token::TokenText;

/// The advice about a token that was given where its URL or its id should stand.
pub(crate) const REVOKE: &str = "other users may have seen it in the list of processes, and it stands in the \
                                 shell's history. Revoke it: token revoke takes it with --token-file";

/// `text` with `…` in place of the user and the password of every URL in it.
pub(crate) fn hidden(text: &str) -> String {
    text.split_inclusive(|c: char| c.is_whitespace() || c.is_control()).map(of_word).collect()
}

/// Whether there is a user or a password in a URL in `text`.
pub(crate) fn is_in(text: &str) -> bool {
    hidden(text) != text
}

/// Prints the advice about the user and the password that [`hidden`] took out of a message.
pub(crate) fn advise() {
    say!("hint: … stands for a user and a password. If the password is a token: {REVOKE}");
}

/// A word as it may be repeated.
fn of_word(word: &str) -> String {
    let Some((before, host)) = word.rsplit_once('@') else { return word.to_owned() };
    let mut schemes = before.match_indices("://").map(|(at, scheme)| at + scheme.len());
    let of_url = schemes.find(|begin| word.get(*begin..).is_some_and(has_user));
    let mut users = word.match_indices('@').filter_map(|(at, _)| of_token(word.get(..at)?));
    let Some(kept) = of_url.or_else(|| users.next()) else { return word.to_owned() };
    format!("{}…@{host}", before.get(..kept).unwrap_or_default())
}

/// Whether there is a user in what follows a scheme. A host begins there otherwise, perhaps with a port. A
/// password that is not encoded may have any character, and makes what stands before it no port.
fn has_user(rest: &str) -> bool {
    let authority = rest.split(|c: char| "/?#\"'\\".contains(c)).next().unwrap_or_default();
    // An IPv6 address has colons of its own.
    let host = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    authority.contains('@') || !port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where a token begins that `before` ends with, perhaps as a user with a password: without a scheme its form
/// alone tells.
fn of_token(before: &str) -> Option<usize> {
    let as_user = before.rsplit_once(':').and_then(|(user, _)| ends_with_token(user));
    as_user.or_else(|| ends_with_token(before))
}

fn ends_with_token(before: &str) -> Option<usize> {
    let begin = before.len().checked_sub(TokenText::LEN)?;
    TokenText::parse(before.get(begin..)?.as_bytes())?;
    let apart = before.get(..begin)?;
    // A colour's sequence ends with a letter, and its beginning is a control character.
    let is_colour = apart.starts_with('[') && apart.ends_with('m');
    let is_longer = apart.ends_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (is_colour || !is_longer).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_and_no_password_is_repeated() {
        for (text, told) in [
            ("https://x:Zm9vYmFyYmF6-_@k.example.org/prod", "https://…@k.example.org/prod"),
            ("'https://Zm9vYmFyYmF6-_@k' is none", "'https://…@k' is none"),
            ("--broker \"http://u:p@ss/wo:rd@k?a\" must", "--broker \"http://…@k?a\" must"),
            ("\u{1b}[33mhttps://x:a@k\u{1b}[0m\nftp://b@c d", "\u{1b}[33mhttps://…@k\u{1b}[0m\nftp://…@c d"),
            ("x:Zm9vYmFyYmF6-g@k.example.org", "x:…@k.example.org"),
            ("'Zm9vYmFyYmF6-g@k.example.org'", "'…@k.example.org'"),
            ("\u{1b}[33mZm9vYmFyYmF6-g@k\u{1b}[0m", "\u{1b}[33m…@k\u{1b}[0m"),
            ("http://u:p/ss@k", "http://…@k"),
            ("Zm9vYmFyYmF6-g:@k.example.org", "…@k.example.org"),
            ("Zm9vYmFyYmF6-g:x@k.example.org", "…@k.example.org"),
            ("x:Zm9vYmFyYmF6-g@k.example.org/w/jo@b", "x:…@b"),
            (
                "{\"a\":\"https://k/a\",\"b\":\"https://u:p@k\"}",
                "{\"a\":\"https://k/a\",\"b\":\"https://…@k\"}",
            ),
        ] {
            assert_eq!(hidden(text), told);
            assert!(is_in(text) && !is_in(told), "{text}");
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in [
            "https://k.example.org/w/web, or ask operator@example.org",
            "arn:aws:sts::123456789012:assumed-role/Operator/jo@example.org",
            "keybroker@a.service: 3 guests",
            "platform-teams@example.org or some.Zm9vYmFyYmF6-g@example.org",
            "--query \"input.x==\\\"https://example.org/ns@v1\\\"\"",
            "s3://bucket/me@example.org/reg.json, docker://reg:5000/app@sha256:00, http://[::1]:80/a@b http://[fd00::ab]/a@b",
            "",
        ] {
            assert_eq!(hidden(text), text);
        }
    }
}
