//! No process of the program leaves a core file, which would hold its secrets.

use std::{
    fs,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use keybroker_tests::{DEADLINE, operator::Operator, server::Home, skip, world::anchors};

use crate::socket::serve;

/// The soft and the hard limit of a process's core files.
fn limits(process: &str) -> [String; 2] {
    let table = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let row = table.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut columns = row.split_whitespace().map(str::to_owned);
    [(); 2].map(|()| columns.next().unwrap())
}

/// A command that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn core_files_are_forbidden_for_good() {
    if limits("self")[1] == "0" {
        skip("core files of the program: they are forbidden here to begin with");
        return;
    }
    let home = Home::new(&anchors());
    let server = serve(&home);
    assert_eq!(limits(&server.pid().to_string()), ["0", "0"]);
    let mut follow = Operator::of_directory(&home.data_dir(), "home").command(&["audit", "--follow"]);
    let command = Running(follow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let (process, end) = (command.0.id().to_string(), Instant::now() + DEADLINE / 4);
    while limits(&process) != ["0", "0"] {
        assert!(Instant::now() < end, "{:?}", limits(&process));
        thread::sleep(Duration::from_millis(10));
    }
}
