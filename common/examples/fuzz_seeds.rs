//! Writes what the fuzz targets begin with: sound input of every kind, made by the simulator.
//!
//! `fuzz_seeds DIRECTORY` makes one directory a target.

use std::{error::Error, fs, path::Path};

use data_encoding::BASE64URL_NOPAD;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use keybroker_common::{
    advisories::SHIPPED,
    broker::RegisterRequest,
    dialect::Dialect,
    ids::{CarriedId, Claim, KbsVersion, SessionId, TrusteeClaim, WorkloadId},
    requirements::{Abi, AppraisalPolicy, BoundBy, InitDataRequirement, Measurement, ReferenceValues},
    secret::seal::GuestKey,
    wire::manners,
    workload::Registration,
};
use keybroker_initdata::{Algorithm, KeyId};
use keybroker_native::{
    Evidence, Suite,
    client::{self, Pending},
};
use keybroker_simulator::{
    Product,
    build::{Buildah, tee_config},
    guest::{
        Machine, PoliteGuest,
        trustee::{CertTable, Shape, Vtpm, VtpmShape, evidence},
    },
    pki::{Amd, CSP_ID, Ca, Chip, CrlOptions},
    report::ReportFields,
    rvp::RvpCli,
};
use keybroker_testing::{
    guest::{self, KEY},
    krunfw::Krunfw,
    ovmf::{HASH_TABLE, OvmfImage},
    world::{PASSPHRASE, World, request},
};

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Nothing is sent there.
const URL: &str = "http://127.0.0.1:8080";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: fuzz_seeds DIRECTORY")?;
    let mut seeds = cookies();
    seeds.extend(advisories());
    seeds.extend(guest_keys()?);
    seeds.extend(registrations()?);
    seeds.extend(by_init_data());
    seeds.extend(firmware()?);
    seeds.extend(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(results())?);
    for product in Product::ALL {
        let amd = Amd::new(product, Timestamp::now());
        let chip = Chip::new(product, 1);
        seeds.extend(reports(&chip));
        seeds.extend(certificates(&amd, &chip));
        seeds.extend(bodies(&amd, &chip)?);
        seeds.extend(by_shapes(&amd, &chip));
        seeds.extend(blobs(&amd, &chip));
    }
    for (number, (target, bytes)) in seeds.iter().enumerate() {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(())
}

/// The shipped table, and a short one whose row is confirmed.
fn advisories() -> Seeds {
    let confirmed = r#"{"format": 1, "date": "2026-11-29", "rows": [{"bulletin": "AMD-SB-3019",
        "published": "2025-02", "silicon": "turin-c1", "levels": {"fmc": 1, "snp": 4}, "mitigations": [1, 2],
        "conditions": ["alias-check"], "source": "a seed", "read_at_amd": "2026-11-28", "confirmed": "Ada"}]}"#;
    [SHIPPED, confirmed].map(|table| ("advisories", table.as_bytes().to_vec())).to_vec()
}

/// Images of OVMF, and libraries of libkrun's firmware that a compiler builds.
fn firmware() -> Result<Seeds, Box<dyn Error>> {
    let without_hashes = OvmfImage::default().without_entry(HASH_TABLE);
    let mut seeds: Seeds =
        [OvmfImage::default(), without_hashes].map(|image| ("ovmf", image.bytes())).to_vec();
    let directory = tempfile::tempdir()?;
    for variables in [false, true] {
        let page = |seed| vec![seed; 4096];
        let (qboot, kernel, initrd) = (page(1), page(2), page(3));
        let library = Krunfw { qboot, kernel, initrd, variables, ..Krunfw::default() };
        seeds.push(("krunfw", fs::read(library.build(directory.path()))?));
    }
    Ok(seeds)
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
    for suite in Suite::ALL {
        seeds.push(("release", release(suite, amd, chip)?));
    }
    Ok(seeds)
}

/// Azure's blobs, alone and as Trustee's guests send them.
fn blobs(amd: &Amd, chip: &Chip) -> Seeds {
    let machine = Machine::new(amd, chip);
    let sent = VtpmShape::ALL.map(|shape| {
        let evidence = Vtpm::new("az-snp-vtpm", shape).evidence(&machine, [0xA5; 64]);
        ("trustee_evidence", evidence.into_bytes())
    });
    let claims = format!(r#"{{"user-data":"{}"}}"#, "a5".repeat(64));
    let alone = [machine.hcl_report([0xA5; 64]), machine.hcl_report_of(claims.as_bytes())];
    sent.into_iter().chain(alone.map(|blob| ("hcl", blob))).collect()
}

/// Evidence of Trustee's guests: every version of the report in every shape that can say it.
fn by_shapes(amd: &Amd, chip: &Chip) -> Seeds {
    let machine = Machine::new(amd, chip);
    let report = |version| ReportFields { version, ..ReportFields::new(chip) }.sign(&chip.vcek_key(chip.tcb));
    let tables = [None, Some(CertTable::leaf(&machine)), Some(CertTable::mixed(amd, &machine))];
    let texts = (2..=5).flat_map(|version| Shape::ALL.map(|shape| shape.write(&report(version)))).flatten();
    let seeds = texts.zip(tables.iter().cycle()).map(|(text, table)| evidence(&text, table.as_ref()));
    seeds.map(|seed| ("trustee_evidence", seed.into_bytes())).collect()
}

/// A document of the workload `web`.
const DOCUMENT: &str = include_str!("../../initdata/tests/data/document.toml");

/// A request for secrets. The broker would know neither its challenge nor its key.
fn release(suite: Suite, amd: &Amd, chip: &Chip) -> Result<Vec<u8>, Box<dyn Error>> {
    let id = SessionId::new(1, 1_700_000_000, [0x5A; 12], Claim::Later, |_| [0xC3; 8]);
    let challenge = client::Challenge { challenge: id.expose() + &"A".repeat(43), expires_in: 300 };
    let secrets = ["passphrase", "tls.key"].map(str::to_owned).to_vec();
    let (digest, keys) = (Algorithm::Sha256.digest(DOCUMENT), vec![KeyId::from_bytes([7; 32])]);
    let pending = Pending::new(suite, &challenge, "web", secrets, digest, keys)?;
    let fields = ReportFields { report_data: pending.report_data(), ..ReportFields::new(chip) };
    let report = fields.sign(&chip.vcek_key(chip.tcb)).to_vec();
    let body = pending.request(&Evidence::of_report(report, vec![amd.vcek(chip).certificate]));
    if suite == Suite::P384 {
        return Ok(body);
    }
    let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body)?;
    body.insert("init_data".to_owned(), serde_json::json!({ "document": DOCUMENT }));
    Ok(serde_json::to_vec(&body)?)
}

/// An attestation result, and the claims of it.
async fn results() -> Result<Seeds, Box<dyn Error>> {
    let world = World::new().await;
    let broker = world.broker();
    let registered = RegisterRequest { dialects: Dialect::Trustee.into(), ..request("web", PASSPHRASE) };
    broker.register.register(registered).await?;
    let workload = CarriedId::new(WorkloadId::new("web")?);
    let claim = Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_2_0, workload });
    let challenge = broker.auth.challenge(claim).await?;
    let attested = broker
        .attest
        .attest(&challenge.session_id, guest::evidence(&world.hardware.chip, &KEY, &challenge))
        .await?;
    let result = attested.result.ok_or("no attestation result")?.expose().to_owned();
    let claims = result.split('.').nth(1).unwrap_or_default();
    Ok(vec![("result", BASE64URL_NOPAD.decode(claims.as_bytes())?), ("result", result.into_bytes())])
}

/// Registrations of guests that have init data, by the document and by its digest.
fn by_init_data() -> Seeds {
    let digest = Algorithm::Sha256.digest(DOCUMENT).to_string();
    let init_data = [
        serde_json::json!({ "bound_by": "host_data", "document": DOCUMENT }),
        serde_json::json!({ "bound_by": "measurement", "algorithm": "sha256", "digest": digest }),
    ];
    let body = |init_data| {
        serde_json::json!({
            "workload_id": "web",
            "init_data": init_data,
            "measurements": ["4d".repeat(48)],
            "resources": { "passphrase": "open sesame" },
        })
    };
    init_data.map(|one| ("reference_values", body(one).to_string().into_bytes())).into()
}

/// A key of each kind, as a store has it. The point is that of RFC 7517, A.1.
fn guest_keys() -> Result<Seeds, Box<dyn Error>> {
    let [x, y] = [
        "30a0424cd21c2944838a2d75c92b37e76ea20d9f00893a3b4eee8a3c0aafec3e",
        "e04b65e92456d9888b52b379bdfbd51ee869ef1f0fc65b6659695b6cce081723",
    ]
    .map(|coordinate| HEXLOWER.decode(coordinate.as_bytes()));
    let modulus = [0xC3; 256];
    let keys = [
        GuestKey::rsa(&modulus, &[1, 0, 1])?,
        GuestKey::rsa_oaep_256(&modulus, &[1, 0, 1])?,
        GuestKey::p256(&x?, &y?)?,
    ];
    keys.iter().map(|key| Ok(("guest_key", serde_json::to_vec(key)?))).collect()
}

fn cookies() -> Seeds {
    const ID: &str = "session_id=00112233445566778899aabbccddeeff";
    let fields = [ID.to_owned(), format!("{ID}\n{ID}"), format!("a=b; {ID}, {ID};c\nsession_id=0")];
    let mut seeds: Seeds = fields.into_iter().map(|fields| ("cookie", fields.into_bytes())).collect();
    // Every dialect's challenge under every dialect's cookie.
    let named = WorkloadId::new("web").ok().and_then(CarriedId::new).map(Claim::Named);
    for claim in named.into_iter().chain([Claim::HostData, Claim::Later]) {
        let id = SessionId::new(1, 1_700_000_000, [0x5A; 12], claim, |_| [0xC3; 8]).expose();
        for session in Dialect::ALL.into_iter().filter_map(|dialect| manners(dialect).session) {
            seeds.push(("cookie", format!("{}={id}", session.cookie).into_bytes()));
        }
    }
    seeds
}

fn registrations() -> Result<Seeds, Box<dyn Error>> {
    let strict = AppraisalPolicy {
        forbid_smt: true,
        minimum_abi: Some(Abi { major: 1, minor: 51 }),
        ..AppraisalPolicy::default()
    };
    let mut seeds = Seeds::new();
    let required = InitDataRequirement {
        digest: Algorithm::Sha384.digest(DOCUMENT),
        bound_by: BoundBy::HostData,
        broker_keys: Some(vec![KeyId::from_bytes([7; 32])]),
    };
    let bound = AppraisalPolicy { init_data: Some(required), ..AppraisalPolicy::default() };
    // One of each dialect, and one of several.
    let rows = [
        (vec![Dialect::Libkrun], None, AppraisalPolicy::default()),
        (vec![Dialect::Keybroker], Some("owner".to_owned()), strict),
        (vec![Dialect::Native], None, bound.clone()),
        (Dialect::ALL.to_vec(), None, bound),
    ];
    for (dialects, owner, policy) in rows {
        let registration = Registration {
            serial: Default::default(),
            dialects: dialects.try_into()?,
            owner,
            reference_values: ReferenceValues { measurements: vec![Measurement([0x4D; 48])] },
            policy,
            rego: None,
        };
        seeds.push(("registration", registration.to_bytes()?));
    }
    Ok(seeds)
}
