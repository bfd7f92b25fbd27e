//! The guest's look at its own report: nobody is asked if it does not fit.

use keybroker_guest::{
    document::Place, exit::Exit, failure::Failure, look::LookError, release::AskError, report::ReportError,
};
use keybroker_initdata::Binding;
use keybroker_simulator::report::ReportFields;
use keybroker_snp::report::ParseError;

use crate::{doubles::Processor, world::World};

/// Runs `unlock` where the report is not what it should be: nobody is asked, and nothing is opened.
fn stopped(world: &World, processor: &Processor, line: &str) -> LookError {
    let (outcome, exit) = world.unlock(processor);
    assert_eq!(exit, Exit::NotTrusted);
    assert_eq!(world.last_line(), format!("keybroker-guest: not trusted here: {line}"));
    assert_eq!(world.network.urls(), [""; 0], "somebody was asked");
    assert_eq!(world.cabinet.opened.lock().unwrap().len(), 0);
    match outcome {
        Err(Failure::Look(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn with(world: &World, alter: impl FnOnce(&mut ReportFields)) -> Processor {
    let processor = world.processor();
    alter(&mut processor.fields.lock().unwrap());
    processor
}

#[test]
fn another_host_data_stops_the_guest() {
    let world = World::new();
    let line = "HOST_DATA is not the digest of the document";
    let processor = with(&world, |fields| fields.host_data = [0; 32]);
    assert_eq!(stopped(&world, &processor, line), LookError::HostData);
    let processor = with(&world, |fields| fields.host_data[31] ^= 1);
    assert_eq!(stopped(&world, &processor, line), LookError::HostData);
}

/// Its registration demands no HOST_DATA: any guest of this initrd would get its secrets.
#[test]
fn a_document_from_the_host_that_calls_itself_measured_stops_the_guest() {
    let mut world = World::new();
    world.settings.binding = Binding::Measured;
    let line = "the document calls itself measured, and comes from the host";
    let launched: [fn(&mut ReportFields); 2] = [|_| {}, |fields| fields.host_data = [0; 32]];
    for alter in launched {
        let processor = with(&world, alter);
        assert_eq!(stopped(&world, &processor, line), LookError::NotBuiltIn);
    }
    let processor = with(&world, |fields| fields.host_data = [0; 32]);
    let found = world.found(Place::BuiltIn);
    assert!(world.asker(&found, &processor).look().is_ok());
}

/// The host hands in a document of its own, which opens the host's disk, to a guest that it launched with the
/// HOST_DATA of somebody's document: code on that disk would ask for that document's secrets.
#[test]
fn an_unbound_document_under_host_data_stops_the_guest() {
    let mut world = World::new();
    world.settings.binding = Binding::Nothing;
    let line =
        "the document says that nothing binds it, and HOST_DATA is set: the guest was launched for another";
    let somebodys = with(&world, |fields| fields.host_data = [7; 32]);
    assert_eq!(stopped(&world, &somebodys, line), LookError::HostDataSet);
    assert_eq!(stopped(&world, &world.processor(), line), LookError::HostDataSet);
    let found = world.found(Place::BuiltIn);
    assert!(matches!(world.asker(&found, &somebodys).look(), Err(AskError::Look(LookError::HostDataSet))));
}

#[test]
fn an_unbound_document_goes_on_without_host_data() {
    let mut world = World::new();
    world.settings.binding = Binding::Nothing;
    let processor = with(&world, |fields| fields.host_data = [0; 32]);
    assert_eq!(world.unlock(&processor).1, Exit::Done);
}

#[test]
fn debug_stops_the_guest_whatever_binds_it() {
    for binding in Binding::ALL {
        let mut world = World::new();
        world.settings.binding = binding;
        let processor = with(&world, |fields| fields.policy |= 1 << 19);
        let line = "the guest's policy allows DEBUG: the host can read its memory";
        assert_eq!(stopped(&world, &processor, line), LookError::Debug);
    }
}

#[test]
fn another_vmpl_stops_the_guest() {
    let world = World::new();
    let processor = with(&world, |fields| fields.vmpl = 1);
    assert_eq!(stopped(&world, &processor, "its own report is of VMPL 1, not of VMPL 0"), LookError::Vmpl(1));
}

#[test]
fn somebody_elses_report_stops_the_guest() {
    let world = World::new();
    let processor = Processor { confused: true, ..world.processor() };
    assert_eq!(
        stopped(&world, &processor, "REPORT_DATA of its own report is not what was asked for"),
        LookError::ReportData
    );
}

#[test]
fn bytes_that_are_no_report_stop_the_guest() {
    let world = World::new();
    let processor = with(&world, |fields| fields.version = 9);
    assert_eq!(
        stopped(
            &world,
            &processor,
            "its own report cannot be read: report version 9 is not one of 2, 3, 4, 5: this release would need its \
             layout. Firmware ABI 1.59 has an extended TCB of 256 bits in the report"
        ),
        LookError::Report(ParseError::Version(9))
    );
}

#[test]
fn without_a_report_nobody_is_asked() {
    let world = World::new();
    let processor = world.processor();
    processor.errors.lock().unwrap().push_back(ReportError::Svsm);
    let (outcome, exit) = world.unlock(&processor);
    assert!(matches!(outcome, Err(Failure::Report(ReportError::Svsm))));
    assert_eq!(exit, Exit::NotTrusted);
    assert_eq!(
        world.last_line(),
        "keybroker-guest: not trusted here: the guest's kernel is not at VMPL 0 (firmware error 0x16): an SVSM is \
         below it"
    );
    assert_eq!(world.network.urls(), [""; 0]);
}

/// The report that goes to the broker is another one than the guest looked at first. It is looked at, too.
#[test]
fn a_report_that_changes_between_the_look_and_the_request_is_not_sent() {
    let world = World::new();
    let processor = world.processor();
    let found = world.found(Place::FwCfg);
    let asker = world.asker(&found, &processor);
    asker.look().unwrap();
    processor.fields.lock().unwrap().policy |= 1 << 19;
    let error = asker.release(&["passphrase".to_owned()]).unwrap_err();
    assert!(matches!(error, AskError::Look(LookError::Debug)));
    assert_eq!(world.network.releases().len(), 0);
}
