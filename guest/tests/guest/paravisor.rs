//! A confidential VM of Azure that a test can disturb.

use std::{
    collections::VecDeque,
    io,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
    time::Duration,
};

use keybroker_guest::{
    report::{
        Evidence,
        vtpm::{self, Vtpm, VtpmError},
    },
    time::Time as _,
};
use keybroker_simulator::{
    Product,
    guest::Machine,
    paravisor,
    pki::{Amd, Chip},
};
use keybroker_testing::vtpm::{Channel, Vm, honest};

use crate::doubles::{ManualTime, NOW};

/// NV_Read.
pub(crate) const READ: u32 = 0x14E;
/// NV_ReadPublic.
pub(crate) const READ_PUBLIC: u32 = 0x169;
/// NV_Write.
pub(crate) const WRITE: u32 = 0x137;
/// NV_DefineSpace.
pub(crate) const DEFINE: u32 = 0x12A;

/// An event in place of the TPM's response to a command.
pub(crate) enum Act {
    /// The TPM answers this code, and does nothing.
    Code(u32),
    /// The TPM does it, and its response is altered.
    Altered(fn(&mut Vec<u8>)),
    /// The kernel takes no command.
    Kernel(rustix::io::Errno),
    /// The TPM does it. Behind it somebody else writes 64 bytes, and the paravisor renews the report.
    Meddled,
}

/// The VM, and what happens to the guest's commands.
pub(crate) struct Paravisor {
    vm: Vm,
    pub(crate) time: Arc<ManualTime>,
    /// The acts that the next commands of that code meet, one after the other.
    script: Mutex<VecDeque<(u32, Act)>>,
    /// The codes of the commands that came.
    pub(crate) commands: Mutex<Vec<u32>>,
}

impl Deref for Paravisor {
    type Target = Vm;

    fn deref(&self) -> &Vm {
        &self.vm
    }
}

impl DerefMut for Paravisor {
    fn deref_mut(&mut self) -> &mut Vm {
        &mut self.vm
    }
}

/// The machine that a VM of Azure runs on.
pub(crate) fn milan() -> Machine {
    Machine::new(&Amd::new(Product::Milan, NOW.parse().unwrap()), &Chip::new(Product::Milan, 1))
}

/// The blob with claims that the report is not over.
pub(crate) fn mixed(machine: &Machine, user_data: [u8; 64]) -> Vec<u8> {
    let mut blob = honest(machine, user_data);
    blob[32..32 + 1184].copy_from_slice(&machine.report(paravisor::report_data(b"other claims")));
    blob
}

impl Paravisor {
    pub(crate) fn new() -> Self {
        Self::of(Vm::new)
    }

    /// Another machine's TPM.
    pub(crate) fn without_report() -> Self {
        Self::of(Vm::without_report)
    }

    fn of(vm: impl FnOnce(Machine, Box<dyn Fn() -> Duration + Send + Sync>) -> Vm) -> Self {
        let time = Arc::new(ManualTime::default());
        let clock = Arc::clone(&time);
        let vm = vm(milan(), Box::new(move || clock.elapsed()));
        Self { vm, time, script: Mutex::default(), commands: Mutex::default() }
    }

    /// The guest's report over these bytes.
    pub(crate) fn attest(&self, report_data: &[u8; 64]) -> Result<Evidence, VtpmError> {
        Vtpm::new(self).attest(&*self.time, report_data)
    }

    /// The next commands of that code meet these acts.
    pub(crate) fn meets(&self, code: u32, acts: impl IntoIterator<Item = Act>) {
        self.script.lock().unwrap().extend(acts.into_iter().map(|act| (code, act)));
    }

    /// The pauses of the guest since the last look at them.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.time.pauses.lock().unwrap())
    }

    /// The response to a command of the guest's.
    pub(crate) fn respond(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        self.commands.lock().unwrap().push(code);
        let act = self.script.lock().unwrap().pop_front_if(|(at, _)| *at == code);
        match act {
            Some((_, Act::Code(code))) => {
                Ok([&[0x80, 0x01, 0, 0, 0, 10], code.to_be_bytes().as_slice()].concat())
            }
            Some((_, Act::Kernel(errno))) => Err(errno.into()),
            Some((_, Act::Altered(alter))) => {
                let mut response = self.vm.respond(command);
                alter(&mut response);
                Ok(response)
            }
            Some((_, Act::Meddled)) => {
                let response = self.vm.respond(command);
                self.write("0x01400002", &[0xEE; 64], &["-C", "o"]);
                self.renew();
                Ok(response)
            }
            None => Ok(self.vm.respond(command)),
        }
    }
}

impl<'a> vtpm::Machine for &'a Paravisor {
    type Channel = Channel<'a>;

    fn open(&self) -> io::Result<Channel<'a>> {
        let paravisor = *self;
        Ok(Channel::to(|command| paravisor.respond(command)))
    }
}
