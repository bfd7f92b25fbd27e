//! The init data document: TOML as Confidential Containers has it, with our file `keybroker.toml` in its
//! `[data]`.
//!
//! The digest is over the text as it is. So a [`Document`] keeps its text, and there is no way to change one.

mod error;
mod fields;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod write;

use fields::Fields;

pub use error::{DocumentError, Part};
pub use settings::{Binding, Device, Disk, Settings, SigningKey};

use crate::digest::{Algorithm, InitDataDigest};

/// The digest of any init data document of Confidential Containers, by the algorithm that it names.
///
/// The files in its `[data]` are other programs', and are not read: so whoever sends a document cannot make
/// it dear to look at. In TOML nothing behind the first header adds to what stands before it.
pub fn digest_of(text: &str) -> Result<InitDataDigest, DocumentError> {
    let missing = DocumentError::Missing { part: Part::Document, key: "data" };
    let header = text.split_inclusive('\n').try_fold(0, |start, line| {
        if line.trim_start().starts_with('[') { Err(start) } else { Ok(start + line.len()) }
    });
    let Err((head, rest)) = header.map_err(|start| text.split_at(start)) else { return Err(missing) };
    let line = rest.lines().next().unwrap_or_default();
    let header = line.split('#').next().unwrap_or_default().trim();
    let name = header.strip_prefix('[').and_then(|header| header.strip_suffix(']')).map(str::trim);
    if name != Some("data") {
        return Err(missing);
    }
    let mut head = Fields::read(head, Part::Document)?;
    let algorithm = algorithm(&mut head)?;
    head.finish()?;
    Ok(algorithm.digest(text))
}

/// The algorithm of a document of the version that there is.
fn algorithm(outer: &mut Fields<'_>) -> Result<Algorithm, DocumentError> {
    if outer.text("version")? != Document::VERSION {
        return Err(DocumentError::Version);
    }
    Algorithm::from_name(&outer.text("algorithm")?).ok_or(DocumentError::Algorithm)
}

/// A document that a guest can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    algorithm: Algorithm,
    settings: Settings,
}

impl Document {
    /// The longest document, in bytes.
    pub const MAX_LEN: usize = 64 * 1024;

    /// The one version of the format.
    pub const VERSION: &str = "0.1.0";

    /// The name of our file in `[data]`.
    pub const FILE: &str = "keybroker.toml";

    /// The most files in `[data]`.
    pub const MAX_FILES: usize = 16;

    /// Reads a document, and refuses whatever it does not know in the parts that are ours.
    ///
    /// Other files in `[data]` are other programs' and have to be texts. This establishes nothing about who
    /// wrote the document: only its digest in the report of the guest can, or the measurement of what it
    /// lies in.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        if text.len() > Self::MAX_LEN {
            return Err(DocumentError::TooLong);
        }
        let mut outer = Fields::read(text, Part::Document)?;
        let algorithm = algorithm(&mut outer)?;
        let mut data = outer.table("data", Part::Data)?;
        outer.finish()?;
        if data.len() > Self::MAX_FILES {
            return Err(DocumentError::TooManyFiles);
        }
        let settings = Settings::read(Fields::read(&data.text(Self::FILE)?, Part::Settings)?)?;
        data.only_texts()?;
        Ok(Self { text: text.to_owned(), algorithm, settings })
    }

    /// Writes the document that says `settings`.
    pub fn write(algorithm: Algorithm, settings: &Settings) -> Result<Self, DocumentError> {
        let document = Self::parse(&write::document(algorithm, settings))?;
        if document.settings == *settings { Ok(document) } else { Err(DocumentError::Unwritable) }
    }

    /// The document as it was read or written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The digest that a report or a measurement binds.
    pub fn digest(&self) -> InitDataDigest {
        self.algorithm.digest(&self.text)
    }

    /// Our file in the document.
    pub fn keybroker(&self) -> &Settings {
        &self.settings
    }
}
