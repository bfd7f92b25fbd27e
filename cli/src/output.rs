//! Lines of output, written by a thread: a reader that stalls must not stall the broker.
//!
//! The caller waits until its line is written, so that a record is out before the answer that it explains. If
//! that takes too long, the reader has stalled, and callers do not wait until it has caught up: a broker
//! answers even if nobody reads its lines. It keeps some lines and loses the rest, and tells how many once
//! the reader goes on. An audit record that is lost here is in the store all the same.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// The greatest number of lines that wait: some megabytes.
const WAITING: usize = 4096;
/// How long a line may take before its reader counts as stalled.
const STALLED_AFTER: Duration = Duration::from_millis(100);
/// How long the end waits for them.
const FAREWELL: Duration = Duration::from_secs(1);

/// Takes whole lines, one per write, and never blocks for longer than [`STALLED_AFTER`].
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Buffer>);

/// Dropping it waits until the lines are written, for a second at most: the reader may have stalled.
#[derive(Debug)]
#[must_use]
pub(crate) struct Flush(Lines);

#[derive(Debug, Default)]
struct Buffer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    /// Whether a line was taken out and is not written yet.
    writing: bool,
    /// Whether the reader let a caller wait for too long and has not caught up since.
    stalled: bool,
    /// Lines that were lost since the number was last told.
    lost: usize,
}

impl Queue {
    fn unwritten(&mut self) -> bool {
        self.writing || !self.waiting.is_empty()
    }
}

impl Lines {
    /// Lines to `out`, written by a thread of this name. Once lines that were lost are followed by one that
    /// is written, `tell` gets their number.
    pub(crate) fn to(
        out: impl Write + Send + 'static,
        name: &str,
        tell: impl Fn(usize) + Send + 'static,
    ) -> io::Result<(Self, Flush)> {
        let lines = Self(Arc::default());
        let writer = lines.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.write_all_to(out, tell))?;
        Ok((lines.clone(), Flush(lines)))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        let idle = |queue: &mut Queue| queue.waiting.is_empty();
        let queue = self.0.changed.wait_while(self.queue(), idle);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        queue.writing = true;
        queue.waiting.pop_front().unwrap_or_default()
    }

    fn write_all_to(&self, mut out: impl Write, tell: impl Fn(usize)) {
        loop {
            let line = self.take();
            let written = out.write_all(&line).and_then(|()| out.flush());
            let lost = {
                let mut queue = self.queue();
                queue.writing = false;
                queue.stalled &= queue.unwritten();
                match written {
                    Ok(()) => std::mem::take(&mut queue.lost),
                    // The pipe is closed, or the disk is full.
                    Err(_) => {
                        queue.lost += 1;
                        0
                    }
                }
            };
            self.0.changed.notify_all();
            if lost > 0 {
                tell(lost);
            }
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.queue();
        if queue.waiting.len() < WAITING {
            queue.waiting.push_back(line.to_vec());
            self.0.changed.notify_all();
        } else {
            queue.lost += 1;
        }
        if !queue.stalled {
            let waited = self.0.changed.wait_timeout_while(queue, STALLED_AFTER, Queue::unwritten);
            let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            queue.stalled = waited.timed_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Self(lines) = self;
        drop(lines.0.changed.wait_timeout_while(lines.queue(), FAREWELL, Queue::unwritten));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Ends each write as the test tells it.
    struct Reader {
        answers: Receiver<io::Result<()>>,
        taken: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.answers.recv().unwrap_or(Ok(()))?;
            let _ = self.taken.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader() -> (Reader, Sender<io::Result<()>>, Receiver<String>) {
        let ((answer, answers), (taken, lines)) = (channel(), channel());
        (Reader { answers, taken }, answer, lines)
    }

    fn print(lines: &mut Lines, number: usize) {
        lines.write_all(format!("{number}\n").as_bytes()).unwrap();
    }

    #[test]
    fn lines_that_a_stalled_reader_leaves_are_lost_and_counted() {
        let (reader, answer, taken) = reader();
        let (mut lines, _flush) = Lines::to(reader, "test", |_| {}).unwrap();
        print(&mut lines, 0);
        // The loop waits until the thread has taken the first line.
        while !lines.queue().writing {
            thread::yield_now();
        }
        for number in 1..WAITING + 11 {
            print(&mut lines, number);
        }
        assert_eq!(lines.queue().lost, 10);
        drop(answer);
        let read: Vec<String> = taken.iter().take(WAITING + 1).collect();
        let whole: Vec<String> = (0..=WAITING).map(|number| format!("{number}\n")).collect();
        assert_eq!(read, whole);
    }

    #[test]
    fn lost_lines_are_told_of_when_the_reader_goes_on() {
        let (reader, answer, taken) = reader();
        let (tell, told) = channel();
        let (mut lines, _flush) = Lines::to(reader, "test", move |lost| {
            let _ = tell.send(lost);
        })
        .unwrap();
        for number in 0..3 {
            answer.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
            print(&mut lines, number);
        }
        for number in 3..5 {
            answer.send(Ok(())).unwrap();
            print(&mut lines, number);
            assert_eq!(taken.recv().unwrap(), format!("{number}\n"));
        }
        assert_eq!(told.recv().unwrap(), 3);
        drop((lines, _flush));
        assert!(told.try_recv().is_err(), "once");
    }

    #[test]
    fn the_end_waits_for_lines_but_not_for_a_stalled_reader() {
        let (reader, answer, taken) = reader();
        let (mut lines, flush) = Lines::to(reader, "test", |_| {}).unwrap();
        (0..100).for_each(|number| print(&mut lines, number));
        drop(answer);
        drop(flush);
        assert_eq!(taken.try_iter().count(), 100);

        let (reader, _answer, taken) = super::tests::reader();
        let (mut lines, flush) = Lines::to(reader, "test", |_| {}).unwrap();
        print(&mut lines, 0);
        drop(flush);
        assert_eq!(taken.try_iter().count(), 0);
    }
}
