//! A fleet's measurements straight from `measure` into `register`, and from the record of a refused guest
//! back to the input that differs.

use std::{fs, process::Stdio};

use data_encoding::{BASE64, HEXLOWER};
use keybroker_simulator::guest::{Error, KeybrokerGuest, Machine};
use keybroker_snp::measurement::{
    ovmf::Ovmf,
    qemu::{Launch, Vmm, measure},
    vcpu::{GuestFeatures, parse_signature},
};
use keybroker_testing::ovmf::OvmfImage;
use keybroker_tests::{
    operator::Operator,
    passphrase,
    program::{self, Ended},
    unique,
    world::{World, audit_id},
};
use serde_json::Value;
use tempfile::TempDir;

/// The commands that a record suggests, without the program's name.
fn suggested(words: &str, command: &str) -> Vec<String> {
    let begin = format!("`keybroker {command}");
    let (_, rest) = words.split_once(&begin).unwrap_or_else(|| panic!("{begin}: {words}"));
    let (rest, _) = rest.split_once('`').unwrap();
    format!("{command}{rest}").split(' ').map(str::to_owned).collect()
}

/// The measurement of a guest of the firmware with these vCPUs.
fn launched(ovmf: &[u8], vcpus: u32, model: &str) -> [u8; 48] {
    let (ovmf, signature) = (Ovmf::parse(ovmf).unwrap(), parse_signature(model).unwrap());
    let (vmm, features) = (Vmm::Qemu, GuestFeatures::SNP);
    measure(&Launch { vmm, ovmf: &ovmf, boot: None, vcpus, signature, features }).unwrap()
}

#[tokio::test]
async fn a_fleet_is_registered_by_a_pipe_and_a_guest_outside_of_it_explained() {
    let world = World::serve(&[]);
    let (operator, secret, files) = (Operator::of(&world), passphrase(), TempDir::new().unwrap());
    let image = OvmfImage::default().bytes();
    for (name, bytes) in [("OVMF.fd", image.as_slice()), ("secret", secret.as_bytes())] {
        fs::write(files.path().join(name), bytes).unwrap();
    }
    let fleet = "measure qemu --ovmf OVMF.fd --vcpus 1,2,4,8 --vcpu-type milan,genoa";
    let mut measuring = program::keybroker();
    measuring.args(fleet.split(' ')).arg("--json").current_dir(files.path()).stdout(Stdio::piped());
    let mut measuring = measuring.spawn().unwrap();
    let register = ["register", "--measurements", "-", "--resource", "token=secret", "--yes", "--json"];
    let mut register = operator.command(&register);
    register.current_dir(files.path()).stdin(measuring.stdout.take().unwrap());
    let ended = Ended::from(register.output().unwrap());
    assert!(measuring.wait().unwrap().success() && ended.code == Some(0), "{ended:?}");
    let registered: Value = serde_json::from_str(&ended.out).unwrap();
    let host_data = BASE64.decode(registered["host_data"].as_str().unwrap().as_bytes()).unwrap();

    let guest = |vcpus, model| {
        let mut machine = world.milan();
        machine.fields.host_data = host_data.clone().try_into().unwrap();
        machine.fields.measurement = launched(&image, vcpus, model);
        machine
    };
    let boot = async |machine: Machine| KeybrokerGuest::new(&world.url, machine).unwrap().boot("token").await;
    assert_eq!(boot(guest(4, "genoa")).await, Ok(secret.clone().into_bytes()));
    let machine = guest(3, "genoa");
    fs::write(files.path().join("report.bin"), machine.report([0; 64])).unwrap();
    let refused = match boot(machine).await {
        Err(Error::Refused(said)) => said,
        other => panic!("{other:?}"),
    };
    let words = operator.out(&["audit", &audit_id(&refused.body)]);
    let found = HEXLOWER.encode(&launched(&image, 3, "genoa"));
    let command = suggested(&words, "measure qemu");
    assert_eq!(command.last(), Some(&found), "{words}");
    let run = |arguments: &[String]| {
        let output = program::keybroker().args(arguments).current_dir(files.path()).output().unwrap();
        let ended = Ended::from(output);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    let told = "The guest was launched with 3 vCPUs, and with vCPUs of the type EPYC-Genoa: give --vcpus 3 \
                --vcpu-type EPYC-Genoa.\n";
    assert_eq!(run(&command), told);
    let asked = format!("{fleet} --explain report.bin");
    let told = "The guest was launched with 3 vCPUs, not 1, 2, 4 or 8: give --vcpus 3.\n";
    assert_eq!(run(&asked.split(' ').map(str::to_owned).collect::<Vec<_>>()), told);
}

/// A record's words suggest the command of the VMM that launches the workload's guests.
#[tokio::test]
async fn a_refused_measurement_names_the_command_of_its_vmm() {
    let world = World::serve(&[]);
    let (operator, id) = (Operator::of(&world), unique("w"));
    world.register(&id).await;
    let mut machine = world.milan();
    machine.fields.measurement = [0x66; 48];
    let refused = match world.polite(&id, machine).boot().await {
        Err(Error::Refused(said)) => said,
        other => panic!("{other:?}"),
    };
    let words = operator.out(&["audit", &audit_id(&refused.body)]);
    let expected = ["measure", "krun", "--explain", &"66".repeat(48)];
    assert_eq!(suggested(&words, "measure krun"), expected);
}
