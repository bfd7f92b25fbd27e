//! Demands on the platform, as a registration has them.

use keybroker_snp::product::Product;

use super::*;
use crate::platform::{BySilicon, ChipId, Condition, DemandError, FirmwareVersion, PlatformDemands, Version};

#[test]
fn floors_name_their_silicon() {
    let milan = json!({"boot_loader": 4, "tee": 0, "snp": 22, "microcode": 213});
    let turin = json!({"fmc": 1, "boot_loader": 1, "tee": 1, "snp": 4, "microcode": 81});
    for name in ["minimum_tcb", "minimum_committed_tcb", "minimum_current_tcb", "minimum_launch_tcb"] {
        let body = |floors: Value| with(keyed(), &[(&format!("/{name}"), floors)]);
        let demand = |error| RegistrationFault::Demand(name, error);
        let platform = read(&body(json!({"milan": milan}))).unwrap().policy.platform;
        let expected = BySilicon::parse(["milan:bl=4,tee=0,snp=22,ucode=213"]).unwrap();
        let set: Vec<_> = platform.floors().into_iter().filter(|(_, floors)| !floors.is_empty()).collect();
        let [(version, floors)] = set.as_slice() else { panic!("{set:?}") };
        assert_eq!((*floors, format!("/{name}")), (&expected, format!("/{}", member(*version))));
        assert!(read(&body(json!({"genoa": milan, "turin-c1": turin, "0x00A00F12": {"snp": 1}}))).is_ok());
        assert_eq!(fault(&body(json!({}))), demand(DemandError::Empty));
        assert_eq!(fault(&body(json!({"milan": turin}))), demand(DemandError::Components));
        assert_eq!(fault(&body(json!({"milan": {}}))), demand(DemandError::Components));
        assert_eq!(fault(&body(json!({"rome": milan}))), demand(DemandError::Silicon));
        // Known silicon of a line that is not served.
        assert_eq!(fault(&body(json!({"0x00B50F00": {"snp": 1}}))), demand(DemandError::Silicon));
        // One silicon under two names.
        let twice = json!({"milan-x": {"snp": 1}, "0x00A00F12": {"snp": 2}});
        assert_eq!(fault(&body(twice)), demand(DemandError::Duplicate));
        let null = read(&body(json!({"milan": {"snp": null}}))).unwrap_err();
        assert_eq!(null, Invalid::Json { part: Part::Body, fault: Fault::Type });
        let array = read(&body(json!([milan, milan, turin]))).unwrap_err();
        assert_eq!(array, Invalid::Json { part: Part::Body, fault: Fault::Type });
    }
}

fn member(version: Version) -> &'static str {
    match version {
        Version::Reported => "minimum_tcb",
        Version::Committed => "minimum_committed_tcb",
        Version::Current => "minimum_current_tcb",
        Version::Launch => "minimum_launch_tcb",
    }
}

/// The other demands on the platform: as sent, and the forms that demand nothing.
#[test]
fn demands_on_the_platform_are_read_or_refused() {
    let body = |require: Value| {
        let mut body = keyed();
        for (name, value) in require.as_object().unwrap() {
            body["require"][name] = value.clone();
        }
        body
    };
    let chip = "07".repeat(8);
    let sent = json!({
        "products": ["milan", "turin"],
        "chips": [chip],
        "current_mitigations": {"milan-x": [4, 1]},
        "launch_mitigations": {"milan": [63], "genoa-x": []},
        "platform": ["alias-check", "committed"],
        "minimum_firmware": "1.55.29",
    });
    let expected = PlatformDemands {
        products: Some(vec![Product::Milan, Product::Turin]),
        chips: Some(vec![ChipId::parse(&chip).unwrap()]),
        current_mitigations: BySilicon::parse(["milan-x:1+4"]).unwrap(),
        launch_mitigations: BySilicon::parse(["milan:63", "genoa-x:none"]).unwrap(),
        conditions: vec![Condition::AliasCheck, Condition::Committed],
        minimum_firmware: Some(FirmwareVersion { major: 1, minor: 55, build: 29 }),
        ..PlatformDemands::default()
    };
    assert_eq!(read(&body(sent)).unwrap().policy.platform, expected);
    for (name, value, error) in [
        ("products", json!([]), DemandError::Nothing),
        ("products", json!(["rome"]), DemandError::Product),
        ("products", json!(["Milan"]), DemandError::Product),
        ("current_mitigations", json!({"Milan": [1]}), DemandError::Silicon),
        ("chips", json!([]), DemandError::Nothing),
        ("chips", json!(["00".repeat(64)]), DemandError::Chip),
        ("chips", json!(["07".repeat(9)]), DemandError::Chip),
        ("current_mitigations", json!({}), DemandError::Empty),
        ("current_mitigations", json!({"milan-x": [64]}), DemandError::Bits),
        ("launch_mitigations", json!({"rome": [1]}), DemandError::Silicon),
        ("platform", json!([]), DemandError::Nothing),
        ("platform", json!(["tdx"]), DemandError::Condition),
        ("minimum_firmware", json!("1.55"), DemandError::Firmware),
        ("minimum_firmware", json!("1.55.256"), DemandError::Firmware),
        ("minimum_firmware", json!("1.55.+1"), DemandError::Firmware),
        ("minimum_firmware", json!("01.55.1"), DemandError::Firmware),
        ("minimum_firmware", json!("1.55.1."), DemandError::Firmware),
    ] {
        let RegistrationFault::Demand(field, found) = fault(&body(json!({ name: value }))) else {
            panic!("{name} {value}")
        };
        assert_eq!((field, found), (format!("require.{name}").as_str(), error), "{value}");
    }
    for (name, value) in [
        ("products", json!("milan")),
        ("chips", json!(null)),
        ("current_mitigations", json!([1])),
        ("current_mitigations", json!({"milan-x": ["1"]})),
        ("platform", json!({"tsme": true})),
        ("minimum_firmware", json!(1.55)),
    ] {
        let error = read(&body(json!({ name: value }))).unwrap_err();
        assert_eq!(error, Invalid::Json { part: Part::Body, fault: Fault::Type }, "{name}");
    }
}
