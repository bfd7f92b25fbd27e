//! A report in files, for `keybroker verify`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use keybroker_native::EvidenceForm;

use crate::{failure::Failure, look::answer, report::ReportSource};

/// Writes a report over `report_data` into `directory` as `report.bin`, and each certificate of the host's
/// table beside it, as `vcek.der` and so on. From a vTPM come `hcl.bin`, all that the paravisor left there,
/// and as `report.bin` the report in it.
pub fn write(source: &dyn ReportSource, report_data: &[u8; 64], directory: &Path) -> Result<String, Failure> {
    let evidence = source.report(report_data)?;
    let certificates = evidence.certificates.iter();
    let report = match evidence.form {
        EvidenceForm::Snp => evidence.report.clone(),
        EvidenceForm::AzSnpVtpm => answer(&evidence, report_data)?.as_bytes().to_vec(),
    };
    let mut files = vec![("report.bin".to_owned(), &report)];
    if evidence.form == EvidenceForm::AzSnpVtpm {
        files.push(("hcl.bin".to_owned(), &evidence.report));
    }
    files.extend(certificates.map(|known| (format!("{}.der", known.kind).to_lowercase(), &known.der)));
    let failed = |path: &Path, error| Failure::doing(path.display(), error);
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (name, bytes) in &files {
        let path = directory.join(name);
        write_new(&path, bytes).map_err(|error| failed(&path, error))?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    Ok(names.join(", "))
}

/// Writes a new file, in place of one of that name. It follows no link: others may be able to write in the
/// directory.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
}
