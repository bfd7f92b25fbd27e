//! keybroker-guest's own code in a confidential VM of Azure: from the vTPM to the secret, over the loopback.

use std::{io, sync::Arc, time::Instant};

use keybroker_guest::{
    exit::Exit,
    report::vtpm::{self, Vtpm},
};
use keybroker_initdata::Binding;
use keybroker_simulator::Product;
use keybroker_testing::vtpm::{Channel, Vm};
use keybroker_tests::world::{MEASUREMENT, World};
use serde_json::{Value, json};

use super::guest::{Machine, SECRET, decision};

/// The way to the VM's TPM.
struct Azure(Arc<Vm>);

impl vtpm::Machine for Azure {
    type Channel = Channel<'static>;

    fn open(&self) -> io::Result<Channel<'static>> {
        let vm = Arc::clone(&self.0);
        Ok(Channel::to(move |command| Ok(vm.respond(command))))
    }
}

/// A VM whose paravisor has this measurement, with a document of this binding.
fn machine(world: &World, measurement: [u8; 48], binding: Binding, require: &Value) -> Machine<Vtpm<Azure>> {
    let mut machine = world.machine(Product::Milan, 1);
    machine.fields.measurement = measurement;
    let start = Instant::now();
    let vm = Arc::new(Vm::new(machine, move || start.elapsed()));
    Machine::registered(world, binding, require, |_| Vtpm::new(Azure(vm)))
}

#[test]
fn a_guest_on_azure_gets_the_secret_where_the_registration_takes_such_evidence() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let required = json!({"evidence": "az-snp-vtpm"});
    let (written, exit, line) = machine(&world, MEASUREMENT, Binding::Nothing, &required).get("passphrase");
    assert_eq!((written.as_slice(), exit), (SECRET, Exit::Done), "{line}");
    let record = world.audit(&json!({"id": decision(&line)}).to_string()).unwrap();
    assert_eq!((&record["operation"], &record["decision"]), (&json!("release"), &json!("released")));
    assert_eq!(record["evidence"]["form"], "az-snp-vtpm", "{record}");
}

#[test]
fn a_guest_above_another_paravisor_gets_nothing() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let required = json!({"evidence": "az-snp-vtpm"});
    let (written, exit, line) = machine(&world, [7; 48], Binding::Nothing, &required).get("passphrase");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::Refused), "{line}");
    let record = world.audit(&json!({"id": decision(&line)}).to_string()).unwrap();
    assert_eq!(record["failed"]["check"], "measurement");
}

/// A registration that does not ask for this form is for guests whose own launch is measured.
#[test]
fn a_guest_on_azure_gets_nothing_where_the_registration_does_not_say_so() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let (written, exit, line) = machine(&world, MEASUREMENT, Binding::Nothing, &json!({})).get("passphrase");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::Refused), "{line}");
    let record = world.audit(&json!({"id": decision(&line)}).to_string()).unwrap();
    assert_eq!(record["failed"]["check"], "evidence-form");
}

/// The guest stops before it asks, whatever the broker would say.
#[test]
fn a_guest_on_azure_does_not_ask_under_a_document_that_calls_itself_bound() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let (written, exit, line) = machine(&world, MEASUREMENT, Binding::HostData, &json!({})).get("passphrase");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::NotTrusted));
    assert_eq!(
        line,
        "keybroker-guest: not trusted here: the document says that it is bound by HOST_DATA, and on Azure nothing \
         binds one: make it with binding = \"none\""
    );
}
