//! The program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    keybroker_guest::cli::main().into()
}
