//! The operator's commands, and the stores that they use: a file, a file that a broker has open, tables on
//! AWS.

use std::{
    env,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use keybroker_aws::dynamodb::{AllTables, DynamoStore};
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    clock::SystemClock,
    dialect::Dialect,
    ids::WorkloadId,
    keyring::{Keyring, Purpose},
    requirements::{AppraisalPolicy, BoundBy, InitDataRequirement, Measurement, ReferenceValues},
    secret::WrappedSecret,
    store::{AuditStore, DecisionStore, KeyringStore, RegistrationStore},
    workload::{Registration, Workload},
};
use keybroker_embedded::store::{EmbeddedStore, OpenError};
use keybroker_initdata::Algorithm;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    DEADLINE, local_aws, permissions,
    program::{self, Ended, workspace},
    server::{Home, Server},
    unique,
    world::{World, anchors},
};

/// The store that an operator's commands use.
#[derive(Debug)]
pub struct Operator {
    /// The kind of store, for messages.
    pub kind: &'static str,
    /// The arguments that name the store.
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Files and processes that must live as long as this.
    _kept: Option<Kept>,
}

/// The directory of a file, and the process that serves it, if there is one.
#[derive(Debug)]
struct Kept {
    _server: Option<Server>,
    _directory: Directory,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for what happens when it is dropped")]
enum Directory {
    Bare(TempDir),
    Home(Home),
}

/// The contents of a store before the test.
#[derive(Debug, Default)]
pub struct Contents {
    /// Registrations, each with a record of its own.
    pub workloads: Vec<Workload>,
    /// Further records.
    pub records: Vec<AuditRecord>,
    /// Rings of the broker's own keys.
    pub rings: Vec<(Purpose, Keyring)>,
}

impl Contents {
    /// Writes all of it into `store`.
    pub async fn fill(&self, store: &(impl RegistrationStore + AuditStore + DecisionStore + KeyringStore)) {
        for workload in &self.workloads {
            let time = workload.first_registered_at;
            let record = AuditRecord {
                id: id_at(time),
                workload_id: Some(workload.id.clone()),
                registration: Some(workload.digest()),
                ..AuditRecord::new(time, Operation::Register, Decision::Registered)
            };
            store.create(workload, &record, None).await.unwrap();
        }
        for record in &self.records {
            match record.operation {
                Operation::Attest | Operation::Key | Operation::Resource | Operation::Release => {
                    store.record(record).await
                }
                Operation::Register | Operation::Operate => store.append(record).await,
            }
            .unwrap();
        }
        for (purpose, ring) in &self.rings {
            store.put_keyring(*purpose, None, ring).await.unwrap();
        }
    }
}

/// A new audit id with that time.
pub fn id_at(time: Timestamp) -> keybroker_common::ids::AuditId {
    let milliseconds = u64::try_from(time.as_millisecond()).unwrap();
    let random = Uuid::new_v4().into_bytes();
    let random = random.first_chunk::<10>().unwrap();
    keybroker_common::ids::AuditId(
        uuid::Builder::from_unix_timestamp_millis(milliseconds, random).into_uuid(),
    )
}

/// The record of a decision about `workload`, `ago` before now.
pub fn record(workload: &WorkloadId, decision: Decision, ago: SignedDuration) -> AuditRecord {
    let time = Timestamp::now() - ago;
    AuditRecord {
        id: id_at(time),
        workload_id: Some(workload.clone()),
        ..AuditRecord::new(time, Operation::Attest, decision)
    }
}

/// A registration like buildah's, made `ago` before now, with a ciphertext of 41 bytes.
pub fn workload(id: &str, owner: Option<&str>, ago: SignedDuration) -> Workload {
    let registration = Registration {
        serial: Uuid::new_v4(),
        dialects: Dialect::Libkrun.into(),
        owner: owner.map(str::to_owned),
        reference_values: ReferenceValues { measurements: vec![Measurement([0x4D; 48])] },
        policy: AppraisalPolicy { forbid_smt: true, ..AppraisalPolicy::default() },
        rego: None,
    };
    let secret = WrappedSecret { key_id: "local:0123456789abcdef".to_owned(), ciphertext: vec![0xC5; 41] };
    Workload {
        id: WorkloadId::new(id).unwrap(),
        registration: registration.to_bytes().unwrap(),
        secrets: [("passphrase".to_owned(), secret)].into(),
        first_registered_at: Timestamp::now() - ago,
        revoked_at: None,
        released_at: None,
        restored_by: None,
        revocation: None,
    }
}

/// A workload, registered a day ago, whose guests HOST_DATA selects, and the key of the item that says so on
/// AWS.
pub fn selected(id: &str) -> (Workload, String) {
    let digest = Algorithm::Sha256.digest(id);
    let key = format!("host-data#{digest}");
    let plain = workload(id, None, SignedDuration::from_hours(24));
    let mut registration = Registration::from_bytes(&plain.registration).unwrap();
    registration.dialects = Dialect::Trustee.into();
    registration.policy.init_data =
        Some(InitDataRequirement { digest, bound_by: BoundBy::HostData, broker_keys: None });
    (Workload { registration: registration.to_bytes().unwrap(), ..plain }, key)
}

impl Operator {
    /// One of each kind of store, filled with `contents`.
    pub async fn everywhere(contents: &Contents) -> [Self; 3] {
        [Self::file(contents).await, Self::served(contents).await, Self::aws(contents).await]
    }

    /// A file that no broker has open.
    pub async fn file(contents: &Contents) -> Self {
        let directory = TempDir::new().unwrap();
        contents.fill(&open(directory.path())).await;
        let path = directory.path().to_owned();
        Self::over(&path, "file", Kept { _server: None, _directory: Directory::Bare(directory) })
    }

    /// A file that `keybroker serve` has open.
    pub async fn served(contents: &Contents) -> Self {
        let home = Home::new(&anchors());
        contents.fill(&open(&home.data_dir())).await;
        let server = home.serve("http://127.0.0.1:9", &[]);
        let path = home.data_dir();
        Self::over(&path, "served", Kept { _server: Some(server), _directory: Directory::Home(home) })
    }

    fn over(data_dir: &Path, kind: &'static str, kept: Kept) -> Self {
        Self { _kept: Some(kept), ..Self::of_directory(data_dir, kind) }
    }

    /// Writes more into a file that no broker has open, once no command has.
    pub async fn add(&self, contents: &Contents) {
        let [_, directory] = self.arguments.as_slice() else { panic!("{self:?} is no file") };
        let end = Instant::now() + DEADLINE;
        let store = loop {
            match EmbeddedStore::open(Path::new(directory), Arc::new(SystemClock)) {
                Err(OpenError::Locked) if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
                opened => break opened.unwrap(),
            }
        };
        contents.fill(&store).await;
    }

    /// The file in this directory, which the caller keeps.
    pub fn of_directory(data_dir: &Path, kind: &'static str) -> Self {
        let arguments = vec!["--data-dir".to_owned(), data_dir.to_str().unwrap().to_owned()];
        Self { kind, arguments, environment: Vec::new(), _kept: None }
    }

    /// New tables on a local AWS, as the template defines them.
    pub async fn aws(contents: &Contents) -> Self {
        let prefix = unique("t");
        let environment = local_aws::environment();
        local_aws::provision(&prefix);
        let client = local_aws::dynamodb();
        contents.fill(&DynamoStore::new(client, AllTables::with_prefix(&prefix))).await;
        let arguments = ["--aws", "--prefix", &prefix].map(str::to_owned).to_vec();
        Self { kind: "aws", arguments, environment: environment.to_vec(), _kept: None }
    }

    /// Tables that do not exist on the local AWS.
    pub fn without_tables() -> Self {
        let arguments = ["--aws", "--prefix", &unique("t")].map(str::to_owned).to_vec();
        Self { kind: "aws", arguments, environment: local_aws::environment().to_vec(), _kept: None }
    }

    /// The store of this broker: of a process, or of a deployment on the local AWS that the environment
    /// names.
    pub fn of(world: &World) -> Self {
        if world.is_served() {
            return Self::of_directory(&world.home().data_dir(), "served");
        }
        let environment =
            local_aws::VARIABLES.map(|name| (name.to_owned(), env::var(name).expect("a local AWS")));
        Self {
            kind: "aws",
            arguments: vec!["--aws".to_owned()],
            environment: environment.to_vec(),
            _kept: None,
        }
    }

    /// The program with these arguments and the store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program::keybroker();
        command.args(arguments).args(&self.arguments).envs(self.environment.iter().cloned());
        // The local AWS records it beside each call.
        if let Some(name) = permissions::command(arguments) {
            command.env("AWS_SDK_UA_APP_ID", name.replace(' ', "."));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program. Whatever the command has called on the local AWS by then is in its permissions.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let ended = self.command(arguments).output().expect("the program").into();
        if let (true, Some(command)) = (self.kind == "aws", permissions::command(arguments)) {
            let listed = local_aws::listed();
            let mut unlisted = local_aws::called(|_| true);
            unlisted.retain(|row| row.0 == command && !listed.contains(row));
            assert!(unlisted.is_empty(), "not in infra/operator-permissions.txt: {unlisted:?}");
        }
        ended
    }

    /// The same, with this on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        // A command that refuses reads nothing, and may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap().into()
    }

    /// Runs `infra/restore` over the deployment.
    pub fn restore(&self, arguments: &[&str]) -> Ended {
        let prefix = self.arguments.last().expect("a prefix");
        let mut command = local_aws::python();
        command.arg(workspace().join("infra/restore")).args(arguments);
        command.args(["--prefix", prefix, "--pause", "0.05", "--patience", "1"]);
        command.output().expect("python").into()
    }

    /// Runs the program, asserts that it ends with 0, and returns its standard output.
    pub fn out(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{} {arguments:?}: {ended:?}", self.kind);
        ended.out
    }

    /// The same with `--json`; returns the document.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let document: Value = serde_json::from_str(&self.out(&[arguments, &["--json"]].concat())).unwrap();
        assert_eq!(document.get("schema"), Some(&1.into()), "{document}");
        document
    }

    /// Runs the program at a terminal.
    pub fn at_terminal(&self, arguments: &[&str]) -> Terminal {
        let program = self.command(arguments);
        let mut command = Command::new("python3");
        command.args(["-c", PTY]).arg(program.get_program()).args(program.get_args());
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.envs(self.environment.iter().cloned());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let (keys, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (show, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = shown.read(&mut buffer) {
                let _ = show.send(buffer.get(..length).unwrap_or_default().to_vec());
            }
        });
        Terminal { child, keys, screen, seen: String::new() }
    }

    /// Sets a variable of the program's environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The name of a table on AWS.
    pub fn table(&self, table: &str) -> String {
        let prefix = self.arguments.last().expect("a prefix");
        format!("{prefix}-{table}")
    }
}

/// Runs a program at a pseudo-terminal: standard input is its keyboard, standard output its screen. Ends with
/// the program's exit code; a signal is 128 and its number. A program that hides what is typed and stops goes
/// on at once, and the screen says whether the terminal echoed meanwhile.
const PTY: &str = r#"
import os, pty, select, signal, sys, termios, time
child, terminal = pty.fork()
if child == 0:
    # Whoever started this in the background had them ignored; at a terminal they are not.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
echoes = lambda: termios.tcgetattr(terminal)[3] & termios.ECHO
sources, status = [terminal, 0], None
while True:
    ready, _, _ = select.select(sources, [], [], 0.1)
    if status is None:
        changed, now = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if changed and os.WIFSTOPPED(now):
            # Here stands a shell's prompt, until somebody asks for the program again.
            os.write(1, b"stopped: the terminal echoes" if echoes() else b"stopped: the terminal is silent")
            os.kill(child, signal.SIGCONT)
            # Nobody types before the program has the terminal again, as it had it.
            while echoes():
                time.sleep(0.01)
        elif changed:
            status = now
    try:
        if 0 in ready:
            keys = os.read(0, 1024)
            if keys:
                os.write(terminal, keys)
            else:
                sources.remove(0)
        if terminal in ready:
            screen = os.read(terminal, 1024)
            if not screen:
                break
            os.write(1, screen)
    except OSError:
        break
if status is None:
    _, status = os.waitpid(child, 0)
if not echoes():
    os.write(1, b"the terminal does not echo any more")
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
"#;

/// A program at a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Waits until the screen shows this text.
    pub fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.more(), "{text:?} is not shown:\n{}", self.seen);
        }
    }

    /// Whether the screen has shown this text by now.
    pub fn shows(&self, text: &str) -> bool {
        self.seen.contains(text)
    }

    /// Types, and waits for nothing.
    pub fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Types, waits for the end, and returns the exit code and everything that was shown.
    pub fn typed(mut self, keys: &str) -> (Option<i32>, String) {
        self.types(keys);
        while self.more() {}
        (self.child.wait().unwrap().code(), self.seen)
    }

    /// Waits for more on the screen; `false` at the end. Kills a program that neither shows anything nor
    /// ends.
    fn more(&mut self) -> bool {
        match self.screen.recv_timeout(DEADLINE) {
            Ok(shown) => {
                self.seen += &String::from_utf8_lossy(&shown);
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill().unwrap();
                panic!("nothing more is shown:\n{}", self.seen);
            }
        }
    }
}

fn open(data_dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(data_dir, Arc::new(SystemClock)).unwrap()
}
