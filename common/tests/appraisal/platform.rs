//! Demands on the platform: every demand × the operator's and the registration's × silicon, satisfied,
//! missed, absent, and of a form that says nothing.

use keybroker_common::{
    appraisal::When,
    platform::{ChipId, Condition, FirmwareVersion, MitigationBits, PlatformDemands},
};
use keybroker_simulator::Tcb;
use keybroker_snp::{product::Product, report::Report, silicon::Cpuid};

use super::*;

/// The platform of a guest: a product, the silicon (CPUID), and the version of its report.
#[derive(Debug, Clone, Copy)]
struct Host {
    product: Product,
    /// The text of the row that it is held to.
    row: &'static str,
    cpuid: [u8; 3],
    version: u32,
}

const fn host(product: Product, row: &'static str, cpuid: [u8; 3]) -> Host {
    Host { product, row, cpuid, version: 5 }
}

const HOSTS: [Host; 10] = [
    host(Milan, "milan-b1", [0x19, 0x01, 1]),
    host(Milan, "milan-x", [0x19, 0x01, 2]),
    host(Milan, "0x00A00F20", [0x19, 0x02, 0]),
    host(Genoa, "genoa-b1", [0x19, 0x11, 1]),
    host(Genoa, "genoa-x", [0x19, 0x11, 2]),
    host(Genoa, "bergamo-siena", [0x19, 0xA0, 2]),
    host(Turin, "turin-c1", [0x1A, 0x02, 1]),
    host(Turin, "turin-dense", [0x1A, 0x11, 0]),
    Host { product: Milan, row: "milan", cpuid: [0; 3], version: 2 },
    Host { product: Genoa, row: "genoa", cpuid: [0; 3], version: 2 },
];

const LEVELS: Tcb = Tcb { fmc: 5, boot_loader: 5, tee: 5, snp: 5, microcode: 5 };

/// A report whose platform is as good as it can be.
fn fields(host: Host) -> ReportFields {
    let mut fields = Attempt::vcek(host.product).fields;
    (fields.version, fields.cpuid) = (host.version, host.cpuid);
    for tcb in
        [&mut fields.reported_tcb, &mut fields.committed_tcb, &mut fields.current_tcb, &mut fields.launch_tcb]
    {
        *tcb = LEVELS;
    }
    fields.platform_info = 0x7E;
    (fields.launch_mit_vector, fields.current_mit_vector) = (0b10110, 0b10110);
    fields.chip_id = [0; 64];
    fields.chip_id[..8].fill(7);
    if host.product != Turin {
        fields.chip_id.fill(7);
    }
    (fields.current_firmware, fields.committed_firmware) = ([29, 55, 1], [29, 55, 1]);
    fields
}

fn parsed(fields: &ReportFields) -> Report {
    let mut bytes = fields.encode().to_vec();
    bytes.resize(Report::SIZE, 0);
    Report::parse(&bytes).unwrap()
}

/// The checks that a report fails under these demands, by their causes.
fn failed(
    host: Host,
    report: &Report,
    operator: &PlatformDemands,
    registration: &PlatformDemands,
) -> Vec<(AppraisalCheck, Error)> {
    let fleet = Fleet { platform: operator.clone(), ..Fleet::default() };
    let policy = Policy { platform: registration.clone(), ..Policy::default() };
    let reference_values = ReferenceValues { measurements: vec![Measurement(*report.measurement())] };
    let inputs = Inputs {
        report,
        form: EvidenceForm::Snp,
        product: Some(host.product),
        fleet: &fleet,
        reference_values: Some(&reference_values),
        policy: &policy,
        init_data: None,
    };
    let failures = examine(&inputs).into_iter().filter_map(|(check, outcome)| match outcome {
        Outcome::Failed(error) => Some((check, error)),
        Outcome::Passed => None,
        Outcome::NotChecked => panic!("{} was not checked", check.name()),
    });
    failures.collect()
}

type Make = fn(Host) -> PlatformDemands;
type Miss = fn(&mut ReportFields);

/// A demand: how it is made for a host, and how a report misses it.
struct Demand {
    name: &'static str,
    checks: [AppraisalCheck; 2],
    make: Make,
    miss: Miss,
    fault: fn(Host) -> PlatformFault,
    /// The first version of a report that can satisfy it.
    since: u32,
}

fn floors_for(host: Host) -> BySilicon<Levels> {
    let levels = Levels { snp: Some(5), microcode: Some(5), ..Levels::default() };
    floor_of(host.row, levels)
}

fn bits_for(host: Host) -> BySilicon<MitigationBits> {
    BySilicon::parse([format!("{}:1+4", host.row).as_str()]).unwrap()
}

fn below(host: Host, version: Version) -> PlatformFault {
    let Tcb { fmc, boot_loader, tee, snp, microcode } = LEVELS;
    let fmc = (host.product == Turin).then_some(fmc);
    PlatformFault::Tcb {
        version,
        found: Some(TcbVersion { fmc, boot_loader, tee, snp: snp - 1, microcode }),
        required: Levels { snp: Some(5), microcode: Some(5), ..Levels::default() },
    }
}

fn without(host: Host, when: When) -> PlatformFault {
    let bits = |numbers: &[u8]| MitigationBits::of(numbers.iter().copied());
    PlatformFault::Mitigations {
        when,
        missing: bits(&[4]).filter(|_| host.version >= 5),
        required: bits(&[1, 4]).unwrap(),
    }
}

fn demands() -> Vec<Demand> {
    use AppraisalCheck as Check;
    fn other(host: Host) -> Product {
        if host.product == Milan { Genoa } else { Milan }
    }
    let none = PlatformDemands::default;
    let mut all = vec![
        Demand {
            name: "minimum_tcb",
            checks: [Check::FleetMinimumTcb, Check::MinimumTcb],
            make: |host| PlatformDemands { minimum_tcb: floors_for(host), ..PlatformDemands::default() },
            miss: |fields| fields.reported_tcb.snp -= 1,
            fault: |host| below(host, Version::Reported),
            since: 2,
        },
        Demand {
            name: "minimum_committed_tcb",
            checks: [Check::FleetMinimumCommittedTcb, Check::MinimumCommittedTcb],
            make: |host| PlatformDemands {
                minimum_committed_tcb: floors_for(host),
                ..PlatformDemands::default()
            },
            miss: |fields| fields.committed_tcb.snp -= 1,
            fault: |host| below(host, Version::Committed),
            since: 2,
        },
        Demand {
            name: "minimum_current_tcb",
            checks: [Check::FleetMinimumCurrentTcb, Check::MinimumCurrentTcb],
            make: |host| PlatformDemands {
                minimum_current_tcb: floors_for(host),
                ..PlatformDemands::default()
            },
            miss: |fields| fields.current_tcb.snp -= 1,
            fault: |host| below(host, Version::Current),
            since: 2,
        },
        Demand {
            name: "minimum_launch_tcb",
            checks: [Check::FleetMinimumLaunchTcb, Check::MinimumLaunchTcb],
            make: |host| PlatformDemands {
                minimum_launch_tcb: floors_for(host),
                ..PlatformDemands::default()
            },
            miss: |fields| fields.launch_tcb.snp -= 1,
            fault: |host| below(host, Version::Launch),
            since: 2,
        },
        Demand {
            name: "current_mitigations",
            checks: [Check::FleetCurrentMitigations, Check::CurrentMitigations],
            make: |host| PlatformDemands {
                current_mitigations: bits_for(host),
                ..PlatformDemands::default()
            },
            miss: |fields| fields.current_mit_vector = 0b00110,
            fault: |host| without(host, When::Current),
            since: 5,
        },
        Demand {
            name: "launch_mitigations",
            checks: [Check::FleetLaunchMitigations, Check::LaunchMitigations],
            make: |host| PlatformDemands { launch_mitigations: bits_for(host), ..PlatformDemands::default() },
            miss: |fields| fields.launch_mit_vector = 0b00110,
            fault: |host| without(host, When::Launch),
            since: 5,
        },
        Demand {
            name: "minimum_firmware",
            checks: [Check::FleetMinimumFirmware, Check::MinimumFirmware],
            make: |_| PlatformDemands {
                minimum_firmware: Some(FirmwareVersion { major: 1, minor: 55, build: 29 }),
                ..PlatformDemands::default()
            },
            miss: |fields| fields.current_firmware = [255, 54, 1],
            fault: |_| PlatformFault::Firmware {
                found: FirmwareVersion { major: 1, minor: 54, build: 255 },
                required: FirmwareVersion { major: 1, minor: 55, build: 29 },
            },
            since: 2,
        },
        Demand {
            name: "chips",
            checks: [Check::FleetChip, Check::AdmittedChip],
            make: |host| PlatformDemands {
                chips: Some(vec![
                    ChipId::parse(&"07".repeat(if host.product == Turin { 8 } else { 64 })).unwrap(),
                ]),
                ..PlatformDemands::default()
            },
            miss: |fields| fields.chip_id[7] = 8,
            fault: |host| {
                let mut id = "07".repeat(7) + "08";
                if host.product != Turin {
                    id += &"07".repeat(56);
                }
                PlatformFault::Chip { found: Some(ChipId::parse(&id).unwrap()), admitted: 1 }
            },
            since: 2,
        },
    ];
    let conditions: [(Condition, Miss); 8] = [
        (Condition::AliasCheck, |fields| fields.platform_info &= !(1 << 5)),
        (Condition::IommuWrites, |fields| fields.platform_info &= !(1 << 6)),
        (Condition::Tsme, |fields| fields.platform_info &= !(1 << 1)),
        (Condition::NoSmt, |fields| fields.platform_info |= 1),
        (Condition::RaplDisabled, |fields| fields.platform_info &= !(1 << 3)),
        (Condition::Ecc, |fields| fields.platform_info &= !(1 << 2)),
        (Condition::CiphertextHiding, |fields| fields.platform_info &= !(1 << 4)),
        (Condition::Committed, |fields| fields.committed_firmware = [28, 55, 1]),
    ];
    assert_eq!(conditions.map(|(condition, _)| condition), Condition::ALL);
    macro_rules! condition {
        ($($condition:ident),+) => {$(
            all.push(Demand {
                name: Condition::$condition.name(),
                checks: [Check::FleetPlatformInfo, Check::PlatformInfo],
                make: |_| PlatformDemands {
                    conditions: vec![Condition::$condition],
                    ..PlatformDemands::default()
                },
                miss: conditions.iter().find(|(it, _)| *it == Condition::$condition).unwrap().1,
                fault: |_| PlatformFault::Condition { condition: Condition::$condition },
                since: 2,
            });
        )+};
    }
    condition!(AliasCheck, IommuWrites, Tsme, NoSmt, RaplDisabled, Ecc, CiphertextHiding, Committed);
    // A report's product is its host's: here the list is the other one.
    for host in HOSTS {
        let admitted = PlatformDemands { products: Some(vec![host.product, other(host)]), ..none() };
        let refused = PlatformDemands { products: Some(vec![other(host)]), ..none() };
        let (report, fault) = (parsed(&fields(host)), |by| {
            let fault = PlatformFault::Product { found: host.product, admitted: vec![other(host)] };
            Error::Platform { by, fault }
        });
        assert_eq!(failed(host, &report, &admitted, &admitted), []);
        assert_eq!(
            failed(host, &report, &refused, &refused),
            [(Check::FleetProduct, fault(Operator)), (Check::AdmittedProduct, fault(TheRegistration))],
            "{host:?}"
        );
    }
    all
}

#[test]
fn each_demand_satisfied_missed_and_absent_on_all_silicon() {
    let none = PlatformDemands::default();
    for host in HOSTS {
        let (good, mut all) = (parsed(&fields(host)), 0);
        for Demand { name, checks: [fleet, own], make, miss, fault, since } in demands() {
            let demand = make(host);
            let bad = {
                let mut fields = fields(host);
                miss(&mut fields);
                parsed(&fields)
            };
            let error = |by| Error::Platform { by, fault: fault(host) };
            let by_operator = vec![(fleet, error(Operator))];
            let by_registration = vec![(own, error(TheRegistration))];
            let (held_fleet, held_own) = if host.version >= since {
                (Vec::new(), Vec::new())
            } else {
                (by_operator.clone(), by_registration.clone())
            };
            assert_eq!(failed(host, &good, &demand, &none), held_fleet, "{name}, satisfied, {host:?}");
            assert_eq!(failed(host, &good, &none, &demand), held_own, "{name}, satisfied, {host:?}");
            assert_eq!(failed(host, &bad, &demand, &none), by_operator, "{name}, missed, {host:?}");
            assert_eq!(failed(host, &bad, &none, &demand), by_registration, "{name}, missed, {host:?}");
            assert_eq!(failed(host, &bad, &none, &none), [], "{name}, absent, {host:?}");
            all += 1;
        }
        assert_eq!(all, 16);
    }
}

/// A row holds for its silicon and no other: neither its product's for a stepping, nor a stepping's for its
/// product, nor one stepping's for another.
#[test]
fn silicon_that_no_row_names_is_refused() {
    let none = PlatformDemands::default();
    for guest in HOSTS {
        let report = parsed(&fields(guest));
        for named in HOSTS.into_iter().filter(|named| named.row != guest.row) {
            let zeros = Levels { snp: Some(0), ..Levels::default() };
            let demands = PlatformDemands { minimum_tcb: floor_of(named.row, zeros), ..none.clone() };
            let fault = PlatformFault::Unnamed {
                what: "reported TCB",
                silicon: SiliconKey::parse(guest.row).unwrap(),
                product_named: named.version == 2 && named.product == guest.product,
            };
            let expected = [(AppraisalCheck::MinimumTcb, Error::Platform { by: TheRegistration, fault })];
            assert_eq!(failed(guest, &report, &none, &demands), expected, "{guest:?} {named:?}");
        }
    }
    // The words name the missing row, and the trap of a row for the product.
    let words = |silicon, product_named| {
        let silicon = SiliconKey::parse(silicon).unwrap();
        let fault = PlatformFault::Unnamed { what: "reported TCB", silicon, product_named };
        Error::Platform { by: Operator, fault }.to_string()
    };
    let said = "the operator says for some silicon which reported TCB it demands, and nothing for milan-x";
    assert_eq!(words("milan-x", false), said);
    let trap = ": the row of its product is for reports of version 2, which name no stepping";
    assert_eq!(words("0x00A00F12", true), format!("{said}{trap}"));
    let early = words("milan", false);
    assert!(early.ends_with("which names no stepping, so a row of its product holds"), "{early}");
}

/// Levels count component by component, and a component that the product lacks misses its floor.
#[test]
fn each_component_counts() {
    let none = PlatformDemands::default();
    let host = HOSTS[6];
    let report = parsed(&fields(host));
    let demand = |levels| PlatformDemands { minimum_tcb: floor_of(host.row, levels), ..none.clone() };
    let exact = Levels { fmc: Some(5), boot_loader: Some(5), tee: Some(5), snp: Some(5), microcode: Some(5) };
    assert_eq!(failed(host, &report, &none, &demand(exact)), []);
    for above in [
        Levels { fmc: Some(6), ..Levels::default() },
        Levels { boot_loader: Some(6), ..Levels::default() },
        Levels { tee: Some(6), ..Levels::default() },
        Levels { snp: Some(6), ..Levels::default() },
        Levels { microcode: Some(6), ..Levels::default() },
    ] {
        let [(check, _)] = failed(host, &report, &none, &demand(above)).try_into().unwrap();
        assert_eq!(check, AppraisalCheck::MinimumTcb, "{above}");
    }
    // No row can demand FMC of a Milan. If one did, it would be missed.
    let milan = parsed(&fields(HOSTS[0])).reported_tcb(Milan).unwrap();
    assert!(!Levels { fmc: Some(0), ..Levels::default() }.hold_for(&milan));
}

/// A TCB version with reserved bytes set means nothing that is known: it satisfies no floor, not even zero.
#[test]
fn a_tcb_of_unknown_form_satisfies_no_floor() {
    let none = PlatformDemands::default();
    let zero = || floor_of("turin-c1", Levels { snp: Some(0), ..Levels::default() });
    for (offset, version, check, demands) in [
        (
            0x1E0,
            Version::Committed,
            AppraisalCheck::MinimumCommittedTcb,
            PlatformDemands { minimum_committed_tcb: zero(), ..none.clone() },
        ),
        (
            0x1F0,
            Version::Launch,
            AppraisalCheck::MinimumLaunchTcb,
            PlatformDemands { minimum_launch_tcb: zero(), ..none.clone() },
        ),
        (
            0x38,
            Version::Current,
            AppraisalCheck::MinimumCurrentTcb,
            PlatformDemands { minimum_current_tcb: zero(), ..none.clone() },
        ),
    ] {
        let attempt = Attempt { signed_bytes: vec![(offset + 5, 1)], ..Attempt::vcek(Turin) };
        let required = Levels { snp: Some(0), ..Levels::default() };
        let fault = PlatformFault::Tcb { version, found: None, required };
        let policy = Policy { platform: demands, ..Policy::default() };
        let report = attempt.fields(|fields| fields.measurement = MEASUREMENT).verify().unwrap();
        let error = Error::Platform { by: TheRegistration, fault };
        assert_eq!(verdict(&report, &policy), Err((check, error)));
    }
}

/// A host that masks its chip's id is none of a list's, whatever the list has.
#[test]
fn a_masked_chip_is_on_no_list() {
    let none = PlatformDemands::default();
    for host in HOSTS {
        let mut fields = fields(host);
        let id = ChipId::of(&parsed(&fields)).unwrap();
        fields.chip_id = [0; 64];
        let demands = PlatformDemands { chips: Some(vec![id]), ..none.clone() };
        let fault = PlatformFault::Chip { found: None, admitted: 1 };
        let error = Error::Platform { by: Operator, fault };
        assert_eq!(failed(host, &parsed(&fields), &demands, &none), [(AppraisalCheck::FleetChip, error)]);
    }
    // An id with zeros behind its eighth byte is that of a short one, and of no other.
    let short = ChipId::parse(&"07".repeat(8)).unwrap();
    assert_eq!(ChipId::parse(&format!("{}{}", "07".repeat(8), "00".repeat(56))).unwrap(), short);
    assert_eq!(short.to_string(), "07".repeat(8));
}

/// Provisional firmware is that whose TCB or version is not committed.
#[test]
fn provisional_firmware_is_told_by_every_component_and_the_version() {
    let host = HOSTS[6];
    let misses: [Miss; 8] = [
        |fields| fields.committed_tcb.fmc -= 1,
        |fields| fields.committed_tcb.boot_loader -= 1,
        |fields| fields.committed_tcb.tee -= 1,
        |fields| fields.committed_tcb.snp -= 1,
        |fields| fields.committed_tcb.microcode -= 1,
        |fields| fields.committed_firmware[0] -= 1,
        |fields| fields.committed_firmware[1] -= 1,
        |fields| fields.committed_firmware[2] -= 1,
    ];
    assert!(Condition::Committed.holds(&parsed(&fields(host))));
    for miss in misses {
        let mut fields = fields(host);
        miss(&mut fields);
        assert!(!Condition::Committed.holds(&parsed(&fields)));
    }
}

/// The report's silicon decides, not what the operator hopes: version 2 names none, and zeros there are none.
#[test]
fn version_2_is_held_to_its_products_row() {
    let report = parsed(&fields(HOSTS[8]));
    assert_eq!(report.cpuid(), None);
    assert_eq!(SiliconKey::of(&report, Milan), SiliconKey::Product(Milan));
    let stepping = parsed(&fields(HOSTS[1]));
    let cpuid = Cpuid { family: 0x19, model: 0x01, stepping: 2 };
    assert_eq!(SiliconKey::of(&stepping, Milan), SiliconKey::Silicon(cpuid));
}
