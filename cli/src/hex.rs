//! Hex digits on a command line.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use keybroker_common::{encoding::Hex, requirements::Measurement};

/// `text` without the `0x` that snpguest and others print in front.
pub(crate) fn digits(text: &str) -> &str {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}

/// `N` bytes in `2 N` digits.
pub(crate) fn parse<const N: usize>(text: &str) -> Result<Hex<N>, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits(text).as_bytes()).map_err(|_| "not hex".to_owned())?;
    bytes.try_into().map(Hex).map_err(|_| format!("not {} hex digits", 2 * N))
}

/// `N` bytes in `2 N` digits, or in base64, as HOST_DATA is printed beside them. snpguest prints base64 of
/// the digits. A text of hex digits alone is hex: 64 digits, a digest of 32 bytes, would be base64 of 48 as
/// well.
pub(crate) fn parse_or_base64<const N: usize>(text: &str) -> Result<Hex<N>, String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let decoded = if is_hex { None } else { BASE64.decode(text.as_bytes()).ok() };
    let Some(decoded) = decoded else { return parse(text) };
    let of_digits = || std::str::from_utf8(&decoded).ok().and_then(|text| parse(text).ok());
    match decoded.as_slice().try_into() {
        Ok(bytes) => Ok(Hex(bytes)),
        Err(_) => of_digits().map_or_else(|| parse(text), Ok),
    }
}

/// A launch measurement, in hex or base64. Zeros are none: no launch has them.
pub(crate) fn measurement(text: &str) -> Result<Measurement, String> {
    let measurement = parse_or_base64::<48>(text).map_err(|_| "not 96 hex digits or base64 of 48 bytes")?;
    if measurement.0 == [0; 48] {
        return Err("all zeros".to_owned());
    }
    Ok(Measurement(measurement.0))
}

/// The digits of a digest in the form that the broker takes. Any other text stays as it is, and the broker
/// refuses it.
pub(crate) fn digest(text: &str) -> Result<String, std::convert::Infallible> {
    let plain = digits(text);
    let is_digest = plain.len() >= 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(if is_digest { plain } else { text }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_may_have_0x_in_front() {
        for text in ["0xab01", "0XAB01", "ab01", "AB01"] {
            assert_eq!(parse::<2>(text), Ok(Hex([0xAB, 1])), "{text}");
        }
        for text in ["", "0x", "0x0xab01", "ab0", "ab 01", "ab0101", "x0ab01", "\u{feff}ab01"] {
            assert!(parse::<2>(text).is_err(), "{text}");
        }
        let plain = "ab".repeat(16);
        assert_eq!(digest(&format!("0x{plain}")), Ok(plain.clone()));
        // No digest: 16 as a number is not 10.
        for text in ["0x10", "true", "0x", &format!("0xg{plain}")] {
            assert_eq!(digest(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn host_data_may_be_base64_as_it_is_printed() {
        let bytes = [0xAB; 32];
        assert_eq!(parse_or_base64::<32>(&BASE64.encode(&bytes)), Ok(Hex(bytes)));
        assert_eq!(parse_or_base64::<32>(&format!("0x{}", "ab".repeat(32))), Ok(Hex(bytes)));
        assert!(parse_or_base64::<32>("q6urqw==").is_err());
    }

    #[test]
    fn a_measurement_is_read_as_the_tools_print_it() {
        let (bytes, digits) = ([0xAB; 48], "ab".repeat(48));
        for text in [
            digits.clone(),
            digits.to_uppercase(),
            format!("0x{digits}"),
            BASE64.encode(&bytes),
            BASE64.encode(digits.as_bytes()),
        ] {
            assert_eq!(measurement(&text), Ok(Measurement(bytes)), "{text}");
        }
        let zeros = "0".repeat(96);
        let short = &digits[1..];
        // As of a guest of SEV-ES.
        let half = &digits[..64];
        for text in
            ["", "0x", short, half, &zeros, &BASE64.encode(&[0; 48]), &BASE64.encode(short.as_bytes())]
        {
            assert!(measurement(text).is_err(), "{text}");
        }
    }
}
