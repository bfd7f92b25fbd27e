//! One secret, for a program that is not this one's.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
};

use crate::{document, failure::Failure, release::Asker, root::Root};

/// Where the secret goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// A descriptor that this program was started with.
    Descriptor(u16),
}

impl Output {
    /// Opens it. A terminal is none, unless `force` says so: what is shown there stays there.
    pub fn open(self, force: bool) -> Result<Box<dyn Write>, Failure> {
        let (output, terminal): (Box<dyn Write>, bool) = match self {
            // Not through the library's buffer, which nobody wipes.
            Self::Stdout => {
                let output = io::stdout().as_fd().try_clone_to_owned();
                let output = output.map_err(|error| Failure::doing("the standard output", error))?;
                (Box::new(File::from(output)), io::stdout().is_terminal())
            }
            Self::Descriptor(number) => {
                let file = OpenOptions::new().write(true).open(format!("/proc/self/fd/{number}"));
                let file =
                    file.map_err(|error| Failure::doing(format_args!("descriptor {number}"), error))?;
                let terminal = file.is_terminal();
                (Box::new(file), terminal)
            }
        };
        if terminal && !force {
            return Err(Failure::NotDone("a secret is not written to a terminal without --force".to_owned()));
        }
        Ok(output)
    }
}

/// Asks for the secret `name`, and writes it to `output` as it is: without a line feed. The output is opened
/// before anybody is asked.
pub fn get(root: &Root, asker: &Asker<'_>, name: &str, mut output: Box<dyn Write>) -> Result<(), Failure> {
    asker.look()?;
    document::keep(root, asker.found)?;
    let released = asker.release(&[name.to_owned()])?;
    let written = released.secret(name).map(|secret| {
        output.write_all(secret)?;
        output.flush()
    });
    match written {
        Some(Ok(())) => {
            asker.console.line(format_args!("released {name} (decision {})", released.decision));
            Ok(())
        }
        Some(Err(error)) => Err(Failure::doing("the secret cannot be written", error)),
        None => Err(Failure::NotDone("the answer lacks the secret".to_owned())),
    }
}
