//! Init data: a document that the host gives to the guest, and HOST_DATA binds.

use super::version::HashAlgorithm;

/// An init data document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitData {
    /// The document as it is: its digest is over these bytes.
    pub text: String,
    /// The algorithm that the document names.
    pub algorithm: HashAlgorithm,
}

impl InitData {
    /// A document with these files.
    pub fn new(algorithm: HashAlgorithm, files: &[(&str, &str)]) -> Self {
        let mut text = format!("version = \"0.1.0\"\nalgorithm = \"{}\"\n\n[data]\n", algorithm.name());
        for (name, content) in files {
            text += &format!("\"{name}\" = '''\n{content}\n'''\n");
        }
        Self { text, algorithm }
    }

    /// The digest of the document, under its own algorithm.
    pub fn digest(&self) -> Vec<u8> {
        self.algorithm.digest(self.text.as_bytes())
    }

    /// HOST_DATA with which kata launches a guest: the first 32 bytes of the digest.
    pub fn host_data(&self) -> [u8; 32] {
        let mut host_data = [0; 32];
        host_data.iter_mut().zip(self.digest()).for_each(|(to, from)| *to = from);
        host_data
    }
}
