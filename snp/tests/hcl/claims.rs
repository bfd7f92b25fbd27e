//! The claims: which 64 bytes of the guest they carry.

use data_encoding::{HEXLOWER, HEXUPPER};
use keybroker_simulator::paravisor;
use keybroker_snp::hcl::{HclError, HclReport};

use crate::{MACHINE, USER_DATA};

fn user_data(claims: &[u8]) -> Result<[u8; 64], HclError> {
    let blob = paravisor::blob(&MACHINE.report([0; 64]), claims);
    HclReport::parse(&blob).unwrap().user_data()
}

#[test]
fn user_data_is_read_in_hex_of_either_case() {
    let (lower, upper) = (HEXLOWER.encode(&USER_DATA), HEXUPPER.encode(&USER_DATA));
    let mixed = lower[..7].to_owned() + &upper[7..];
    for claims in [
        paravisor::claims(Some(&USER_DATA)),
        format!(r#"{{"user-data":"{upper}"}}"#),
        format!(r#"{{"user-data":"{mixed}"}}"#),
        format!(" {{ \"a\" : [1.5e3, null] , \"user-data\":\n\"{lower}\" }} "),
        format!(r#"{{"user\u002ddata":"\u00{:02x}{}"}}"#, lower.as_bytes()[0], &lower[1..]),
        format!(r#"{{"user-data":"{lower}","vm-configuration":{{"user-data":"00"}}}}"#),
        format!(r#"{{"user-data":"{lower}","a":{}{}}}"#, "[".repeat(500), "]".repeat(500)),
        format!(r#"{{"user_data":"00","User-Data":"00","user-data":"{lower}"}}"#),
    ] {
        assert_eq!(user_data(claims.as_bytes()), Ok(USER_DATA), "{claims}");
    }
    assert_eq!(user_data(paravisor::claims(Some(&[0; 64])).as_bytes()), Ok([0; 64]));
}

#[test]
fn every_defect_has_its_error() {
    let hex = HEXLOWER.encode(&USER_DATA);
    let rows: Vec<(String, HclError)> = vec![
        (String::new(), HclError::ClaimsSyntax),
        (format!(r#"{{"user-data":"{hex}""#), HclError::ClaimsSyntax),
        (format!(r#"{{"user-data":"{hex}"}}{{}}"#), HclError::ClaimsSyntax),
        (format!(r#"{{"user-data":"{hex}"}}x"#), HclError::ClaimsSyntax),
        (format!("{{\"user-data\":\"{hex}\"}}\0"), HclError::ClaimsSyntax),
        (format!(r#"{{'user-data':'{hex}'}}"#), HclError::ClaimsSyntax),
        (format!("\u{feff}{{\"user-data\":\"{hex}\"}}"), HclError::ClaimsSyntax),
        (format!(r#"{{"user-data":"{hex}","a":{}}}"#, "[".repeat(1000)), HclError::ClaimsSyntax),
        (format!(r#"["{hex}"]"#), HclError::ClaimsForm),
        (format!(r#"[{{"user-data":"{hex}"}}]"#), HclError::ClaimsForm),
        (format!(r#""{hex}""#), HclError::ClaimsForm),
        ("null".to_owned(), HclError::ClaimsForm),
        ("17".to_owned(), HclError::ClaimsForm),
        ("{}".to_owned(), HclError::NoUserData),
        (paravisor::claims(None), HclError::NoUserData),
        (format!(r#"{{"vm-configuration":{{"user-data":"{hex}"}}}}"#), HclError::NoUserData),
        (format!(r#"{{"User-Data":"{hex}"}}"#), HclError::NoUserData),
        (format!(r#"{{"user-data":"{hex}","user-data":"{hex}"}}"#), HclError::UserDataTwice),
        (format!(r#"{{"user-data":"{hex}","user\u002ddata":null}}"#), HclError::UserDataTwice),
        (format!(r#"{{"user-data":[],"keys":[],"user-data":"{hex}"}}"#), HclError::UserDataTwice),
        (r#"{"user-data":null}"#.to_owned(), HclError::UserDataForm),
        (r#"{"user-data":""}"#.to_owned(), HclError::UserDataForm),
        (format!(r#"{{"user-data":["{hex}"]}}"#), HclError::UserDataForm),
        (format!(r#"{{"user-data":"{}"}}"#, &hex[2..]), HclError::UserDataForm),
        (format!(r#"{{"user-data":"{}"}}"#, &hex[1..]), HclError::UserDataForm),
        (format!(r#"{{"user-data":"{hex}00"}}"#), HclError::UserDataForm),
        (format!(r#"{{"user-data":" {}"}}"#, &hex[1..]), HclError::UserDataForm),
        (format!(r#"{{"user-data":"0x{}"}}"#, &hex[2..]), HclError::UserDataForm),
        (format!(r#"{{"user-data":"g{}"}}"#, &hex[1..]), HclError::UserDataForm),
        (format!(r#"{{"user-data":"ａ{}"}}"#, &hex[3..]), HclError::UserDataForm),
    ];
    for (claims, expected) in rows {
        assert_eq!(user_data(claims.as_bytes()), Err(expected), "{claims}");
    }
    let mut not_utf8 = format!(r#"{{"user-data":"{hex}"}}"#).into_bytes();
    not_utf8[14] = 0xFF;
    assert_eq!(user_data(&not_utf8), Err(HclError::ClaimsSyntax));
}
