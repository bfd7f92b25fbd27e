//! Nobody waits for long where AWS does not answer.

use std::{
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use keybroker_tests::program;

use super::{COMMANDS, asking, at_once, black_hole, closed};

/// The longest that a command may wait where nobody answers.
const BOUND: Duration = Duration::from_secs(15);

#[test]
fn nobody_waits_long_for_a_dead_network() {
    program::path();
    let ((_listener, hole), kds) = (black_hole(), closed());
    let begun = Instant::now();
    let mut doctor = asking(&hole, &["doctor", "--kds-url", &kds]);
    let mut doctor = doctor.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(doctor.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("ok    configuration"), "{first}");
    let shown = begun.elapsed();
    let doctor = thread::spawn(move || {
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        assert_eq!(doctor.wait().unwrap().code(), Some(1));
        (rest, begun.elapsed())
    });

    let silent = COMMANDS.map(|command| asking(&hole, command));
    let [nobody, no_name] = [closed(), format!("http://{}.example", "k".repeat(64))];
    let refused = COMMANDS.map(|command| asking(&nobody, command));
    let unnamed = COMMANDS.map(|command| asking(&no_name, command));
    let ended = at_once(silent.into_iter().chain(refused).chain(unnamed).collect());
    // Those that wait for nobody show how busy the machine is.
    let busy = ended.iter().skip(COMMANDS.len()).map(|(_, took)| *took).max().unwrap();
    assert!(ended.iter().all(|(_, took)| *took < BOUND + busy), "{ended:?}");
    for (number, (ended, _)) in ended.iter().enumerate() {
        let said = [
            "DynamoDB did not answer in time",
            "cannot be reached: Connection refused",
            "cannot be reached: ",
        ];
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.log.contains(said[number / COMMANDS.len()]), "{ended:?}");
        assert_eq!(ended.log.lines().count(), 2, "the clients' own warnings are silent: {ended:?}");
    }
    let (rest, took) = doctor.join().unwrap();
    assert!(rest.last().unwrap().starts_with("1 ok, 0 warnings, "), "{rest:?}");
    assert!(
        took < BOUND + busy && shown + BOUND / 5 < took,
        "the first line after {shown:?}, the last {took:?}"
    );
}

/// The program's end after SIGINT, which comes when it has connected to `listener`.
fn interrupted(mut child: Child, listener: &TcpListener) -> (Option<i32>, Duration) {
    let _connection: TcpStream = listener.accept().unwrap().0;
    let begun = Instant::now();
    let kill = format!("kill -s INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    (child.wait().unwrap().code(), begun.elapsed())
}

#[test]
fn an_interrupt_ends_a_command_at_once() {
    program::path();
    for command in COMMANDS.iter().copied().chain([&["doctor", "--kds-url", &closed()][..]]) {
        let (listener, hole) = black_hole();
        let asking = asking(&hole, command);
        // A program in the background has SIGINT ignored, and so have its children.
        let mut heeding = Command::new("env");
        heeding.arg("--default-signal=INT").arg(asking.get_program()).args(asking.get_args()).env_clear();
        heeding.envs(asking.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = heeding.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (code, took) = interrupted(child, &listener);
        // It would end by itself, and with a code, once it had waited for the answer.
        assert!(code.is_none() && took < BOUND, "{command:?}: {code:?} after {took:?}");
    }
}
