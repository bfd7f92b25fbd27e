//! Runs the workload, and waits for it as process 1 must: for every process that lost its parent, too.

use std::process::Command;

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, ioctl_tiocsctty, setsid, wait},
    stdio::stdin,
    system::sethostname,
};

use super::config::Workload;
use crate::failure::Failure;

/// Runs the workload to its end, and says how it ended.
pub(super) fn run(workload: &Workload) -> Result<String, Failure> {
    sethostname(b"localhost").map_err(|error| Failure::doing("the host's name", error))?;
    // The console becomes the workload's terminal. Where it cannot, there is none.
    let _ = setsid().and_then(|_| ioctl_tiocsctty(stdin()));
    let child = Command::new(&workload.program)
        .args(&workload.arguments)
        .env_clear()
        .envs(&workload.environment)
        .current_dir(&workload.directory)
        .spawn()
        .map_err(|error| Failure::doing(&workload.program, error))?;
    let pid = Pid::from_child(&child);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended == pid => return Ok(words(status)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::doing("waiting for the workload", error)),
        }
    }
}

fn words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "not at all".to_owned(),
    }
}
