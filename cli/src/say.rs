//! Lines for a person, on stderr: they go out whether anybody reads them or not.

/// Prints a line on stderr. If it cannot be printed, because the reader closed the pipe or the disk of a log
/// is full, the command goes on: what it does counts more.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stderr(), $($words)*);
    }};
}
