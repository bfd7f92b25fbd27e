//! Writes what the fuzz targets begin with: sound input of every kind, made by the simulator.
//!
//! `fuzz_seeds DIRECTORY` makes one directory a target.

use std::{error::Error, fs, path::Path};

use jiff::Timestamp;
use keybroker_common::{
    dialect::Dialect,
    requirements::{Abi, AppraisalPolicy, Measurement, ReferenceValues},
    workload::Registration,
};
use keybroker_simulator::{
    Product,
    build::{Buildah, tee_config},
    guest::{Machine, PoliteGuest},
    pki::{Amd, CSP_ID, Ca, Chip, CrlOptions},
    report::ReportFields,
    rvp::RvpCli,
};

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Nothing is sent there.
const URL: &str = "http://127.0.0.1:8080";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: fuzz_seeds DIRECTORY")?;
    let mut seeds = cookies();
    seeds.extend(registrations()?);
    for product in Product::ALL {
        let amd = Amd::new(product, Timestamp::now());
        let chip = Chip::new(product, 1);
        seeds.extend(reports(&chip));
        seeds.extend(certificates(&amd, &chip));
        seeds.extend(bodies(&amd, &chip)?);
    }
    for (number, (target, bytes)) in seeds.iter().enumerate() {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(())
}

fn reports(chip: &Chip) -> Seeds {
    let report = |version| ReportFields { version, ..ReportFields::new(chip) }.sign(&chip.vcek_key(chip.tcb));
    let both = |version| ["report", "summary"].map(|target| (target, report(version).to_vec()));
    (2..=5).flat_map(both).collect()
}

fn certificates(amd: &Amd, chip: &Chip) -> Seeds {
    let revoked = CrlOptions { revoked: vec![Ca::Ask.serial(amd.product())], ..CrlOptions::default() };
    vec![
        ("certificate", amd.ark().to_vec()),
        ("certificate", amd.ask().to_vec()),
        ("certificate", amd.asvk()),
        ("certificate", amd.vcek(chip).certificate),
        ("certificate", amd.vlek(CSP_ID, chip.tcb).certificate),
        ("crl", amd.crl(&CrlOptions::default())),
        ("crl", amd.crl(&revoked)),
        ("pem", amd.ark_pem().into_bytes()),
        ("pem", amd.chain_pem(Ca::Ask).into_bytes()),
        ("pem", amd.chain_pem(Ca::Asvk).into_bytes()),
    ]
}

fn bodies(amd: &Amd, chip: &Chip) -> Result<Seeds, Box<dyn Error>> {
    let mut build = Buildah::new(URL, "web", &[0x4D; 48], "open <sesame>");
    let usual = build.body();
    build.tee_config = tee_config(14);
    let rvp = RvpCli::new(URL, &[0x4D; 48], "open sesame");
    let policy = "data.p.allow\ninput.measurement == data.measurement\n\npackage p\nallow if { some x in data.a; x == 1 }\n";
    let mut seeds = vec![
        ("register", usual.into_bytes()),
        ("register", build.body().into_bytes()),
        ("reference_values", rvp.body().into_bytes()),
        ("policy", policy.as_bytes().to_vec()),
    ];
    let mut with_certificates = Machine::new(amd, chip);
    with_certificates.certificates = vec![
        ("VCEK".to_owned(), with_certificates.vek.certificate.clone()),
        ("ASK".to_owned(), amd.ask().to_vec()),
    ];
    for machine in [Machine::new(amd, chip), with_certificates, Machine::in_cloud(amd, chip, CSP_ID)] {
        let mut guest = PoliteGuest::new(URL, "web", machine)?;
        guest.state.nonce = Some("nonce".to_owned());
        seeds.push(("auth", guest.state.auth_body().into_bytes()));
        seeds.push(("attest", guest.state.attest_body()?.into_bytes()));
    }
    Ok(seeds)
}

fn cookies() -> Seeds {
    const ID: &str = "session_id=00112233445566778899aabbccddeeff";
    let fields = [ID.to_owned(), format!("{ID}\n{ID}"), format!("a=b; {ID}, {ID};c\nsession_id=0")];
    fields.into_iter().map(|fields| ("cookie", fields.into_bytes())).collect()
}

fn registrations() -> Result<Seeds, Box<dyn Error>> {
    let strict = AppraisalPolicy {
        forbid_smt: true,
        minimum_abi: Some(Abi { major: 1, minor: 51 }),
        ..AppraisalPolicy::default()
    };
    let mut seeds = Seeds::new();
    for (owner, policy) in [(None, AppraisalPolicy::default()), (Some("owner".to_owned()), strict)] {
        let registration = Registration {
            format: Registration::FORMAT,
            serial: Default::default(),
            dialect: Dialect::Libkrun,
            owner,
            reference_values: ReferenceValues { measurements: vec![Measurement([0x4D; 48])] },
            policy,
            rego: None,
        };
        seeds.push(("registration", registration.to_bytes()?));
    }
    Ok(seeds)
}
