//! The command line: which command, and what a run ends with.

use std::{
    env,
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use crate::{
    arguments::{self, Command, Waits},
    command_line,
    console::{Console, Stderr},
    disk::Cryptsetup,
    doctor::Doctor,
    document::{self, Found},
    exit::Exit,
    failure::Failure,
    get, inspect, krun, memory,
    release::{Asker, Limits},
    report::{self, ReportSource, device},
    root::Root,
    serve_keys::{self, serve_keys},
    time::{DRIVERS, MachineTime},
    transport::Http,
    unbound,
    unlock::unlock,
};

/// Runs the command of the command line, on this machine.
///
/// As `/init` of a krun guest it reads no command line, and does not return.
pub fn main() -> Exit {
    let console = Arc::new(Stderr);
    if krun::is_init() {
        krun::init(&*console, || open_disks(&Root::machine(), &console));
    }
    let command = match arguments::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            Stderr.line(format_args!("{error}: see keybroker-guest --help"));
            return Exit::Usage;
        }
    };
    match run(command, &Root::machine(), &console) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            console.line(format_args!("{failure}"));
            failure.exit()
        }
    }
}

fn run(command: Command, root: &Root, console: &Arc<Stderr>) -> Result<(), Failure> {
    match command {
        Command::SevGuest => device::serve().map_err(|error| Failure::doing(device::COMMAND, error)),
        Command::Help => print(&arguments::help()),
        Command::Version => print(concat!("keybroker-guest ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Report { out, report_data } => {
            let source = report::source(root)?;
            let written = inspect::write(&*source, &report_data, &out)?;
            console.line(format_args!("wrote {written} to {}, from {}", out.display(), source.name()));
            Ok(())
        }
        Command::Doctor { ask, waits } => doctor(ask, &waits, root, console),
        Command::Unlock(waits) => {
            let guest = Guest::begin(root, console)?;
            command_line::check(root, &guest.found)?;
            let opener = Cryptsetup::find(root)?;
            unlock(root, &guest.asker(&waits, console), &opener)
        }
        Command::Get { name, output, force, waits } => {
            let output = output.open(force)?;
            let guest = Guest::begin(root, console)?;
            get::get(root, &guest.asker(&waits, console), &name, output)
        }
        Command::ServeKeys { socket, waits } => {
            let guest = Guest::begin(root, console)?;
            command_line::check(root, &guest.found)?;
            let listener = serve_keys::listener(socket.as_deref())?;
            serve_keys(root, &guest.asker(&waits, console), listener)
        }
    }
}

/// Opens the disks of the document, for `/init`: the first of them becomes the root.
fn open_disks(root: &Root, console: &Arc<Stderr>) -> Result<String, Failure> {
    let guest = Guest::begin(root, console)?;
    let opener = Cryptsetup::find(root)?;
    unlock(root, &guest.asker(&Waits { timeout: krun::TIMEOUT }, console), &opener)?;
    let first = guest.found.document.keybroker().disks.first();
    first
        .map(|disk| disk.name.clone())
        .ok_or_else(|| Failure::NotDone("the document names no disk".to_owned()))
}

/// Everything that a command needs to ask a broker.
struct Guest {
    found: Found,
    source: Box<dyn ReportSource>,
    transport: Http,
    time: MachineTime,
}

impl Guest {
    fn begin(root: &Root, console: &Arc<Stderr>) -> Result<Self, Failure> {
        memory::protect(root)?;
        let time = MachineTime::start();
        let found = document::wait(root, &time, DRIVERS)?;
        unbound::warn(root, &found, &**console);
        let source = report::wait(root, &time, DRIVERS)?;
        unbound::warn_of(&*source, &**console);
        let transport = transport(root, &found, console)?;
        Ok(Self { found, source, transport, time })
    }

    fn asker<'a>(&'a self, waits: &Waits, console: &'a Stderr) -> Asker<'a> {
        let total = Duration::from_secs(waits.timeout.into());
        Asker {
            found: &self.found,
            source: &*self.source,
            transport: &self.transport,
            time: &self.time,
            console,
            limits: Limits { total, ..Limits::default() },
        }
    }
}

fn transport(root: &Root, found: &Found, console: &Arc<Stderr>) -> Result<Http, Failure> {
    let console: Arc<dyn Console> = Arc::<Stderr>::clone(console);
    let certificates = found.document.keybroker().certificates.as_deref();
    Http::new(root, certificates, console).map_err(|error| Failure::NotDone(error.to_string()))
}

fn doctor(ask: bool, waits: &Waits, root: &Root, console: &Arc<Stderr>) -> Result<(), Failure> {
    memory::protect(root)?;
    let mut doctor = Doctor::stdout();
    let time = MachineTime::start();
    let found = document::find(root);
    let search = report::search(root);
    doctor.passed_over(&search.passed_over);
    let source = match search.source() {
        Ok(source) => {
            doctor.report(&*source, found.as_ref().ok());
            Some(source)
        }
        Err(error) => {
            doctor.failed("interface", error);
            None
        }
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            doctor.failed("document", error);
            return doctor.end();
        }
    };
    doctor.document(root, &found, &time);
    match transport(root, &found, console) {
        Ok(transport) => {
            doctor.brokers(&found, &transport);
            if let (true, Some(source)) = (ask, source) {
                let guest = Guest { found, source, transport, time };
                doctor.ask(&guest.asker(waits, console));
            }
        }
        Err(failure) => doctor.failed("TLS", failure),
    }
    doctor.end()
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::doing("the standard output", error))
}
