//! `POST /kbs/v0/register_workload`, as buildah sends it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

use super::super::{
    Invalid, Part,
    json::{self, SecretText},
};
use crate::{
    broker::{Credential, RegisterRequest, Registered},
    dialect::Dialect,
    ids::WorkloadId,
    requirements::{Abi, AppraisalPolicy, Measurement, ReferenceValues},
    secret::{PASSPHRASE, Secret},
};

/// Longest passphrase, in bytes: what PKCS#1 v1.5 fits into a guest's RSA-2048 key.
const PASSPHRASE_MAX_LEN: usize = 245;

/// Hex digits of a SEV or SEV-ES measurement: a SHA-256, where SEV-SNP has a SHA-384.
const SEV_MEASUREMENT_DIGITS: usize = 64;

/// A workload that buildah has built.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    workload_id: String,
    /// The launch measurement that the guest's report must have: a SHA-384, in hex.
    launch_measurement: String,
    /// The secret that the guest gets: UTF-8 without NUL. Its length counts in bytes.
    passphrase: SecretText,
    /// The permitted guest policy: JSON in a string.
    tee_config: String,
}

/// The guest policy as buildah describes it. libkrun launches with a stricter one: see [`policy_of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TeeConfig {
    /// Bits of the guest policy.
    #[serde(deserialize_with = "json::object")]
    flags: Flags,
    /// The lowest ABI version that the guest policy must demand.
    #[serde(deserialize_with = "json::object")]
    minfw: MinimumFirmware,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flags {
    /// Bit 0 lets the guest run with SMT. Bits 2 and 3 (MIGRATE_MA, DEBUG) permit nothing, whatever they say.
    bits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinimumFirmware {
    /// ABI_MAJOR.
    major: u8,
    /// ABI_MINOR.
    minor: u8,
}

impl TeeConfig {
    /// Symmetric multithreading may be on.
    const SMT: u32 = 1;
    /// All that SEV-SNP knows: SMT 1, reserved 2, MIGRATE_MA 4, DEBUG 8.
    const KNOWN: u32 = 15;

    fn read(text: &str) -> Result<Self, Invalid> {
        let config: Self = json::read(Part::TeeConfig, text.as_bytes())?;
        if config.flags.bits & !Self::KNOWN == 0 { Ok(config) } else { Err(Invalid::TeeConfigBits) }
    }
}

/// Reads a registration.
pub fn register_request(body: &[u8]) -> Result<RegisterRequest, Invalid> {
    let body: Body = json::read(Part::Body, body)?;
    Ok(RegisterRequest {
        workload_id: WorkloadId::new(body.workload_id)?,
        dialects: Dialect::Libkrun.into(),
        credential: Credential::None,
        reference_values: ReferenceValues { measurements: vec![measurement(&body.launch_measurement)?] },
        policy: policy_of(TeeConfig::read(&body.tee_config)?),
        rego: None,
        secrets: BTreeMap::from([(PASSPHRASE.to_owned(), passphrase(body.passphrase.0)?)]),
    })
}

/// The registration's requirements on the guest policy.
///
/// `tee_config` *allows* DEBUG and MIGRATE_MA (bits 15), yet libkrun launches without them, and the launch
/// measurement does not cover them: appraisal refuses both, whatever is written here.
fn policy_of(config: TeeConfig) -> AppraisalPolicy {
    let MinimumFirmware { major, minor } = config.minfw;
    AppraisalPolicy {
        forbid_smt: config.flags.bits & TeeConfig::SMT == 0,
        minimum_abi: (major != 0 || minor != 0).then_some(Abi { major, minor }),
        ..AppraisalPolicy::default()
    }
}

fn measurement(hex: &str) -> Result<Measurement, Invalid> {
    if hex.is_empty() {
        return Err(Invalid::MeasurementEmpty);
    }
    let digest = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| Invalid::Measurement)?;
    if hex.len() == SEV_MEASUREMENT_DIGITS {
        return Err(Invalid::MeasurementOfSev);
    }
    digest.try_into().map(Measurement).map_err(|_| Invalid::Measurement)
}

fn passphrase(secret: Secret) -> Result<Secret, Invalid> {
    if !(1..=PASSPHRASE_MAX_LEN).contains(&secret.expose().len()) {
        return Err(Invalid::PassphraseLength);
    }
    if secret.expose().contains(&0) {
        return Err(Invalid::PassphraseNul);
    }
    Ok(secret)
}

/// The answer to a registration. buildah reads the status alone; the body is for people who try with curl.
pub fn registered(registered: &Registered) -> Vec<u8> {
    format!(r#"{{"id":"{}"}}"#, registered.id).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Fault, FieldName},
        *,
    };
    use crate::ids::WorkloadIdError;

    const MEASUREMENT: &str =
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f";
    const TEE_CONFIG: &str = r#"{"flags":{"bits":15},"minfw":{"major":0,"minor":0}}"#;

    fn body(id: &str, measurement: &str, passphrase: &str, tee_config: &str) -> Vec<u8> {
        let [id, measurement, passphrase, tee_config] =
            [id, measurement, passphrase, tee_config].map(|text| serde_json::to_string(text).unwrap());
        format!(
            r#"{{"workload_id":{id},"launch_measurement":{measurement},"passphrase":{passphrase},"tee_config":{tee_config}}}"#
        )
        .into_bytes()
    }

    fn refusal(body: &[u8]) -> Invalid {
        register_request(body).unwrap_err()
    }

    fn fault(part: Part, fault: Fault) -> Invalid {
        Invalid::Json { part, fault }
    }

    #[test]
    fn a_request_from_buildah_is_read() {
        let request = register_request(&body("web", MEASUREMENT, "open sesame", TEE_CONFIG)).unwrap();
        assert_eq!(request.workload_id.as_str(), "web");
        assert_eq!(request.dialects, Dialect::Libkrun.into());
        let expected: [u8; 48] = std::array::from_fn(|index| index as u8);
        assert_eq!(request.reference_values.measurements, [Measurement(expected)]);
        assert_eq!(request.secrets.keys().collect::<Vec<_>>(), [PASSPHRASE]);
        assert_eq!(request.secrets[PASSPHRASE].expose(), b"open sesame");
    }

    #[test]
    fn an_escaped_passphrase_is_taken_as_it_is_meant() {
        let request = register_request(&body("web", MEASUREMENT, "a\"\\\u{1}é", TEE_CONFIG)).unwrap();
        assert_eq!(request.secrets[PASSPHRASE].expose(), "a\"\\\u{1}é".as_bytes());
    }

    #[test]
    fn a_measurement_may_have_upper_case_digits() {
        assert!(register_request(&body("web", &MEASUREMENT.to_uppercase(), "p", TEE_CONFIG)).is_ok());
    }

    #[test]
    fn a_measurement_of_sev_is_refused_as_such() {
        assert_eq!(refusal(&body("web", &MEASUREMENT[..64], "p", TEE_CONFIG)), Invalid::MeasurementOfSev);
    }

    #[test]
    fn no_measurement_at_all_is_refused_as_such() {
        assert_eq!(refusal(&body("web", "", "p", TEE_CONFIG)), Invalid::MeasurementEmpty);
    }

    #[test]
    fn any_other_measurement_is_refused() {
        let not_hex = MEASUREMENT.replace('0', "g");
        for text in
            [&MEASUREMENT[..94], &MEASUREMENT[..95], &format!("{MEASUREMENT}00"), &not_hex, &not_hex[..64]]
        {
            assert_eq!(refusal(&body("web", text, "p", TEE_CONFIG)), Invalid::Measurement, "{text}");
        }
    }

    #[test]
    fn a_passphrase_has_1_to_245_bytes() {
        for length in [1, 245] {
            assert!(register_request(&body("web", MEASUREMENT, &"p".repeat(length), TEE_CONFIG)).is_ok());
        }
        for text in [String::new(), "p".repeat(246), "é".repeat(123)] {
            assert_eq!(refusal(&body("web", MEASUREMENT, &text, TEE_CONFIG)), Invalid::PassphraseLength);
        }
    }

    #[test]
    fn a_passphrase_with_a_nul_byte_is_refused() {
        assert_eq!(refusal(&body("web", MEASUREMENT, "a\0b", TEE_CONFIG)), Invalid::PassphraseNul);
    }

    #[test]
    fn an_id_that_no_guest_could_send_is_refused() {
        let refused = |id: &str| refusal(&body(id, MEASUREMENT, "p", TEE_CONFIG));
        assert_eq!(refused(""), Invalid::WorkloadId(WorkloadIdError::Empty));
        assert_eq!(refused(&"w".repeat(257)), Invalid::WorkloadId(WorkloadIdError::TooLong));
        assert_eq!(refused("a/b"), Invalid::WorkloadId(WorkloadIdError::Unprintable));
        assert_eq!(refused("a\u{7}b"), Invalid::WorkloadId(WorkloadIdError::Unprintable));
        // Zero-width space and joiner, right-to-left override, isolate, soft hyphen, byte order mark, a tag.
        for c in "\u{200b}\u{200d}\u{202e}\u{2066}\u{ad}\u{feff}\u{e0061}".chars() {
            let id = format!("a{c}b");
            assert_eq!(
                refused(&id),
                Invalid::WorkloadId(WorkloadIdError::Invisible),
                "{}",
                c.escape_unicode()
            );
        }
    }

    fn config(bits: u32, major: u32) -> String {
        format!(r#"{{"flags":{{"bits":{bits}}},"minfw":{{"major":{major},"minor":51}}}}"#)
    }

    fn policy(tee_config: &str) -> AppraisalPolicy {
        register_request(&body("web", MEASUREMENT, "p", tee_config)).unwrap().policy
    }

    #[test]
    fn bits_that_buildah_allows_require_nothing() {
        assert_eq!(policy(TEE_CONFIG), AppraisalPolicy::default());
    }

    #[test]
    fn a_tee_config_without_smt_forbids_it() {
        let bits_14 = TEE_CONFIG.replace("15", "14");
        assert_eq!(policy(&bits_14), AppraisalPolicy { forbid_smt: true, ..AppraisalPolicy::default() });
    }

    #[test]
    fn a_minimum_of_firmware_is_a_minimum_of_abi() {
        let minimum_abi = Some(Abi { major: 1, minor: 51 });
        assert_eq!(policy(&config(15, 1)), AppraisalPolicy { minimum_abi, ..AppraisalPolicy::default() });
    }

    #[test]
    fn flags_that_snp_does_not_know_are_refused() {
        for bits in [16, 59, 63, u32::MAX] {
            assert_eq!(TeeConfig::read(&config(bits, 0)), Err(Invalid::TeeConfigBits), "{bits}");
        }
    }

    #[test]
    fn a_tee_config_of_another_form_is_refused() {
        let refused = |text: &str| TeeConfig::read(text).unwrap_err();
        let part = Part::TeeConfig;
        assert_eq!(refused(""), fault(part, Fault::Syntax));
        assert_eq!(refused(&config(15, 256)), fault(part, Fault::Type));
        assert_eq!(
            refused(r#"{"flags":{"bits":15}}"#),
            fault(part, Fault::MissingField(FieldName::new("minfw")))
        );
        assert_eq!(
            refused(r#"{"flags":{"bits":15,"bits":7},"minfw":{"major":0,"minor":0}}"#),
            fault(part, Fault::DuplicateField(FieldName::new("bits")))
        );
        assert_eq!(
            refused(r#"{"flags":{"bits":15},"minfw":{"major":0,"minor":0},"x":0}"#),
            fault(part, Fault::UnknownField(FieldName::new("x")))
        );
        for array in
            [r#"{"flags":[15],"minfw":{"major":0,"minor":0}}"#, r#"{"flags":{"bits":15},"minfw":[0,0]}"#]
        {
            assert_eq!(refused(array), fault(part, Fault::Type), "{array}");
        }
        let whole = body("web", MEASUREMENT, "p", "{}");
        assert_eq!(refusal(&whole), fault(part, Fault::MissingField(FieldName::new("flags"))));
    }

    #[test]
    fn a_body_of_another_form_is_refused() {
        let body = body("web", MEASUREMENT, "p", TEE_CONFIG);
        let text = std::str::from_utf8(&body).unwrap();
        let refused = |text: &str| refusal(text.as_bytes());
        assert_eq!(
            refused(&text.replacen('{', r#"{"passphrase":"q","#, 1)),
            fault(Part::Body, Fault::DuplicateField(FieldName::new("passphrase")))
        );
        assert_eq!(
            refused(&text.replacen('{', r#"{"owner":"q","#, 1)),
            fault(Part::Body, Fault::UnknownField(FieldName::new("owner")))
        );
        assert_eq!(refused(&text.replace(r#""p""#, "7")), fault(Part::Body, Fault::Type));
        assert_eq!(refused(&text[..text.len() - 1]), fault(Part::Body, Fault::Syntax));
    }
}
