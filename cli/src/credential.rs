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

/// A word as it may be repeated. A password may have any character, so all up to the last `@` counts as one.
fn of_word(word: &str) -> String {
    let Some((before, host)) = word.rsplit_once('@') else { return word.to_owned() };
    let kept = match before.split_once("://") {
        Some((scheme, _)) => scheme.len() + "://".len(),
        None => match before.rsplit_once(':') {
            Some((user, password)) if has_form(password) => user.len() + ":".len(),
            _ => return word.to_owned(),
        },
    };
    format!("{}…@{host}", before.get(..kept).unwrap_or_default())
}

/// Whether `password` may be a token: in a URL without its scheme nothing else tells.
fn has_form(password: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    password.len() == TokenText::LEN && password.bytes().all(of_token)
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
            ("x:Zm9vYmFyYmF6-_@k.example.org", "x:…@k.example.org"),
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
            "",
        ] {
            assert_eq!(hidden(text), text);
        }
    }
}
