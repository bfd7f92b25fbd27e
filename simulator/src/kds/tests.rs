use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use data_encoding::HEXLOWER;
use x509_cert::{Certificate, crl::CertificateList, der::Decode};

use super::*;
use crate::{
    Tcb,
    http::{self, Endpoint, Response},
    pki::CrlOptions,
};

fn amd(product: Product) -> Amd {
    Amd::new(product, "2026-11-01T12:00:00Z".parse().expect("a timestamp"))
}

async fn kds(product: Product) -> (Kds, Chip) {
    let kds = Kds::start([amd(product)]).await.expect("a free port");
    let chip = Chip::new(product, 1);
    kds.add(&chip);
    (kds, chip)
}

async fn try_get(url: &str, target: &str, deadline: u64) -> io::Result<Response> {
    let authority = Endpoint::parse(url).expect("a URL").authority;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    http::exchange(&authority, request.as_bytes(), Duration::from_millis(deadline)).await
}

async fn get(kds: &Kds, target: &str) -> Response {
    try_get(&kds.url(), target, 20_000).await.expect("a response")
}

fn milan_target(chip: &Chip, tcb: Tcb) -> String {
    let Tcb { boot_loader, tee, snp, microcode, .. } = tcb;
    format!(
        "/vcek/v1/Milan/{}?blSPL={boot_loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
        HEXLOWER.encode(chip.hwid())
    )
}

fn certified_key(der: &[u8]) -> Vec<u8> {
    let certificate = Certificate::from_der(der).expect("a certificate");
    certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec()
}

#[tokio::test]
async fn a_known_chip_has_a_vcek_at_each_tcb() {
    let (kds, chip) = kds(Product::Milan).await;
    let response = get(&kds, &milan_target(&chip, chip.tcb)).await;
    assert_eq!((response.status, response.header("content-type")), (200, vec!["application/pkix-cert"]));
    assert_eq!(certified_key(&response.body), chip.vcek_key(chip.tcb).public_key());

    let older = Tcb { microcode: 7, ..chip.tcb };
    let response = get(&kds, &milan_target(&chip, older)).await;
    assert_eq!(certified_key(&response.body), chip.vcek_key(older).public_key());
    let report = crate::report::ReportFields::new(&chip).sign(&chip.vcek_key(chip.tcb));
    let wrong = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, certified_key(&response.body));
    assert!(wrong.verify(&report[..0x2A0], &report[0x2A0..0x300]).is_err());

    let stranger = Chip::new(Product::Milan, 2);
    assert_eq!(get(&kds, &milan_target(&stranger, chip.tcb)).await.status, 404);
    assert_eq!(kds.count(Kind::Vcek), 3);
    assert_eq!(kds.requests()[1].target, milan_target(&chip, older));
}

#[tokio::test]
async fn a_malformed_tcb_is_a_bad_request() {
    let (kds, chip) = kds(Product::Milan).await;
    let id = HEXLOWER.encode(chip.hwid());
    for query in [
        "",
        "?blSPL=04&teeSPL=00&snpSPL=24",
        "?blSPL=4&teeSPL=00&snpSPL=24&ucodeSPL=219",
        "?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=256",
        "?blSPL=04&blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
        "?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
    ] {
        assert_eq!(get(&kds, &format!("/vcek/v1/Milan/{id}{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn turin_takes_the_short_id() {
    let (kds, chip) = kds(Product::Turin).await;
    let query = "?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81";
    let short = get(&kds, &format!("/vcek/v1/Turin/{}{query}", HEXLOWER.encode(chip.hwid()))).await;
    assert_eq!(certified_key(&short.body), chip.vcek_key(chip.tcb).public_key());
    let long = get(&kds, &format!("/vcek/v1/Turin/{}{query}", HEXLOWER.encode(&chip.chip_id()))).await;
    assert_eq!(long.status, 404);
}

#[tokio::test]
async fn chains_and_revocation_lists_are_served_and_replaced() {
    let (kds, _) = kds(Product::Milan).await;
    let amd = amd(Product::Milan);
    let chain = get(&kds, "/vcek/v1/Milan/cert_chain").await.text();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    let vlek_chain = get(&kds, "/vlek/v1/Milan/cert_chain").await.text();
    assert_ne!(vlek_chain, chain);
    kds.serve_chain(Product::Milan, Ca::Ask, "other");
    assert_eq!(get(&kds, "/vcek/v1/Milan/cert_chain").await.text(), "other");

    let revoked = |der: &[u8]| {
        let list: CertificateList = CertificateList::from_der(der).expect("a CRL");
        list.tbs_cert_list.revoked_certificates.is_some()
    };
    assert!(!revoked(&get(&kds, "/vcek/v1/Milan/crl").await.body));
    let serials = vec![Ca::Ask.serial(Product::Milan)];
    kds.serve_crl(Product::Milan, amd.crl(&CrlOptions { revoked: serials, ..CrlOptions::default() }));
    assert!(revoked(&get(&kds, "/vcek/v1/Milan/crl").await.body));
    assert_eq!((kds.count(Kind::Chain), kds.count(Kind::Crl)), (3, 2));

    for target in
        ["/", "/vcek/v1/Genoa/crl", "/vcek/v2/Milan/crl", "/vlek/v1/Milan/00", "/vcek/v1/Milan/crl/x"]
    {
        assert_eq!(get(&kds, target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn behaviours_come_in_their_order_and_then_it_serves() {
    let (kds, chip) = kds(Product::Milan).await;
    let target = milan_target(&chip, chip.tcb);
    kds.script(
        Kind::Vcek,
        [
            Behaviour::Status(429, Some(10)),
            Behaviour::Html200,
            Behaviour::WrongChip,
            Behaviour::Empty,
            Behaviour::Truncated,
            Behaviour::Reset,
            Behaviour::Hang,
            Behaviour::Slow(Duration::from_millis(1)),
        ],
    );
    let limited = get(&kds, &target).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, vec!["10"]));
    assert!(get(&kds, &target).await.text().starts_with("<!DOCTYPE html>"));
    let wrong = get(&kds, &target).await;
    assert_ne!(certified_key(&wrong.body), chip.vcek_key(chip.tcb).public_key());
    assert!(get(&kds, &target).await.body.is_empty());
    let truncated = try_get(&kds.url(), &target, 20_000).await.expect_err("cut off");
    assert_eq!(truncated.kind(), io::ErrorKind::InvalidData);
    assert!(try_get(&kds.url(), &target, 20_000).await.is_err());
    let hung = try_get(&kds.url(), &target, 50).await.expect_err("no answer");
    assert_eq!(hung.kind(), io::ErrorKind::TimedOut);
    assert_eq!(get(&kds, &target).await.status, 200);
    assert_eq!(get(&kds, &target).await.status, 200);

    kds.otherwise(Behaviour::Status(503, None));
    kds.script_any([Behaviour::Serve]);
    assert_eq!(get(&kds, "/vcek/v1/Milan/crl").await.status, 200);
    assert_eq!(get(&kds, "/vcek/v1/Milan/crl").await.status, 503);
    kds.recover();
    assert_eq!(get(&kds, "/vcek/v1/Milan/crl").await.status, 200);
}

#[tokio::test]
async fn held_requests_arrive_and_wait() {
    let (kds, _) = kds(Product::Milan).await;
    kds.hold();
    let url = kds.url();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { try_get(&url, "/vcek/v1/Milan/cert_chain", 20_000).await })
        })
        .collect();
    kds.arrived(Kind::Chain, 3).await;
    assert!(clients.iter().all(|client| !client.is_finished()));
    assert_eq!(kds.peak(), 3);
    kds.release();
    for client in clients {
        assert_eq!(client.await.expect("no panic").expect("a response").status, 200);
    }
    get(&kds, "/vcek/v1/Milan/cert_chain").await;
    assert_eq!((kds.peak(), kds.shared.state().in_flight), (3, 0));
}

#[tokio::test]
async fn a_dropped_kds_is_gone() {
    let (kds, _) = kds(Product::Milan).await;
    let url = kds.url();
    drop(kds);
    // The task ends at its next turn.
    tokio::task::yield_now().await;
    assert!(try_get(&url, "/vcek/v1/Milan/crl", 20_000).await.is_err());
}
