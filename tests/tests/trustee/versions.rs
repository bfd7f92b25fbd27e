//! Every row of the table of versions: what kata and guest-components shipped, and beside them each shape
//! that a row could write evidence in.

use keybroker_simulator::{
    Product,
    guest::trustee::{CertTable, Credential, KbsVersion, KeyForm, Shape, Transcript, TrusteeGuest},
};
use keybroker_tests::world::{World, amd};

use crate::scene::{PATH, Refusal, Scene, key_forms, usual_key};

/// Boots guests of this row by both ways to a registration, with each key that the version has.
async fn gets_its_secret(version: KbsVersion, shape: Shape, credential: Credential, product: Product) {
    let named = Scene::named(World::start());
    for form in key_forms(version) {
        boot(&named, version, *form, shape, credential, product).await;
    }
    let launched = Scene::launched(named.world);
    boot(&launched, version, usual_key(version), shape, credential, product).await;
}

async fn boot(
    scene: &Scene,
    version: KbsVersion,
    form: KeyForm,
    shape: Shape,
    credential: Credential,
    product: Product,
) {
    let mut guest = scene.guest_on(scene.world.machine(product, 1), version, form);
    guest.shape = shape;
    if shape == Shape::B && product == Product::Turin {
        // The crate of this shape cannot write mitigation vectors.
        guest.machine.fields.version = 3;
    }
    if scene.init_data.is_some() {
        // The host has certificates: whatever the broker cannot use is passed over.
        guest.certificates = Some(CertTable::mixed(amd(product), &guest.machine));
    }
    let opened = guest.boot(PATH, credential).await;
    let what = (version, form, shape, credential, product);
    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{what:?}");
    keep(&guest, scene, credential, opened.as_deref().ok());
}

/// Keeps what was said for the suites of the clients' own types.
fn keep(guest: &TrusteeGuest, scene: &Scene, credential: Credential, opened: Option<&[u8]>) {
    let TrusteeGuest { version, shape, machine, key, .. } = guest;
    let way = if scene.init_data.is_some() { "launched" } else { "named" };
    let (version, alg, product) = (version.text(), key.form().alg(), machine.fields.product);
    let name = format!("{version}-{alg}-{shape:?}-{product}-{credential:?}-{way}");
    Transcript::of(guest, "keybroker", opened).unwrap().keep(&name).unwrap();
}

macro_rules! rows {
    ($($(#[$doc:meta])* $row:ident: $version:ident, $shape:ident;)+) => {$(
        $(#[$doc])*
        mod $row {
            use super::*;

            rows!(@ $version, $shape, a_cookie_gets_the_secret_on_milan, Cookie, Milan);
            rows!(@ $version, $shape, a_cookie_gets_the_secret_on_genoa, Cookie, Genoa);
            rows!(@ $version, $shape, a_cookie_gets_the_secret_on_turin, Cookie, Turin);
            rows!(@ $version, $shape, a_token_gets_the_secret_on_milan, Bearer, Milan);
            rows!(@ $version, $shape, a_token_gets_the_secret_on_genoa, Bearer, Genoa);
            rows!(@ $version, $shape, a_token_gets_the_secret_on_turin, Bearer, Turin);
        }
    )+};
    (@ $version:ident, $shape:ident, $name:ident, $credential:ident, $product:ident) => {
        #[tokio::test]
        async fn $name() {
            let (version, shape) = (KbsVersion::$version, Shape::$shape);
            gets_its_secret(version, shape, Credential::$credential, Product::$product).await;
        }
    };
}

rows! {
    /// guest-components 0.8 and 0.9, sev 1.2 and 3.1.
    kata_3_3_to_3_8_with_0_1_0_in_shape_a: V0_1_0, A;
    /// guest-components 0.10 and 0.11, sev 3.1 and 4.0.
    kata_3_9_to_3_14_with_0_1_1_in_shape_a: V0_1_1, A;
    /// guest-components 0.12 and 0.13, sev 4.0.
    kata_3_15_to_3_17_with_0_2_0_in_shape_a: V0_2_0, A;
    /// A commit of guest-components of June 2025, sev 6.2.
    kata_3_18_with_0_2_0_in_shape_b: V0_2_0, B;
    /// guest-components 0.14, sev 6.2.
    kata_3_19_and_3_20_with_0_4_0_in_shape_b: V0_4_0, B;
    /// guest-components 0.15 and later, sev 6.3.
    kata_3_21_and_later_with_0_4_0_in_shape_c: V0_4_0, C;
    a_build_with_0_1_0_in_shape_b: V0_1_0, B;
    a_build_with_0_1_0_in_shape_c: V0_1_0, C;
    a_build_with_0_1_1_in_shape_b: V0_1_1, B;
    a_build_with_0_1_1_in_shape_c: V0_1_1, C;
    a_build_with_0_2_0_in_shape_c: V0_2_0, C;
    a_build_with_0_4_0_in_shape_a: V0_4_0, A;
}

/// A refusal has the members that the client reads, in every version.
#[tokio::test]
async fn a_guest_of_another_image_gets_nothing_in_any_version() {
    let scene = Scene::launched(World::start());
    for version in KbsVersion::ALL {
        for credential in Credential::ALL {
            let mut guest = scene.guest(version);
            guest.machine.fields.measurement = [0x66; 48];
            let answer = guest.boot(PATH, credential).await;
            scene.assert_refused(answer, Refusal::at_attest("measurement"));
            scene.assert_refused(guest.resource(PATH, Credential::Cookie).await, Refusal::LATE);
            let name = format!("{}-refused-{credential:?}", version.text());
            Transcript::of(&guest, "keybroker", None).unwrap().keep(&name).unwrap();
        }
    }
    assert_eq!(scene.released(), 0);
}

/// Version 2 names no CPU, and version 5 has mitigation vectors.
#[tokio::test]
async fn reports_of_every_version_get_the_secret_in_every_shape_that_can_write_them() {
    let scene = Scene::named(World::start());
    for product in Product::ALL {
        for (report, shapes) in
            [(2, &Shape::ALL[..]), (3, &Shape::ALL), (4, &Shape::ALL), (5, &[Shape::A, Shape::C])]
        {
            for shape in shapes {
                let machine = scene.world.machine(product, 1);
                let mut guest = scene.guest_on(machine, KbsVersion::V0_4_0, KeyForm::P256);
                (guest.machine.fields.version, guest.shape) = (report, *shape);
                let opened = guest.boot(PATH, Credential::Bearer).await;
                assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{product} {report} {shape:?}");
            }
        }
    }
}

/// VLEKs come with the evidence alone: the KDS serves none.
#[tokio::test]
async fn a_guest_in_a_cloud_gets_the_secret_by_the_certificate_that_it_sends() {
    use keybroker_simulator::{guest::Machine, pki::CSP_ID};

    let scene = Scene::named(World::start());
    let chip = scene.world.chip(Product::Genoa, 7);
    for version in KbsVersion::ALL {
        let machine = Machine::in_cloud(amd(Product::Genoa), &chip, CSP_ID);
        let mut guest = scene.guest_on(machine, version, usual_key(version));
        let opened = guest.boot(PATH, Credential::Cookie).await;
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{version:?}");
    }
}

/// The client asks before it shakes hands.
#[tokio::test]
async fn a_client_that_only_asks_gets_its_secret_after_401() {
    use keybroker_simulator::guest::trustee::Pace;

    let scene = Scene::launched(World::start());
    for version in KbsVersion::ALL {
        for credential in Credential::ALL {
            let mut guest = scene.guest(version);
            let opened = guest.fetch(PATH, credential, Pace::HURRIED).await;
            assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{version:?} {credential:?}");
            let statuses: Vec<u16> = guest.exchanges.iter().map(|exchange| exchange.status).collect();
            let expected: &[u16] =
                if credential == Credential::Cookie { &[401, 200, 200, 200] } else { &[200, 200, 200] };
            assert_eq!(statuses, expected, "{version:?} {credential:?}");
        }
    }
}
