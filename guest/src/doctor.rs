//! A guest, told to a person: interface, report, document, brokers.

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use keybroker_native::{
    EvidenceForm,
    client::{CHALLENGE_BODY, CHALLENGE_PATH, Challenge},
};

use crate::{
    document::{Bond, Found, Place},
    failure::Failure,
    look::{answer, look},
    release::{Asker, Unanswered},
    report::{PassedOver, ReportSource},
    root::Root,
    time::Time,
    transport::Transport,
    unbound::UNMEASURED,
    unlock::secrets,
};

/// How long a broker may take to give a challenge.
const CHALLENGE: Duration = Duration::from_secs(10);

/// Writes what is known, and remembers the first thing that is wrong.
pub struct Doctor<W> {
    out: W,
    failure: Option<Failure>,
}

impl<W: Write> Doctor<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, failure: None }
    }

    fn row(&mut self, name: &str, value: fmt::Arguments<'_>) {
        // A closed output is told by the exit code of whatever closed it.
        let _ = writeln!(self.out, "{name:<14}{value}");
    }

    fn wrong(&mut self, name: &str, failure: Failure) {
        self.row(name, format_args!("{failure}"));
        self.failure.get_or_insert(failure);
    }

    /// The interfaces that are none of this machine's.
    pub fn passed_over(&mut self, passed_over: &PassedOver) {
        for (name, missing) in &passed_over.0 {
            self.row("passed over", format_args!("{name} {missing}"));
        }
    }

    /// The interface and a report.
    pub fn report(&mut self, source: &dyn ReportSource, found: Option<&Found>) {
        self.row("interface", format_args!("{}", source.name()));
        let report_data = [0; 64];
        let evidence = match source.report(&report_data) {
            Ok(evidence) => evidence,
            Err(error) => return self.wrong("report", error.into()),
        };
        match answer(&evidence, &report_data) {
            Ok(report) => {
                let debug =
                    if report.policy().debug_allowed() { "allowed: the host can read memory" } else { "off" };
                let provider = if report.signing_key().is_some_and(|key| key.name() == "vlek") {
                    "a cloud provider's key (VLEK)"
                } else {
                    "the chip's key (VCEK)"
                };
                self.row("report", format_args!("version {}, signed by {provider}", report.version()));
                self.row("VMPL", format_args!("{}", report.vmpl()));
                self.row("DEBUG", format_args!("{debug}"));
                self.row("MEASUREMENT", format_args!("{}", hex(report.measurement())));
                if evidence.form == EvidenceForm::AzSnpVtpm {
                    self.row(
                        "",
                        format_args!("of Azure's paravisor alone: not of this kernel, not of this initrd"),
                    );
                }
                self.row("HOST_DATA", format_args!("{}", hex(report.host_data())));
            }
            Err(error) => return self.wrong("report", error.into()),
        }
        let kinds: Vec<String> = evidence.certificates.iter().map(|known| known.kind.to_string()).collect();
        match (evidence.table_error, kinds.is_empty()) {
            (Some(error), _) => self.row("certificates", format_args!("{error}")),
            (None, true) => self.row("certificates", format_args!("none from the host: the broker asks AMD")),
            (None, false) => self.row("certificates", format_args!("{}", kinds.join(", "))),
        }
        if let Some(found) = found {
            match look(evidence, &report_data, found) {
                Ok(_) => {
                    self.row("this guest", format_args!("is what its document says, as far as it can tell"))
                }
                Err(error) => self.wrong("this guest", error.into()),
            }
        }
    }

    /// The document, and what binds it.
    pub fn document(&mut self, root: &Root, found: &Found, time: &dyn Time) {
        let settings = found.document.keybroker();
        let place = found.place;
        let from = match place {
            Place::Kept => "kept from the boot",
            Place::BuiltIn => "built in",
            Place::FwCfg | Place::Partition | Place::Disk => "from the host",
        };
        self.row("document", format_args!("{} ({from})", place.path()));
        self.row("digest", format_args!("{}:{}", found.digest.algorithm().name(), found.digest));
        let bond = found.bond();
        self.row("bound by", format_args!("{bond}"));
        if bond == Bond::Nothing {
            self.row("", format_args!("the host can put another document in its place"));
        }
        self.row("command line", format_args!("{}", command_line(root)));
        self.row("workload", format_args!("{}", settings.workload));
        let now = time.now();
        for key in &settings.broker_keys {
            let counts = if now <= key.not_after { "counts" } else { "its time is over" };
            self.row("broker key", format_args!("{}, until {}: {counts}", key.key.id(), key.not_after));
        }
        for disk in &settings.disks {
            self.row(
                "disk",
                format_args!("{} on {}, with the secret {}", disk.name, disk.device, disk.secret),
            );
        }
    }

    /// Whether each broker of the document gives a challenge.
    pub fn brokers(&mut self, found: &Found, transport: &dyn Transport) {
        for url in &found.document.keybroker().brokers {
            let challenge = format!("{}{CHALLENGE_PATH}", url.trim_end_matches('/'));
            match transport.post(&challenge, CHALLENGE_BODY, CHALLENGE) {
                Ok(reply) if reply.status == 200 && Challenge::from_json(&reply.body).is_ok() => {
                    self.row("broker", format_args!("{url} gives challenges"));
                }
                Ok(reply) => self.row("broker", format_args!("{url}: {}", Unanswered::Status(reply.status))),
                Err(error) => self.row("broker", format_args!("{url}: {error}")),
            }
        }
    }

    /// Asks for the secrets of all disks, and says what the broker said. The secrets are wiped at once.
    pub fn ask(&mut self, asker: &Asker<'_>) {
        match asker.release(&secrets(asker.found)) {
            Ok(released) => self.row("release", format_args!("yes (decision {})", released.decision)),
            Err(error) => self.wrong("release", error.into()),
        }
    }

    /// Says that something else is wrong.
    pub fn failed(&mut self, name: &str, failure: impl Into<Failure>) {
        self.wrong(name, failure.into());
    }

    /// The first thing that is wrong.
    pub fn end(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

impl Doctor<io::Stdout> {
    /// Writes to the standard output.
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }
}

fn command_line(root: &Root) -> &'static str {
    if root.path(UNMEASURED).exists() {
        "not measured: a host that withholds the disk can get a shell"
    } else {
        "the initrd has not said that it is unmeasured; the registration's measurement must cover it"
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
