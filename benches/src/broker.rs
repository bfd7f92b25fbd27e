//! `keybroker serve` as a process that is measured.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process},
    time::{ClockId, clock_gettime},
};

/// The files of a broker: store, key and trust anchors.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    directory: PathBuf,
}

impl Home {
    /// The files in `directory`, where a broker finds its store in `data`.
    pub(crate) fn new(directory: &Path, anchors: &str) -> Result<Self> {
        let home = Self { directory: directory.to_owned() };
        fs::create_dir_all(directory)?;
        fs::write(home.anchors(), anchors)?;
        Ok(home)
    }

    fn anchors(&self) -> PathBuf {
        self.directory.join("anchors.pem")
    }

    /// The file of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.join("data/keybroker.redb")
    }

    /// The bytes that the store's file takes on the disk.
    pub(crate) fn store_len(&self) -> Result<u64> {
        let store = self.store();
        Ok(fs::metadata(&store).with_context(|| store.display().to_string())?.blocks() * 512)
    }
}

/// A running broker. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Its address.
    pub(crate) address: SocketAddr,
    child: Child,
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now (VmRSS).
    pub(crate) now: u64,
    /// The most that was ever resident (VmHWM).
    pub(crate) most: u64,
}

impl Broker {
    /// Starts `program` over these files and waits until it listens. Nobody reads its audit lines: they go to
    /// /dev/null. No setting of this process's environment reaches it.
    pub(crate) fn start(program: &Path, home: &Home, kds_url: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.env_clear().args(["serve", "--listen", "127.0.0.1:0", "--kds-url", kds_url]);
        command.arg("--trust-anchor").arg(home.anchors());
        command.arg("--data-dir").arg(home.directory.join("data"));
        command.arg("--key-file").arg(home.directory.join("secret/key"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut log = BufReader::new(child.stderr.take().context("its log")?);
        let mut lines = String::new();
        let address = loop {
            let before = lines.len();
            if log.read_line(&mut lines)? == 0 {
                let _ = child.wait();
                bail!("{} does not listen:\n{lines}", program.display());
            }
            let line = lines.get(before..).unwrap_or_default().trim_end();
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.parse().with_context(|| format!("the address in {line}"))?;
            }
        };
        // A log that nobody reads would stop it in the end.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { address, child })
    }

    /// Ends it with SIGTERM, so that it closes its store.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the broker ended with {ended}");
        Ok(())
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        process_cpu(&fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?)
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        memory(&fs::read_to_string(format!("/proc/{}/status", self.child.id()))?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both calls fail if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time that this process has used.
pub(crate) fn own_cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs() as u32)
}

/// User and system time in /proc/PID/stat, which counts ticks.
fn process_cpu(stat: &str) -> Result<Duration> {
    // The name stands in parentheses and may hold anything; utime and stime are the 12th and 13th field
    // behind it.
    let (_, fields) = stat.rsplit_once(')').context("no /proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>().context("no ticks")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn memory(status: &str) -> Result<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024).with_context(|| format!("no {name}"))
    };
    Ok(Memory { now: field("VmRSS")?, most: field("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) 1 2) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 9 1 1";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(process_cpu(stat).unwrap(), Duration::from_secs_f64(200.0 / ticks as f64));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tkeybroker\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory(status).unwrap(), Memory { now: 1 << 20, most: 2 << 20 });
    }
}
