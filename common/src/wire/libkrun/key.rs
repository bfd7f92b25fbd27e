//! `GET /kbs/v0/key/{workload id}`, as libkrun's guest reads it.

use data_encoding::HEXLOWER;

/// The answer's body: the ciphertext in lower-case hex, between two quotes.
///
/// libkrun's guest copies the body with `strcpy`, so that bytes of an earlier body may follow it; the NUL
/// ends it. It is for that client alone, which is known by sending no User-Agent: to others it would be a
/// fault in the JSON.
pub fn released(ciphertext: &[u8], nul_terminated: bool) -> Vec<u8> {
    let end = if nul_terminated { "\"\0" } else { "\"" };
    format!("\"{}{end}", HEXLOWER.encode(ciphertext)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hex_between_quotes_and_nothing_else() {
        assert_eq!(released(&[0x00, 0xab, 0xff], false), b"\"00abff\"");
    }

    #[test]
    fn one_nul_follows_for_the_guest_that_needs_it() {
        assert_eq!(released(&[0x00, 0xab, 0xff], true), b"\"00abff\"\0");
    }
}
