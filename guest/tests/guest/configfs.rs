//! configfs-tsm, against a kernel that does what a test says.

use std::{cell::RefCell, collections::BTreeMap, io};

use keybroker_guest::report::{
    ReportError, ReportSource as _,
    configfs::{Tree, Tsm},
    table::{self, Certificate, Kind},
};
use rustix::io::Errno;

/// An act of the guest, at which the kernel can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Make,
    Write(&'static str),
    Read(&'static str),
}

/// The driver of sev-guest behind the tree, as far as it can be seen.
#[derive(Default)]
struct State {
    directories: BTreeMap<String, Directory>,
    made: u32,
    /// Errors to come, each for the next time that its act happens.
    errors: Vec<(Act, Errno)>,
    /// Acts at which somebody else writes into the directory, each once.
    meddles: Vec<Act>,
    provider: &'static str,
    auxblob: Vec<u8>,
}

#[derive(Default)]
struct Directory {
    inblob: Vec<u8>,
    privlevel: Vec<u8>,
    generation: u32,
}

#[derive(Default)]
struct Kernel(RefCell<State>);

impl Kernel {
    fn sound() -> Self {
        Self(RefCell::new(State { provider: "sev_guest\n", ..State::default() }))
    }

    fn failing(errors: impl IntoIterator<Item = (Act, Errno)>) -> Self {
        let kernel = Self::sound();
        kernel.0.borrow_mut().errors.extend(errors);
        kernel
    }

    fn meddled(acts: impl IntoIterator<Item = Act>) -> Self {
        let kernel = Self::sound();
        kernel.0.borrow_mut().meddles.extend(acts);
        kernel
    }

    fn act(&self, act: Act, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if let Some(place) = state.errors.iter().position(|(at, _)| *at == act) {
            return Err(state.errors.remove(place).1.into());
        }
        if let Some(place) = state.meddles.iter().position(|at| *at == act) {
            state.meddles.remove(place);
            let directory = state.directories.get_mut(name).unwrap();
            directory.generation += 1;
            directory.inblob = vec![0xEE; 64];
        }
        Ok(())
    }
}

impl Tree for &Kernel {
    fn make(&self, name: &str) -> io::Result<()> {
        self.act(Act::Make, name)?;
        let mut state = self.0.borrow_mut();
        state.made += 1;
        assert!(state.directories.insert(name.to_owned(), Directory::default()).is_none());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().directories.remove(name).map(|_| ()).ok_or(Errno::NOENT.into())
    }

    fn write(&self, name: &str, file: &str, bytes: &[u8]) -> io::Result<()> {
        let act = if file == "inblob" { Act::Write("inblob") } else { Act::Write("privlevel") };
        self.act(act, name)?;
        let mut state = self.0.borrow_mut();
        let directory = state.directories.get_mut(name).unwrap();
        match file {
            "inblob" if bytes.len() <= 64 => directory.inblob = bytes.to_vec(),
            "privlevel" => directory.privlevel = bytes.to_vec(),
            _ => return Err(Errno::INVAL.into()),
        }
        directory.generation += 1;
        Ok(())
    }

    fn read(&self, name: &str, file: &str) -> io::Result<Vec<u8>> {
        let act = match file {
            "provider" => Act::Read("provider"),
            "generation" => Act::Read("generation"),
            "outblob" => Act::Read("outblob"),
            _ => Act::Read("auxblob"),
        };
        self.act(act, name)?;
        let state = self.0.borrow();
        let directory = &state.directories[name];
        match file {
            "provider" => Ok(state.provider.as_bytes().to_vec()),
            "generation" => Ok(format!("{}\n", directory.generation).into_bytes()),
            // The report of this double: its REPORT_DATA, and the level that was asked for.
            "outblob" => Ok([directory.inblob.as_slice(), &directory.privlevel].concat()),
            "auxblob" => Ok(state.auxblob.clone()),
            _ => Err(Errno::NOENT.into()),
        }
    }
}

const DATA: [u8; 64] = [0x5A; 64];

/// A request that succeeds after so many directories, and leaves none behind.
fn succeeds(kernel: &Kernel, directories: u32) {
    let evidence = Tsm::new(kernel).report(&DATA).unwrap();
    assert_eq!(evidence.report, [DATA.as_slice(), b"0"].concat());
    assert_eq!(kernel.0.borrow().made, directories);
    assert!(kernel.0.borrow().directories.is_empty());
}

fn fails(kernel: &Kernel) -> ReportError {
    let error = Tsm::new(kernel).report(&DATA).unwrap_err();
    assert!(kernel.0.borrow().directories.is_empty(), "a directory is left");
    error
}

#[test]
fn a_report_is_asked_for_at_vmpl_0() {
    succeeds(&Kernel::sound(), 1);
}

#[test]
fn the_hosts_certificates_come_with_it_and_an_empty_auxblob_is_none() {
    let kernel = Kernel::sound();
    let certificates = vec![Certificate { kind: Kind::Vlek, der: vec![1; 900] }];
    kernel.0.borrow_mut().auxblob = table::write(&certificates);
    assert_eq!(Tsm::new(&kernel).report(&DATA).unwrap().certificates, certificates);
    kernel.0.borrow_mut().auxblob.clear();
    let evidence = Tsm::new(&kernel).report(&DATA).unwrap();
    assert_eq!((evidence.certificates, evidence.table_error), (vec![], None));
}

#[test]
fn a_table_that_cannot_be_read_is_no_certificates_and_says_so() {
    let kernel = Kernel::sound();
    kernel.0.borrow_mut().auxblob = vec![1; 30];
    let evidence = Tsm::new(&kernel).report(&DATA).unwrap();
    assert_eq!((evidence.certificates, evidence.table_error), (vec![], Some(table::TableError::Endless)));
}

#[test]
fn where_the_driver_has_no_auxblob_there_are_no_certificates() {
    for errno in [Errno::NOENT, Errno::NXIO] {
        succeeds(&Kernel::failing([(Act::Read("auxblob"), errno)]), 1);
    }
}

#[test]
fn another_provider_is_refused() {
    let kernel = Kernel::sound();
    kernel.0.borrow_mut().provider = "tdx_guest\n";
    assert!(matches!(fails(&kernel), ReportError::Provider(name) if name == "tdx_guest"));
}

#[test]
fn busy_is_tried_again_in_a_new_directory() {
    let acts = [Act::Write("inblob"), Act::Write("privlevel"), Act::Read("outblob"), Act::Read("auxblob")];
    for act in acts {
        succeeds(&Kernel::failing([(act, Errno::BUSY)]), 2);
    }
    succeeds(&Kernel::failing([(Act::Make, Errno::BUSY), (Act::Make, Errno::EXIST)]), 1);
    succeeds(&Kernel::failing([(Act::Read("outblob"), Errno::AGAIN)]), 2);
}

#[test]
fn busy_at_every_attempt_ends() {
    let kernel = Kernel::failing([(Act::Write("inblob"), Errno::BUSY); 10]);
    assert!(matches!(fails(&kernel), ReportError::Busy("configfs-tsm", 5)));
    assert_eq!(kernel.0.borrow().made, 5);
}

/// Somebody else's write between the own ones and the report: the report would be somebody else's.
#[test]
fn a_generation_that_moves_is_tried_again() {
    for act in [Act::Write("privlevel"), Act::Read("outblob"), Act::Read("auxblob")] {
        succeeds(&Kernel::meddled([act]), 2);
    }
    let kernel = Kernel::meddled([Act::Read("outblob"); 10]);
    assert!(matches!(fails(&kernel), ReportError::Busy("configfs-tsm", 5)));
}

/// The kernel takes the bytes of a blob when the file is closed, and cannot say that it did not.
#[test]
fn a_write_that_was_not_taken_is_noticed() {
    struct Forgetful(Kernel);
    impl Tree for &Forgetful {
        fn make(&self, name: &str) -> io::Result<()> {
            (&self.0).make(name)
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            (&self.0).remove(name)
        }
        fn write(&self, name: &str, file: &str, bytes: &[u8]) -> io::Result<()> {
            if file == "inblob" { Ok(()) } else { (&self.0).write(name, file, bytes) }
        }
        fn read(&self, name: &str, file: &str) -> io::Result<Vec<u8>> {
            (&self.0).read(name, file)
        }
    }
    let kernel = Forgetful(Kernel::sound());
    assert!(matches!(Tsm::new(&kernel).report(&DATA), Err(ReportError::Busy(..))));
}

#[test]
fn an_svsm_below_the_kernel_is_named() {
    // Error 0x16 of the firmware, and the kernel's own floor above VMPL 0: EINVAL both.
    for act in [Act::Read("outblob"), Act::Write("privlevel")] {
        let error = fails(&Kernel::failing([(act, Errno::INVAL)]));
        assert!(matches!(error, ReportError::Svsm), "{act:?}");
        assert!(error.to_string().contains("0x16"));
    }
}

#[test]
fn an_interface_without_firmware_is_named() {
    for (act, errno) in [(Act::Make, Errno::NXIO), (Act::Read("outblob"), Errno::NOTTY)] {
        assert!(matches!(fails(&Kernel::failing([(act, errno)])), ReportError::NoFirmware("configfs-tsm")));
    }
}

#[test]
fn other_errors_of_the_kernel_are_passed_on() {
    let rows = [
        (Act::Make, "configfs-tsm, cannot make a directory in"),
        (Act::Read("provider"), "configfs-tsm, provider"),
        (Act::Read("generation"), "configfs-tsm, generation"),
        (Act::Write("inblob"), "configfs-tsm, inblob"),
        (Act::Read("outblob"), "configfs-tsm, outblob"),
        (Act::Read("auxblob"), "configfs-tsm, auxblob"),
    ];
    for (act, expected) in rows {
        match fails(&Kernel::failing([(act, Errno::IO)])) {
            ReportError::Io { place, error } => {
                assert_eq!(
                    (place.as_str(), error.raw_os_error()),
                    (expected, Some(Errno::IO.raw_os_error()))
                );
            }
            other => panic!("{act:?}: {other:?}"),
        }
    }
}
