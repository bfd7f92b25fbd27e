//! A guest without an open challenge has no certificate parsed.

use keybroker_rego::RegoEngine;
use std::{sync::Arc, time::Duration};

use data_encoding::{BASE64, HEXLOWER};
use keybroker_common::{
    admission::Admission,
    broker::{Attest, AttestKeys, Broker, Credential, Error, Evidence, Origin, Parts, RegisterRequest},
    challenge::{Claim, Deployment},
    clock::SystemClock,
    config::KdsSettings,
    dialect::Dialect,
    ids::{CarriedId, SessionId},
    keyring::Purpose,
    requirements::{AppraisalPolicy, ReferenceValues},
    secret::Secret,
    wire::handshake,
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_simulator::{
    Product,
    pki::{Amd, Chip},
    report::ReportFields,
};
use keybroker_snp::{anchors::TrustAnchors, report::Report};
use serde_json::json;

use super::*;
use crate::source::parsed::PARSED;

const TTL: Duration = Duration::from_secs(300);

/// The most that a stranger can send: a report as a chip signs it, and eight certificates that belong to it.
struct Sent {
    report: Vec<u8>,
    certificates: Vec<Vec<u8>>,
}

impl Sent {
    fn new() -> Self {
        let (amd, chip) = (Amd::new(Product::Milan, Timestamp::now()), Chip::new(Product::Milan, 1));
        let report = ReportFields::new(&chip).sign(&chip.vcek_key(chip.tcb)).to_vec();
        // Not one byte is the same in any two: PSS salts each signature.
        let veks = (0..7).map(|_| amd.vcek(&chip).certificate);
        let certificates = veks.chain([amd.ask().to_vec()]).collect();
        Self { report, certificates }
    }

    fn evidence(&self) -> Evidence {
        let entry = |der: &Vec<u8>| json!({ "cert_type": "VCEK", "data": der });
        let chain: Vec<_> = self.certificates.iter().map(entry).collect();
        let evidence = json!({
            "gen": "milan", "report": HEXLOWER.encode(&self.report), "cert_chain": json!(chain).to_string(),
        });
        let key = json!({ "alg": "RSA", "k-mod": BASE64.encode(&[0xC3; 256]), "k-exp": "AQAB" });
        let body = json!({ "tee-pubkey": key, "tee-evidence": evidence.to_string() }).to_string();
        handshake::evidence(vec![Dialect::Libkrun], &Claim::HostData, body.as_bytes()).unwrap()
    }
}

/// How an attestation with this evidence fails, and how many certificates were parsed.
async fn counted(attest: &Attest, session: &SessionId, sent: &Sent) -> (Error, usize) {
    PARSED.set(0);
    let error = attest.attest(session, sent.evidence()).await.unwrap_err();
    (error, PARSED.get())
}

/// And so none is verified: what is verified was parsed. Neither is one of a report that no challenge was
/// given for.
#[tokio::test]
async fn without_an_open_challenge_no_certificate_is_parsed() {
    let clock = Arc::new(SystemClock);
    let store = Arc::new(EmbeddedStore::in_memory(clock.clone()).unwrap());
    let key = Arc::new(LocalKey::in_memory().unwrap());
    let settings = KdsSettings { known_chips_only: true, ..KdsSettings::default() };
    let source = EndorsementSource::new(TrustAnchors::default(), store.clone(), clock.clone(), &settings);
    let source = Arc::new(source);
    let Broker { register, auth, attest } = Broker::new(Parts {
        store,
        wrap: key.clone(),
        keys: AttestKeys {
            sessions: Arc::new(key.keyring(Purpose::Session)),
            results: Arc::new(key.keyring(Purpose::Result)),
            unwrap: key.clone(),
            signers: Arc::new(keybroker_testing::signer::NoSigners),
        },
        endorsements: source.clone(),
        trials: Arc::new(RegoEngine::default()),
        policies: Arc::new(RegoEngine::default()),
        fleet: Arc::default(),
        admission: Admission::OPEN,
        clock,
        origin: Origin {
            deployment: Deployment::new("test"),
            keys: Arc::new(key.keyring(Purpose::Challenge)),
            ttl: TTL,
        },
    });
    let workload_id = WorkloadId::new("open").unwrap();
    let request = RegisterRequest {
        workload_id: workload_id.clone(),
        dialects: Dialect::Libkrun.into(),
        credential: Credential::None,
        reference_values: ReferenceValues { measurements: Vec::new() },
        policy: AppraisalPolicy::default(),
        rego: None,
        secrets: [("passphrase".to_owned(), Secret::new(b"open sesame".to_vec()))].into(),
    };
    register.register(request).await.unwrap();

    let sent = Sent::new();
    let (error, parsed) =
        counted(&attest, &SessionId::new(1, 0, [0; 12], Claim::HostData, |_| [0; 8]), &sent).await;
    assert!(matches!(error, Error::NoSession { .. }) && parsed == 0, "{error:?}, {parsed}");
    let challenge = auth.challenge(Claim::Named(CarriedId::new(workload_id.clone()).unwrap())).await.unwrap();
    let (error, parsed) = counted(&attest, &challenge.session_id, &sent).await;
    assert!(matches!(error, Error::Refused { .. }) && parsed == 0, "{error:?}, {parsed}");

    // The calls below parse the certificates, so that the count means something.
    let report = Report::parse(&sent.report).unwrap();
    let presented = Presented { report: &report, claimed_product: None, certificates: &sent.certificates };
    PARSED.set(0);
    let error = source.obtain(&presented, None, &workload_id).await.unwrap_err();
    assert!(PARSED.get() > 0, "{error:?}");
}
