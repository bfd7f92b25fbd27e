//! The evidence of Azure confidential VMs: what is released on it, and every way in which it is refused.

use keybroker_common::{
    audit::Decision,
    broker::RegisterRequest,
    requirements::{BoundBy, EvidenceForm},
};
use keybroker_native::Evidence;
use keybroker_simulator::{
    paravisor::{blob, claims, report_data},
    report::{REPORT_LEN, ReportFields},
};
use keybroker_testing::{
    native::{Guest, challenge, opened, read, with_init_data},
    world::World,
};

const SECRETS: [(&str, &str); 1] = [("passphrase", "of the disk")];

/// A registration whose guests present their report in this form. Nothing binds their init data.
fn registration(id: &str, evidence: EvidenceForm) -> RegisterRequest {
    let mut request = with_init_data(id, BoundBy::Nothing, &SECRETS);
    request.policy.evidence = evidence;
    request
}

fn guest(world: &World, id: &str) -> Guest {
    Guest { host_data: [0; 32], ..Guest::new(world, id, &["passphrase"]) }
}

/// A report of the world's chip.
fn signed(world: &World, report_data: [u8; 64], alter: impl FnOnce(&mut ReportFields)) -> [u8; REPORT_LEN] {
    let chip = &world.hardware.chip;
    let mut fields = ReportFields { report_data, ..ReportFields::new(chip) };
    alter(&mut fields);
    fields.sign(&chip.vcek_key(chip.tcb))
}

/// The blob of claims that the report binds.
fn sound(world: &World, claims: &str) -> Vec<u8> {
    blob(&signed(world, report_data(claims.as_bytes()), |_| {}), claims.as_bytes())
}

fn azures(blob: Vec<u8>) -> Evidence {
    Evidence { form: EvidenceForm::AzSnpVtpm, report: blob, certificates: Vec::new() }
}

/// A guest's evidence, for the 64 bytes that it must carry.
type Present = fn(&World, [u8; 64]) -> Evidence;

/// A sound guest of each form.
fn presented(form: EvidenceForm) -> Present {
    match form {
        EvidenceForm::Snp => {
            |world, bound| Evidence::of_report(signed(world, bound, |_| {}).to_vec(), vec![])
        }
        EvidenceForm::AzSnpVtpm => |world, bound| azures(sound(world, &claims(Some(&bound)))),
    }
}

/// The outcome: the secret, or the check that failed with its cause.
async fn decided(world: &World, id: &str, present: Present) -> Result<String, (String, String)> {
    let broker = world.broker();
    let challenge = challenge(&broker).await;
    let (pending, body) = guest(world, id).presents(world, &challenge, |bound| present(world, bound));
    let (session_id, request) = read(&body);
    let answer = broker.attest.release_secrets(&session_id, request).await;
    let record = world.decision(&session_id).await.unwrap().record;
    match answer {
        Ok(answer) => {
            let opened = opened(world, pending, &answer.to_json()).unwrap();
            assert_eq!(record.decision, Decision::Released);
            let evidence = record.evidence.unwrap();
            assert!(evidence.verified);
            Ok(format!("{} {}", evidence.form, String::from_utf8(opened.secrets[0].to_vec()).unwrap()))
        }
        Err(_) => {
            assert_eq!(record.decision, Decision::Refused);
            let failed = record.failed.unwrap();
            Err((failed.check, failed.cause))
        }
    }
}

#[tokio::test]
async fn each_form_gets_the_secrets_of_its_own_registrations_alone() {
    let world = World::new().await;
    for form in EvidenceForm::ALL {
        world.broker().register.register(registration(form.name(), form)).await.unwrap();
    }
    for registered in EvidenceForm::ALL {
        for form in EvidenceForm::ALL {
            let decided = decided(&world, registered.name(), presented(form)).await;
            if form == registered {
                assert_eq!(decided, Ok(format!("{form} of the disk")));
            } else {
                let cause = format!(
                    "the report was presented in the form {form}, the registration demands {registered}"
                );
                assert_eq!(decided, Err(("evidence-form".to_owned(), cause)));
            }
        }
    }
}

/// One row for each defect: the check that finds it, and a part of the cause.
#[tokio::test]
async fn every_defect_is_refused() {
    let world = World::new().await;
    world.broker().register.register(registration("web", EvidenceForm::AzSnpVtpm)).await.unwrap();
    let rows: [(&str, Present, &str, &str); 22] = [
        (
            "a blob that says it is a report",
            |world, bound| Evidence {
                form: EvidenceForm::Snp,
                ..presented(EvidenceForm::AzSnpVtpm)(world, bound)
            },
            "report",
            "a report has 1184 bytes, this has 2600",
        ),
        (
            "a report that says it is a blob",
            |world, bound| azures(presented(EvidenceForm::Snp)(world, bound).report),
            "report",
            "an HCL report has 1236 to 4096 bytes, this has 1184",
        ),
        (
            "a bare report that binds claims",
            |world, bound| {
                let claims = report_data(claims(Some(&bound)).as_bytes());
                Evidence::of_report(signed(world, claims, |_| {}).to_vec(), Vec::new())
            },
            "challenge",
            "is not bound to this challenge",
        ),
        (
            "a report of TDX",
            |world, bound| {
                let mut evidence = presented(EvidenceForm::AzSnpVtpm)(world, bound);
                evidence.report[1224] = 4;
                evidence
            },
            "report",
            "4 is Intel TDX",
        ),
        (
            "another hash",
            |world, bound| {
                let mut evidence = presented(EvidenceForm::AzSnpVtpm)(world, bound);
                evidence.report[1228] = 2;
                evidence
            },
            "report",
            "hashed by algorithm 2",
        ),
        (
            "claims that end early",
            |world, bound| {
                let mut evidence = presented(EvidenceForm::AzSnpVtpm)(world, bound);
                evidence.report[1232] -= 1;
                evidence
            },
            "report",
            "sizes in the HCL report disagree",
        ),
        (
            "a client that writes nothing",
            |world, _| azures(sound(world, &claims(None))),
            "challenge",
            "nothing was written to the NV index 0x01400002",
        ),
        (
            "a client that writes nothing, and a later paravisor",
            |world, _| azures(sound(world, &claims(Some(&[0; 64])))),
            "challenge",
            "user-data in the claims is all zeros",
        ),
        (
            "the blob of another challenge",
            |world, _| azures(sound(world, &claims(Some(&[0xA5; 64])))),
            "challenge",
            "user-data in the claims is not what answers this challenge",
        ),
        (
            "one bit of user-data",
            |world, mut bound| {
                bound[63] ^= 1;
                azures(sound(world, &claims(Some(&bound))))
            },
            "challenge",
            "user-data in the claims is not what answers this challenge",
        ),
        (
            "user-data of the first half alone",
            |world, mut bound| {
                bound[32..].fill(0);
                azures(sound(world, &claims(Some(&bound))))
            },
            "challenge",
            "user-data in the claims is not what answers this challenge",
        ),
        (
            "user-data twice",
            |world, bound| {
                let own = claims(Some(&bound));
                let (_, member) = own.rsplit_once(',').unwrap();
                azures(sound(world, &own.replacen('{', &format!("{{{},", member.trim_end_matches('}')), 1)))
            },
            "challenge",
            "user-data twice",
        ),
        (
            "user-data of the virtual machine's configuration",
            |world, bound| {
                let own = claims(Some(&bound));
                let (rest, member) = own.rsplit_once("},").unwrap();
                azures(sound(world, &format!("{rest},{member}}}")))
            },
            "challenge",
            "have no user-data",
        ),
        (
            "claims that are no JSON",
            |world, bound| {
                azures(sound(world, &claims(Some(&bound)).replace("\"user-data\":", "user-data:")))
            },
            "challenge",
            "are not JSON",
        ),
        (
            "an old blob whose user-data was written over",
            |world, bound| {
                let old = claims(Some(&[0xA5; 64]));
                let report = signed(world, report_data(old.as_bytes()), |_| {});
                azures(blob(&report, claims(Some(&bound)).as_bytes()))
            },
            "challenge",
            "REPORT_DATA is not the SHA-256 of the claims, followed by zeros",
        ),
        (
            "a report that binds the guest and not the claims",
            |world, bound| azures(blob(&signed(world, bound, |_| {}), claims(Some(&bound)).as_bytes())),
            "challenge",
            "REPORT_DATA is not the SHA-256 of the claims, followed by zeros",
        ),
        (
            "something behind the hash",
            |world, bound| {
                let own = claims(Some(&bound));
                let mut report_data = report_data(own.as_bytes());
                report_data[63] = 1;
                azures(blob(&signed(world, report_data, |_| {}), own.as_bytes()))
            },
            "challenge",
            "REPORT_DATA is not the SHA-256 of the claims, followed by zeros",
        ),
        (
            "the guest's own level",
            |world, bound| altered(world, bound, |fields| fields.vmpl = 2),
            "vmpl",
            "VMPL 2",
        ),
        (
            "a guest that the host can read",
            |world, bound| altered(world, bound, |fields| fields.policy |= 1 << 19),
            "guest-policy-debug",
            "DEBUG",
        ),
        (
            "another paravisor",
            |world, bound| altered(world, bound, |fields| fields.measurement = [0x66; 48]),
            "measurement",
            "the launch measurement is 6666",
        ),
        (
            "a signature that does not hold",
            |world, bound| {
                let mut evidence = presented(EvidenceForm::AzSnpVtpm)(world, bound);
                evidence.report[32 + 0x2A0] ^= 1;
                evidence
            },
            "signature",
            "",
        ),
        (
            "a report of another version",
            |world, bound| altered(world, bound, |fields| fields.version = 6),
            "report",
            "report version 6",
        ),
    ];
    for (name, present, check, cause) in rows {
        let (found, said) = decided(&world, "web", present).await.expect_err(name);
        assert_eq!(found, check, "{name}: {said}");
        assert!(said.contains(cause), "{name}: {said}");
    }
    assert!(decided(&world, "web", presented(EvidenceForm::AzSnpVtpm)).await.is_ok());
}

/// A paravisor's blob of a report with this alteration.
fn altered(world: &World, bound: [u8; 64], alter: impl FnOnce(&mut ReportFields)) -> Evidence {
    let claims = claims(Some(&bound));
    azures(blob(&signed(world, report_data(claims.as_bytes()), alter), claims.as_bytes()))
}

/// A blob answers one challenge, for one key.
#[tokio::test]
async fn a_blob_is_no_answer_to_another_challenge_or_with_another_key() {
    let world = World::new().await;
    let broker = world.broker();
    broker.register.register(registration("web", EvidenceForm::AzSnpVtpm)).await.unwrap();
    let guest = guest(&world, "web");
    let mut kept = None;
    let given = challenge(&broker).await;
    let _ = guest.presents(&world, &given, |bound| {
        let evidence = presented(EvidenceForm::AzSnpVtpm)(&world, bound);
        kept = Some(evidence.clone());
        evidence
    });
    // The same challenge and another key, then another challenge.
    for challenge in [given, challenge(&broker).await] {
        let (_, body) = guest.presents(&world, &challenge, |_| kept.clone().unwrap());
        let (session_id, request) = read(&body);
        broker.attest.release_secrets(&session_id, request).await.unwrap_err();
        let failed = world.decision(&session_id).await.unwrap().record.failed.unwrap();
        assert_eq!(failed.check, "challenge");
        assert!(failed.cause.contains("user-data in the claims is not what answers"), "{}", failed.cause);
    }
}
