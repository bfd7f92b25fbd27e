//! `verify`, `certificates import` and `prefetch` read files as other tools write them: the `sev` package,
//! openssl, and the tools that made the genuine vectors.

use std::{fs, path::PathBuf, process::Command};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXLOWER_PERMISSIVE};
use jiff::SignedDuration;
use keybroker_common::{
    audit::{AuditRecord, Decision, EvidenceSummary},
    ids::WorkloadId,
    requirements::EvidenceForm,
};
use keybroker_simulator::{
    Product,
    guest::Machine,
    kds::Kind,
    paravisor,
    pki::{Ca, Chip, CrlOptions, Overrides},
    tls::Authority,
};
use keybroker_snp::{self as snp, report::Report};
use keybroker_tests::{
    genuine,
    operator::{Contents, Operator, record},
    program::{self, Ended},
    skip,
    world::{amd, anchors, kds},
};
use serde_json::Value;
use sev::firmware::host::{CertTableEntry, CertType};
use tempfile::TempDir;

/// A time at which the certificates of the genuine evidence are valid, except the VLEK.
const AT: &str = "2026-06-01T00:00:00Z";
const IN_THE_VLEKS_YEAR: &str = "2025-06-01T00:00:00Z";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn verify(arguments: &[&str]) -> Ended {
    program::run(&[&["verify"], arguments].concat())
}

/// The exit code and the checks that failed; the log if there was no verdict.
fn failed(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let ended = verify(&[arguments, &["--json"]].concat());
    let Ok(verdict) = serde_json::from_str::<Value>(&ended.out) else { return (ended.code, vec![ended.log]) };
    let checks = verdict["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "failed");
    (ended.code, checks.map(|check| check["check"].as_str().unwrap().to_owned()).collect())
}

fn good() -> (Option<i32>, Vec<String>) {
    (Some(0), Vec::new())
}

/// A host's certificate table as `snphost import` writes it.
fn table(entries: &[(CertType, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> =
        entries.iter().map(|(kind, bytes)| CertTableEntry::new(kind.clone(), bytes.to_vec())).collect();
    CertTableEntry::cert_table_to_vec_bytes(&entries).unwrap()
}

/// The report and the VCEK that the `sev` package ships.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let (report, vcek) = genuine::sev_sample();
    let digits: String = fs::read_to_string(report).unwrap().split_whitespace().collect();
    (HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap(), fs::read(vcek).unwrap())
}

/// openssl's standard output. If there is no openssl, `None`, and a line that says so.
fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new("openssl").args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            skip(&format!("openssl: {error}"));
            None
        }
    }
}

#[test]
fn a_genuine_report_is_verified_in_every_form() {
    let files = Files::new();
    let (report, vcek) = sample();
    let alone = files.write("vcek.der", &vcek);
    let behind = [report.clone(), table(&[(CertType::VCEK, &vcek)])].concat();
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let answer = [words(&[0, 1184, 0, 0, 0, 0, 0, 0]), report.clone(), vec![0; 2784]].concat();
    for (name, bytes) in [
        ("answer", answer),
        ("newline", [report.as_slice(), b"\n"].concat()),
        ("base64", BASE64.encode(&report).into_bytes()),
        ("base64url", BASE64URL.encode(&report).into_bytes()),
        ("hex", format!("0x{}\n", HEXLOWER.encode(&report)).into_bytes()),
        ("extended", behind.clone()),
    ] {
        let file = files.write(name, bytes);
        assert_eq!(failed(&["--report", &file, "--endorsement", &alone, "--at", AT]), good(), "{name}");
    }
    // Azure's blob is verified as well, and this report binds no claims.
    let blob = files.write("hcl", paravisor::blob(report.as_slice().try_into().unwrap(), b"{}"));
    let verdict = failed(&["--report", &blob, "--endorsement", &alone, "--at", AT]);
    assert_eq!(verdict, (Some(3), vec!["challenge".to_owned()]));
    // With the host's table behind the report, no other file is needed. The table may also be a file of its
    // own.
    let extended = files.write("extended", behind);
    assert_eq!(failed(&["--report", &extended, "--at", AT]), good());
    let raw = files.write("report.bin", &report);
    assert_eq!(failed(&["--report", &raw, "--endorsement", &extended, "--at", AT]), good());
}

/// A part that is taken out of a container is verified as if it were given alone.
#[test]
fn a_forged_report_or_certificate_fails_in_every_form() {
    let files = Files::new();
    let (mut report, mut vcek) = sample();
    let sound = files.write("sound.bin", &report);
    let genuine = vcek.clone();
    report[0x90] ^= 1;
    let last = vcek.len() - 1;
    vcek[last] ^= 1;
    let forged = [report.clone(), table(&[(CertType::VCEK, &genuine)])].concat();
    let forged = files.write("forged.bin", forged);
    assert_eq!(failed(&["--report", &forged, "--at", AT]), (Some(3), vec!["signature".to_owned()]));
    let text = files.write("forged.b64", BASE64.encode(&report));
    let genuine = files.write("vcek.der", &genuine);
    let arguments = ["--report", &text, "--endorsement", &genuine, "--at", AT];
    assert_eq!(failed(&arguments), (Some(3), vec!["signature".to_owned()]));
    let host = files.write("auxblob", table(&[(CertType::VCEK, &vcek)]));
    let (code, checks) = failed(&["--report", &sound, "--endorsement", &host, "--at", AT]);
    assert_eq!(code, Some(3));
    assert!(checks.contains(&"certificate-chain".to_owned()), "{checks:?}");
    // An ASK that no ARK signed is denied in every form.
    let made_up = amd(Product::Milan).ca(Ca::Ask, &Overrides::default());
    let host = files.write(
        "auxblob",
        table(&[(CertType::VCEK, &fs::read(&genuine).unwrap()), (CertType::ASK, &made_up)]),
    );
    assert_eq!(
        failed(&["--report", &sound, "--endorsement", &host, "--at", AT]),
        (Some(3), vec!["certificates".to_owned()])
    );
}

#[test]
fn a_cloud_guests_vlek_comes_out_of_the_hosts_table() {
    let Some(directory) = genuine::vector("trustee-milan-vlek") else {
        return skip("genuine evidence trustee-milan-vlek: not beside this clone");
    };
    let read = |name: &str| fs::read(directory.join(name)).unwrap();
    let (_, vcek) = sample();
    let files = Files::new();
    let report = files.write("outblob", read("report.bin"));
    // A table like those of EC2's hosts, and one that also has the VCEK of another chip. The report says
    // which key signed.
    let (vlek, asvk) = (read("vlek.der"), read("asvk.der"));
    for entries in [
        vec![(CertType::VLEK, vlek.as_slice()), (CertType::ASK, &asvk)],
        vec![(CertType::VCEK, &vcek), (CertType::VLEK, &vlek), (CertType::ASK, &asvk)],
    ] {
        let table = files.write("auxblob", table(&entries));
        let arguments = ["--report", &report, "--endorsement", &table, "--at", IN_THE_VLEKS_YEAR];
        assert_eq!(failed(&arguments), (Some(3), vec!["vmpl".to_owned()]));
    }
}

/// The user who names a certificate did not choose the table behind the report, so the table must not replace
/// that certificate.
#[test]
fn a_table_never_replaces_the_certificate_that_is_given() {
    let files = Files::new();
    let (report, vcek) = sample();
    let tcb = Chip::new(Product::Milan, 1).tcb;
    let vlek = amd(Product::Milan).vlek("CN=cc-us-east-2.amazonaws.com", tcb).certificate;
    let given = files.write("vlek.der", &vlek);
    for entries in [
        vec![(CertType::VCEK, vcek.as_slice())],
        vec![(CertType::VCEK, vcek.as_slice()), (CertType::VLEK, vlek.as_slice())],
    ] {
        let extended = files.write("extended", [report.clone(), table(&entries)].concat());
        let (code, checks) = failed(&["--report", &extended, "--endorsement", &given, "--at", AT]);
        assert!(code == Some(2) && checks[0].contains("more than one VCEK or VLEK"), "{code:?} {checks:?}");
    }
}

#[test]
fn certificates_and_lists_made_by_openssl_are_read() {
    let files = Files::new();
    let (report, vcek) = sample();
    let (report, der) = (files.write("report.bin", report), files.write("vcek.der", vcek));
    let Some(text) = openssl(&["x509", "-inform", "DER", "-in", &der, "-text"]) else { return };
    assert!(text.starts_with(b"Certificate:\n"), "text before the block");
    let with_text = files.write("vcek.txt", &text);
    let with_bom = files.write("vcek-bom.pem", [b"\xef\xbb\xbf", text.as_slice()].concat());
    for endorsement in [&with_text, &with_bom] {
        assert_eq!(failed(&["--report", &report, "--endorsement", endorsement, "--at", AT]), good());
    }
    let without = openssl(&["x509", "-inform", "DER", "-in", &der, "-text", "-noout"]).unwrap();
    let without = files.write("noout.txt", without);
    let ended = verify(&["--report", &report, "--endorsement", &without, "--at", AT]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{ended:?}");
    assert!(ended.log.contains("without -noout"), "{ended:?}");
    let p7 = openssl(&["crl2pkcs7", "-nocrl", "-certfile", &with_text]).unwrap();
    let ended = verify(&["--report", &report, "--endorsement", &files.write("p7", p7), "--at", AT]);
    assert!(ended.code == Some(5) && ended.log.contains("openssl pkcs7 -print_certs"), "{ended:?}");
    // A list in PEM is treated like one in DER. This one is another ARK's, so it is denied.
    let crl = files.write("crl.der", amd(Product::Milan).crl(&CrlOptions::default()));
    let pem = openssl(&["crl", "-inform", "DER", "-in", &crl, "-text"]).unwrap();
    let pem = files.write("crl.pem", pem);
    for crl in [&crl, &pem] {
        let (code, checks) = failed(&["--report", &report, "--endorsement", &der, "--crl", crl, "--at", AT]);
        assert_eq!((code, checks), (Some(3), vec!["revocation".to_owned()]), "{crl}");
    }
}

#[test]
fn report_data_may_be_snpguests_request_file() {
    let files = Files::new();
    let (report, vcek) = sample();
    let request = files.write("request-file.txt", &report[0x50..0x90]);
    let other = files.write("other-file.txt", [0x5A; 64]);
    let hex = files.write("request.hex", HEXLOWER.encode(&report[0x50..0x90]));
    let (report, vcek) = (files.write("report.bin", &report), files.write("vcek.der", vcek));
    let with = |data: &str| {
        failed(&["--report", &report, "--endorsement", &vcek, "--at", AT, "--report-data", data])
    };
    assert_eq!(with(&request), good());
    assert_eq!(with(&hex), good());
    assert_eq!(with(&other), (Some(3), vec!["challenge".to_owned()]));
    let (code, log) = with(&report);
    assert_eq!(code, Some(5));
    assert!(log[0].contains("head -c 64"), "{log:?}");
}

fn certificates(operator: &Operator, files: &Files, arguments: &[&str]) -> Ended {
    let anchors = files.write("anchors.pem", anchors());
    operator.run(&[&["certificates"], arguments, &["--trust-anchor", &anchors]].concat())
}

/// Kinds and states, in the order of the keys.
fn listed(operator: &Operator, files: &Files) -> Vec<String> {
    let ended = certificates(operator, files, &["list", "--json"]);
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let rows = document["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| format!("{} {}", row["key"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_hosts_table_and_azures_answer_are_imported() {
    let operator = Operator::file(&Contents::default()).await;
    let files = Files::new();
    let milan = amd(Product::Milan);
    let vcek = milan.vcek(&Chip::new(Product::Milan, 1)).certificate;
    let vlek = milan.vlek("CN=cc-us-east-2.amazonaws.com", Chip::new(Product::Milan, 1).tcb).certificate;
    let host = table(&[(CertType::VCEK, &vcek), (CertType::ASK, milan.ask()), (CertType::ARK, milan.ark())]);
    let host = files.write("auxblob", host);
    assert_eq!(certificates(&operator, &files, &["import", &host]).code, Some(0));
    assert_eq!(listed(&operator, &files).len(), 2);

    let second = milan.vcek(&Chip::new(Product::Milan, 2)).certificate;
    let pem = |der: &[u8]| pem_of(der).replace('\n', "\\n");
    let thim = format!(
        r#"{{"vcekCert":"{}","tcbm":"DB18","certificateChain":"{}{}","cacheControl":"86400"}}"#,
        pem(&second),
        pem(milan.ask()),
        pem(milan.ark())
    );
    let thim = files.write("thim.json", thim);
    assert_eq!(certificates(&operator, &files, &["import", &thim]).code, Some(0));
    assert_eq!(listed(&operator, &files).len(), 3);

    // A provider's host has a VLEK and its ASVK. The store keeps only the ASVK.
    let cloud = files.write("cloud", table(&[(CertType::VLEK, &vlek), (CertType::ASK, &milan.asvk())]));
    let ended = certificates(&operator, &files, &["import", &cloud]);
    assert!(ended.code == Some(0) && ended.out.contains("the guest sends it"), "{ended:?}");
    assert!(listed(&operator, &files).contains(&"Milan/vlek/chain ok".to_owned()));
    let alone = certificates(&operator, &files, &["import", &files.write("vlek.der", &vlek)]);
    assert_eq!((alone.code, alone.out.as_str()), (Some(5), ""), "{alone:?}");
    // If the host made one certificate up, nothing of its table is kept.
    let mut forged = vlek;
    *forged.last_mut().unwrap() ^= 1;
    let forged = files.write("forged", table(&[(CertType::VLEK, &forged), (CertType::ASK, &milan.asvk())]));
    assert_eq!(certificates(&operator, &files, &["import", &forged]).code, Some(3));
}

/// A Turin's chip id may be written with 16 digits, or with 112 zeros behind them; the audit log finds both.
#[tokio::test]
async fn decisions_about_a_chip_are_found_by_either_length_of_its_id() {
    let about = |product, seed| {
        let machine = Machine::new(amd(product), &Chip::new(product, seed));
        let report = Report::parse(&machine.report([0; 64])).unwrap();
        let product = snp::product::Product::parse(&product.to_string()).unwrap();
        AuditRecord {
            evidence: Some(EvidenceSummary::of(&report, EvidenceForm::Snp, Some(product), true)),
            ..record(&WorkloadId::new("billing").unwrap(), Decision::Attested, SignedDuration::from_hours(1))
        }
    };
    let records = vec![about(Product::Turin, 1), about(Product::Turin, 2), about(Product::Milan, 3)];
    let turin = HEXLOWER.encode(&Chip::new(Product::Turin, 1).chip_id());
    let expected = records[0].id.to_string();
    for operator in Operator::everywhere(&Contents { records, ..Contents::default() }).await {
        for id in [turin.clone(), turin[..16].to_owned(), format!("0x{}", turin[..16].to_uppercase())] {
            let found = operator.json(&["audit", "--chip-id", &id])["records"].clone();
            let ids: Vec<_> = found.as_array().unwrap().iter().map(|record| &record["id"]).collect();
            assert_eq!(ids, [expected.as_str()], "{} {id}", operator.kind);
        }
    }
}

fn pem_of(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der))
}

/// A certificate that is not AMD's was not verified, so the result is not "denied".
#[tokio::test]
async fn another_authoritys_certificate_is_unreadable_not_denied() {
    let operator = Operator::file(&Contents::default()).await;
    let files = Files::new();
    let (report, vcek) = sample();
    let (report, vcek) = (files.write("report.bin", report), files.write("vcek.der", vcek));
    let tls = Authority::new();
    for (name, bytes) in
        [("tls.pem", tls.pem().into_bytes()), ("key.pem", b"-----BEGIN PRIVATE KEY-----\n".to_vec())]
    {
        let file = files.write(name, bytes);
        let ended = certificates(&operator, &files, &["import", &file]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{ended:?}");
        let ended =
            verify(&["--report", &report, "--endorsement", &vcek, "--endorsement", &file, "--at", AT]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{ended:?}");
    }
}

/// Export from a store of any kind and import into another gives the same rows in the same state.
#[tokio::test]
async fn export_writes_what_import_takes() {
    let files = Files::new();
    let source = Operator::file(&Contents::default()).await;
    let mut all = vec!["import".to_owned(), "--list-for".to_owned(), "vcek".to_owned()];
    for (product, seed) in [(Product::Milan, 1), (Product::Turin, 2)] {
        let amd = amd(product);
        all.push(files.write(&format!("{seed}.der"), amd.vcek(&Chip::new(product, seed)).certificate));
        all.push(files.write(&format!("{seed}.pem"), amd.chain_pem(Ca::Ask)));
        all.push(files.write(&format!("{seed}.crl"), amd.crl(&CrlOptions::default())));
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let ended = certificates(&source, &files, &all);
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let exported = certificates(&source, &files, &["export", "--list-for", "vcek"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let bundle = files.write("certificates.pem", &exported.out);
    for target in Operator::everywhere(&Contents::default()).await {
        let ended = certificates(&target, &files, &["import", "--list-for", "vcek", &bundle]);
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", target.kind);
        assert_eq!(listed(&target, &files), listed(&source, &files), "{}", target.kind);
        let again = certificates(&target, &files, &["export", "--list-for", "vcek"]);
        assert_eq!(again.out, exported.out, "{}", target.kind);
    }
    // Without --list-for, the export has no revocation list. It can hold a single chip, by either length of
    // its id.
    let without = certificates(&source, &files, &["export"]).out;
    assert!(without.contains("BEGIN CERTIFICATE") && !without.contains("X509 CRL"));
    let turin = HEXLOWER.encode(&Chip::new(Product::Turin, 2).chip_id());
    let one =
        |id: &str| certificates(&source, &files, &["export", "--product", "turin", "--chip-id", id]).out;
    assert_eq!(one(&turin), one(&turin[..16]));
    assert_eq!(one(&turin).matches("BEGIN CERTIFICATE").count(), 2);
    // The export leaves out what this broker would not use.
    let untrusted = source.run(&["certificates", "export", "--list-for", "vcek"]);
    assert_eq!((untrusted.code, untrusted.out.as_str()), (Some(0), ""), "{untrusted:?}");
    assert!(untrusted.log.contains("6 left out"), "{untrusted:?}");
}

#[tokio::test]
async fn a_vceks_url_and_an_extended_report_name_their_chip() {
    let operator = Operator::file(&Contents::default()).await;
    let (files, kds) = (Files::new(), kds());
    let (milan, turin) = (Chip::new(Product::Milan, 1), Chip::new(Product::Turin, 2));
    kds.add(&milan);
    kds.add(&turin);
    // A URL as snphost prints it: for a Turin, with all of CHIP_ID.
    let url = |chip: &Chip| {
        let tcb = chip.tcb;
        let (product, id) = (chip.product(), HEXLOWER.encode(&chip.chip_id()));
        let fmc = if product == Product::Turin { format!("fmcSPL={:02}&", tcb.fmc) } else { String::new() };
        format!(
            "https://kdsintf.amd.com/vcek/v1/{product}/{id}?{fmc}\
             blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
            tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode
        )
    };
    let kds_url = kds.url();
    let prefetch = |arguments: &[&str]| {
        let ended = certificates(
            &operator,
            &files,
            &[&["prefetch", "--json", "--kds-url", &kds_url], arguments].concat(),
        );
        let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        let rows = document["certificates"].as_array().unwrap().clone();
        rows.iter().map(|row| row["result"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let lines = files.write("urls", format!("{}\n{}\n", url(&milan), url(&turin)));
    assert_eq!(prefetch(&["--vcek-url", &url(&milan)]), ["fetched"]);
    assert_eq!(prefetch(&["--from", &lines]), ["held", "fetched"]);
    let machine = Machine::new(amd(Product::Milan), &milan);
    let extended =
        [machine.report([0; 64]).to_vec(), table(&[(CertType::VCEK, &machine.vek.certificate)])].concat();
    let extended = files.write("extended", BASE64.encode(&extended));
    assert_eq!(prefetch(&["--report", &extended]), ["held"]);
    assert_eq!(kds.count(Kind::Vcek), 2);
    for id in [HEXLOWER.encode(&turin.chip_id()), format!("0x{}", HEXLOWER.encode(turin.hwid()))] {
        let ended = certificates(&operator, &files, &["list", "--chip-id", &id]);
        assert!(ended.out.contains("Turin") && !ended.out.contains("Milan"), "{ended:?}");
        let ended = certificates(&operator, &files, &["purge", "--chip-id", &id, "--dry-run"]);
        assert!(ended.log.contains("1 would be deleted"), "{ended:?}");
    }
}
