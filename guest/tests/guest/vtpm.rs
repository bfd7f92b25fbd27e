//! The vTPM of Azure's confidential VMs: an emulated TPM, beside the tools of others.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::symlink,
    sync::Arc,
    thread,
    time::Duration,
};

use keybroker_guest::{
    console::Kept,
    doctor::Doctor,
    document::{Bond, Place},
    exit::Exit,
    failure::Failure,
    inspect,
    look::{LookError, look},
    report::{self, Evidence, Missing, ReportError, ReportSource, vtpm},
    root::Root,
    unbound,
};
use keybroker_initdata::Binding;
use keybroker_native::EvidenceForm;
use keybroker_simulator::guest::Machine;
use keybroker_snp::hcl::HclReport;
use keybroker_testing::vtpm::honest;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use crate::{
    paravisor::{Act, DEFINE, Paravisor, READ, READ_PUBLIC, WRITE, milan, mixed},
    world::World,
};

const DATA: [u8; 64] = [0x5A; 64];

fn seconds<const N: usize>(seconds: [u64; N]) -> Vec<Duration> {
    seconds.map(Duration::from_secs).to_vec()
}

#[test]
fn a_guest_gets_a_fresh_report_and_reads_what_tpm2_tools_read() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    paravisor.time.advance(Duration::from_secs(3));
    let evidence = paravisor.attest(&DATA).unwrap();
    assert_eq!((evidence.form, &evidence.certificates), (EvidenceForm::AzSnpVtpm, &vec![]));
    let hcl = HclReport::parse(&evidence.report).unwrap();
    assert_eq!(hcl.user_data(), Ok(DATA));
    assert_eq!(paravisor.pauses(), [Duration::ZERO; 0], "a report that is due is not waited for");
    assert_eq!(
        *paravisor.commands.lock().unwrap(),
        [READ_PUBLIC, READ_PUBLIC, DEFINE, WRITE, READ, READ, READ, READ]
    );
    assert_eq!(paravisor.index("0x01400001"), evidence.report);
    assert_eq!(paravisor.index("0x01400002"), DATA);
    // The index that the guest made serves other programs, too: az-cvm-vtpm writes as the owner.
    let public = String::from_utf8(paravisor.tool("tpm2_nvreadpublic", &["0x01400002"])).unwrap();
    for line in ["friendly: ownerwrite|ownerread|no_da|written", "size: 64", "friendly: sha256"] {
        assert!(public.contains(line), "{public}");
    }
}

#[test]
fn an_index_that_others_made_is_written_to_by_the_owner_or_by_itself() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let rows: [&[&str]; 5] = [
        // The default of tpm2_nvdefine.
        &[],
        // az-cvm-vtpm, and so the attesters of Confidential Containers.
        &["-a", "ownerwrite|ownerread|ppread"],
        &["-a", "authwrite|authread|ownerread"],
        &["-a", "authwrite|ownerwrite|ownerread|write_stclear"],
        &["-a", "ownerwrite|ownerread|writeall|policywrite"],
    ];
    for attributes in rows {
        let paravisor = Paravisor::new();
        let arguments = [&["-C", "o", "-s", "64"], attributes, &["0x01400002"]].concat();
        paravisor.tool("tpm2_nvdefine", &arguments);
        let evidence = paravisor.attest(&DATA).unwrap();
        assert_eq!(paravisor.index("0x01400002"), DATA, "{attributes:?}");
        assert_eq!(HclReport::parse(&evidence.report).unwrap().user_data(), Ok(DATA));
        assert!(!paravisor.commands.lock().unwrap().contains(&DEFINE), "{attributes:?}");
    }
}

/// The paravisor renews at most once in two seconds. A guest that asks earlier gets the report of an earlier
/// request.
#[test]
fn an_earlier_report_is_waited_out() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    paravisor.time.advance(Duration::from_secs(3));
    for data in [[1; 64], [2; 64], [3; 64]] {
        let evidence = paravisor.attest(&data).unwrap();
        assert_eq!(HclReport::parse(&evidence.report).unwrap().user_data(), Ok(data));
    }
    assert_eq!(paravisor.pauses(), seconds([1, 2, 1, 2]));
}

/// If others use the TPM at the same time, the guest needs another attempt, and takes nobody else's report.
#[test]
fn a_report_that_is_renewed_while_it_is_read_is_read_again() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    paravisor.meets(READ, [Act::Meddled]);
    paravisor.time.advance(Duration::from_secs(3));
    let evidence = paravisor.attest(&DATA).unwrap();
    assert_eq!(HclReport::parse(&evidence.report).unwrap().user_data(), Ok(DATA));
    assert_eq!(paravisor.pauses(), seconds([1, 2]));
}

/// A machine with a terminal in place of the device: the kernel's own open, read, write and lock.
struct Device {
    directory: tempfile::TempDir,
    paravisor: Arc<Paravisor>,
}

impl Drop for Device {
    fn drop(&mut self) {
        // The thread at the other end waits for commands, and has the TPM.
        self.paravisor.end();
    }
}

fn machine(paravisor: Paravisor) -> Device {
    let paravisor = Arc::new(paravisor);
    let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&host).unwrap();
    unlockpt(&host).unwrap();
    let name = ptsname(&host, vec![]).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(&name).unwrap();
    let mut raw = tcgetattr(&terminal).unwrap();
    raw.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &raw).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("dev")).unwrap();
    symlink(name, directory.path().join("dev/tpmrm0")).unwrap();
    let responds = Arc::clone(&paravisor);
    thread::spawn(move || {
        let _terminal = terminal;
        let mut host = File::from(host);
        loop {
            let mut command = vec![0; 10];
            host.read_exact(&mut command).unwrap();
            let size = u32::from_be_bytes(command[2..6].try_into().unwrap());
            command.resize(size.try_into().unwrap(), 0);
            host.read_exact(&mut command[10..]).unwrap();
            // The kernel's clock goes on, and the double's does not.
            responds.time.advance(Duration::from_secs(3));
            host.write_all(&responds.respond(&command).unwrap()).unwrap();
        }
    });
    Device { directory, paravisor }
}

#[test]
fn the_device_is_found_behind_the_other_interfaces_and_doctor_says_why() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let device = machine(Paravisor::new());
    let directory = &device.directory;
    let root = Root::at(directory.path());
    let search = report::search(&root);
    assert_eq!(
        search.passed_over.0,
        [("configfs-tsm", Missing::NotThere), ("/dev/sev-guest", Missing::NotThere)]
    );
    let passed_over = search.passed_over.clone();
    let source = search.source().unwrap();
    assert_eq!((source.name(), source.form()), ("the vTPM (/dev/tpmrm0)", EvidenceForm::AzSnpVtpm));
    let evidence = source.report(&DATA).unwrap();
    assert_eq!(HclReport::parse(&evidence.report).unwrap().user_data(), Ok(DATA));

    let mut told = Vec::new();
    let mut doctor = Doctor::new(&mut told);
    doctor.passed_over(&passed_over);
    doctor.report(&*source, None);
    doctor.end().unwrap();
    let told = String::from_utf8(told).unwrap();
    for row in [
        "passed over   configfs-tsm is not there\n",
        "passed over   /dev/sev-guest is not there\n",
        "interface     the vTPM (/dev/tpmrm0)\n",
        "              of Azure's paravisor alone: not of this kernel, not of this initrd\n",
        "certificates  none from the host: the broker asks AMD\n",
    ] {
        assert!(told.contains(row), "{told}");
    }

    let out = directory.path().join("out");
    assert_eq!(inspect::write(&*source, &DATA, &out).unwrap(), "report.bin, hcl.bin");
    let blob = fs::read(out.join("hcl.bin")).unwrap();
    assert_eq!(fs::read(out.join("report.bin")).unwrap(), HclReport::parse(&blob).unwrap().report());

    // An interface that can ask the processor itself comes first.
    fs::write(directory.path().join("dev/sev-guest"), "").unwrap();
    assert_eq!(report::source(&root).unwrap().name(), "/dev/sev-guest");
    fs::create_dir_all(directory.path().join("sys/kernel/config/tsm/report")).unwrap();
    assert_eq!(report::source(&root).unwrap().name(), "configfs-tsm");
}

/// QEMU's guests may have a TPM as well: the report is not looked for in it.
#[test]
fn a_tpm_without_the_paravisors_index_is_passed_over() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let device = machine(Paravisor::without_report());
    let directory = &device.directory;
    let no_index = "the TPM has no index 0x01400001: this is no confidential VM of Azure";
    for (is_tpm, reason) in [(true, no_index), (false, "NV_ReadPublic: the response ends within a field")] {
        let path = directory.path().join("dev/tpmrm0");
        if !is_tpm {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "").unwrap();
        }
        let Err(error) = report::source(&Root::at(directory.path())) else { panic!("a report") };
        let ReportError::Absent(passed_over) = &error else { panic!("{error}") };
        assert_eq!(passed_over.0[2], ("the vTPM (/dev/tpmrm0)", Missing::Other(reason.to_owned())));
        assert_eq!(
            Failure::from(error).to_string(),
            format!(
                "not trusted here: there is no SEV-SNP report to be had: configfs-tsm is not there; \
                 /dev/sev-guest is not there; the vTPM (/dev/tpmrm0) is there: {reason}"
            )
        );
    }
}

/// A VM of Azure without a TPM between: the blob is made for each request.
struct Azure {
    machine: Machine,
    makes: fn(&Machine, [u8; 64]) -> Vec<u8>,
}

impl Azure {
    fn new() -> Self {
        Self { machine: milan(), makes: honest }
    }
}

impl ReportSource for Azure {
    fn name(&self) -> &'static str {
        "a double of Azure"
    }

    fn form(&self) -> EvidenceForm {
        EvidenceForm::AzSnpVtpm
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        Ok(Evidence::of_vtpm((self.makes)(&self.machine, *report_data)))
    }
}

/// The end of a look at Azure's evidence, under a document with this binding.
fn looked(azure: &Azure, binding: Binding, place: Place) -> Result<(), LookError> {
    let mut world = World::new();
    world.settings.binding = binding;
    let found = world.found(place);
    look(azure.report(&DATA).unwrap(), &DATA, &found).map(|_| ())
}

/// The measurement is the paravisor's. Under it a host boots any kernel, and sets any HOST_DATA.
#[test]
fn on_azure_no_document_is_bound_whatever_it_says() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    for place in [Place::BuiltIn, Place::FwCfg, Place::Kept] {
        let azure = Azure::new();
        assert_eq!(looked(&azure, Binding::Nothing, place), Ok(()), "{place:?}");
        for (binding, bond) in [(Binding::HostData, Bond::HostData), (Binding::Measured, Bond::Measured)] {
            assert_eq!(looked(&azure, binding, place), Err(LookError::Paravisor(bond)), "{place:?}");
        }
    }
    // Not even where the host set the digest of this very document.
    let world = World::new();
    let mut azure = Azure::new();
    azure.machine.fields.host_data = world.document().digest().host_data();
    let failure = Failure::from(looked(&azure, Binding::HostData, Place::FwCfg).unwrap_err());
    assert_eq!(failure.exit(), Exit::NotTrusted);
    assert_eq!(
        failure.to_string(),
        "not trusted here: the document says that it is bound by HOST_DATA, and on Azure nothing binds one: make it \
         with binding = \"none\""
    );
    azure.machine.fields.host_data = [7; 32];
    assert_eq!(looked(&azure, Binding::Nothing, Place::FwCfg), Err(LookError::HostDataSet));
}

#[test]
fn the_look_at_azures_evidence_reads_the_report_in_it() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let with = |alter: fn(&mut Azure)| {
        let mut azure = Azure::new();
        alter(&mut azure);
        looked(&azure, Binding::Nothing, Place::FwCfg).unwrap_err()
    };
    assert_eq!(with(|azure| azure.machine.fields.policy |= 1 << 19), LookError::Debug);
    assert_eq!(with(|azure| azure.machine.fields.vmpl = 2), LookError::Vmpl(2));
    assert_eq!(with(|azure| azure.makes = |machine, _| honest(machine, [9; 64])), LookError::UserData);
    assert_eq!(with(|azure| azure.makes = mixed), LookError::Claims);
}

/// A bare report must not pass for one that came through claims, nor the other way round.
#[test]
fn one_form_of_evidence_is_not_taken_for_the_other() {
    let azure = Azure::new();
    let blob = azure.report(&DATA).unwrap().report;
    let mut world = World::new();
    world.settings.binding = Binding::Nothing;
    let found = world.found(Place::FwCfg);
    assert!(matches!(look(Evidence::new(blob, &[]), &DATA, &found), Err(LookError::Report(_))));
    let bare = azure.machine.report(DATA).to_vec();
    assert!(matches!(look(Evidence::of_vtpm(bare), &DATA, &found), Err(LookError::Hcl(_))));
}

#[test]
fn every_run_on_azure_says_what_nothing_measures() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let console = Kept::default();
    unbound::warn_of(&Azure::new(), &console);
    assert_eq!(
        console.lines(),
        [
            "keybroker-guest: warning: on Azure the report measures the paravisor alone: not this kernel, not this \
             initrd, not the command line, whatever MEASURED_BY says"
        ]
    );
    let world = World::new();
    unbound::warn_of(&world.processor(), &*world.console);
    assert_eq!(world.console.lines(), [""; 0]);
}

#[test]
fn the_index_numbers_are_azures() {
    assert_eq!((vtpm::REPORT, vtpm::INPUT), (0x0140_0001, 0x0140_0002));
}
