//! Requests ask for the right product, chip and TCB.

use keybroker_kds::EndorsementError;
use keybroker_simulator::{
    Product, Tcb,
    kds::Kind,
    report::{ReportFields, SIGNED_BY_NONE},
};
use keybroker_snp::product;

use crate::harness::hardware::{Hardware, endorse, endorse_with, signed};

fn vcek_targets(hardware: &Hardware) -> Vec<String> {
    let requests = hardware.kds.requests();
    requests.into_iter().filter(|one| one.kind == Kind::Vcek).map(|one| one.target).collect()
}

#[tokio::test]
async fn each_product_is_asked_for_in_its_own_form() {
    for (product, query) in [
        (Product::Milan, "blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"),
        (Product::Genoa, "blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84"),
        (Product::Turin, "fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"),
    ] {
        let hardware = Hardware::of(product).await;
        let endorsements = endorse(&hardware.source(), &hardware.report()).await.unwrap();
        assert_eq!(endorsements.chain.vek().product.name(), product.name());
        let hwid = data_encoding::HEXLOWER.encode(hardware.chip.hwid());
        assert_eq!(vcek_targets(&hardware), [format!("/vcek/v1/{product}/{hwid}?{query}")]);
    }
}

/// The platform may run newer firmware than it reports; the key is the reported version's.
#[tokio::test]
async fn the_reported_tcb_is_asked_for_and_not_the_current() {
    let hardware = Hardware::new().await;
    let current_tcb = Tcb { microcode: 255, ..hardware.chip.tcb };
    let fields = ReportFields { current_tcb, ..ReportFields::new(&hardware.chip) };
    endorse(&hardware.source(), &signed(&fields, &hardware.chip)).await.unwrap();
    assert!(vcek_targets(&hardware)[0].ends_with("ucodeSPL=219"));
}

#[tokio::test]
async fn cpuid_outweighs_what_the_guest_claims() {
    let hardware = Hardware::of(Product::Genoa).await;
    let claimed = Some(product::Product::Milan);
    endorse_with(&hardware.source(), &hardware.report(), claimed, &[]).await.unwrap();
    assert_eq!(vcek_targets(&hardware).len(), 1);
}

/// Version 2 reports do not name the product: what the guest claims is only where to ask first.
#[tokio::test]
async fn without_cpuid_the_chips_certificate_decides() {
    for (claimed, asked) in [
        (Some(product::Product::Genoa), vec!["Genoa"]),
        (Some(product::Product::Milan), vec!["Milan", "Genoa"]),
        (Some(product::Product::Turin), vec!["Milan", "Genoa"]),
        (None, vec!["Milan", "Genoa"]),
    ] {
        let hardware = Hardware::of(Product::Genoa).await;
        let fields = ReportFields { version: 2, ..ReportFields::new(&hardware.chip) };
        let report = signed(&fields, &hardware.chip);
        let endorsements = endorse_with(&hardware.source(), &report, claimed, &[]).await.unwrap();
        assert_eq!(endorsements.chain.vek().product, product::Product::Genoa);
        let targets = vcek_targets(&hardware);
        assert_eq!(targets.len(), asked.len(), "{claimed:?}");
        for (target, product) in targets.iter().zip(asked) {
            assert!(target.starts_with(&format!("/vcek/v1/{product}/")), "{claimed:?}: {target}");
        }
    }
}

#[tokio::test]
async fn a_masked_chip_is_never_asked_for() {
    let hardware = Hardware::new().await;
    let fields = ReportFields { chip_id: [0; 64], ..ReportFields::new(&hardware.chip) };
    let outcome = endorse(&hardware.source(), &signed(&fields, &hardware.chip)).await;
    assert_eq!(outcome.unwrap_err(), EndorsementError::MaskedChip);
    assert_eq!(hardware.kds.requests(), []);
}

#[tokio::test]
async fn a_report_that_no_key_signed_is_never_asked_for() {
    let hardware = Hardware::new().await;
    let fields = ReportFields { signing_key: SIGNED_BY_NONE, ..ReportFields::new(&hardware.chip) };
    let outcome = endorse(&hardware.source(), &signed(&fields, &hardware.chip)).await;
    assert_eq!(outcome.unwrap_err(), EndorsementError::NoChip);
    assert_eq!(hardware.kds.requests(), []);
}
