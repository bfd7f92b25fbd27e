//! A Trustee KBS's directory: where its resources, reference values and policies lie in it.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use keybroker_common::secret::bounds::{MAX_SECRET_LEN, is_path};
use zeroize::Zeroizing;

use super::{
    report::{Item, Kind},
    walk::{self, Met},
};
use crate::{
    distinct::Distinct,
    exit::{Exit, Failure},
    rvps,
};

/// Names of files with Trustee's one policy about resources.
const RESOURCE_POLICIES: [&str; 3] = ["policy.rego", "resource-policy.rego", "resource_policy.rego"];

/// The separator of a resource's parts in the names of files that lie side by side, as Trustee's key-value
/// storage writes them.
const SLASH: &str = r"\x2F";

/// The directory in which that storage has a file for each reference value.
const REFERENCE_VALUE: &str = "reference_value";

/// Where the resources lie below the directory that was named, if it is none of these itself.
const REPOSITORIES: [&[&str]; 5] = [
    &["storage", "local_fs", "repository"],
    &["local_fs", "repository"],
    &["kbs", "repository"],
    &["repository"],
    &[],
];

/// All that the directory has for a registration.
#[derive(Default)]
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    /// By name.
    pub(super) resources: Vec<(String, Zeroizing<Vec<u8>>)>,
    pub(super) measurements: Distinct,
}

/// Reads `path`, and of its resources those that `only` chooses: all without any.
pub(super) fn read(path: &Path, only: &[String], now: Timestamp) -> Result<Found, Failure> {
    let unusable = |error: io::Error| {
        let failure = Failure::new(Exit::Configuration, anyhow!(error));
        failure.context(format!("reading the directory {}", path.display()))
    };
    let directory = walk::directory(path).map_err(unusable)?;
    let root = repository(path, &directory);
    let mut found = Found::default();
    let whole = walk::visit(&directory, |path, met| {
        let file = match opened(met) {
            Ok(file) => file,
            Err(why) => return found.items.push(Item::left(Kind::Other, &path.join("/"), why)),
        };
        match path.strip_prefix(root.as_slice()) {
            Some(name) if name.len() == 3 => found.resource(&name.join("/"), only, file),
            Some([name]) if name.contains(SLASH) => found.resource(&name.replace(SLASH, "/"), only, file),
            Some(_) if !root.is_empty() => {
                let why = "not recognised: resources lie in repository/type/tag";
                found.items.push(Item::left(Kind::Other, &path.join("/"), why));
            }
            _ => found.beside(path, file, now),
        }
    });
    if whole.map_err(unusable)? {
        return Ok(found);
    }
    let error = anyhow!("the directory {} has more files than a KBS has resources", path.display());
    Err(Failure::new(Exit::Configuration, error).hint("name the directory of the KBS, or of its repository"))
}

/// The path of the resources below the directory that was named.
fn repository(path: &Path, directory: &OwnedFd) -> Vec<String> {
    let named = path.file_name().is_some_and(|name| name == "repository");
    let below = REPOSITORIES.into_iter().find(|names| walk::has(directory, names));
    let names = if named { None } else { below };
    names.unwrap_or_default().iter().map(|name| (*name).to_owned()).collect()
}

/// The file, or why it is left alone.
fn opened(met: Met) -> Result<File, String> {
    match met {
        Met::File(file) => Ok(file),
        Met::Link => Err("a symbolic link, not followed: copy the directory with `cp -rL` first".to_owned()),
        Met::Other => Err("neither a file nor a directory".to_owned()),
        Met::Unreadable(error) => Err(format!("cannot be read: {error}")),
        Met::Deep => Err("a directory that is too deep, not entered".to_owned()),
    }
}

impl Found {
    fn resource(&mut self, name: &str, only: &[String], file: File) {
        let item = match taken(name, only, file) {
            Ok(_) if self.resources.iter().any(|(other, _)| other == name) => {
                Item::left(Kind::Resource, name, "another file has the same name, and is taken in its place")
            }
            Ok(bytes) => {
                let note = format!("{} bytes", bytes.len());
                self.resources.push((name.to_owned(), bytes));
                Item::becomes(Kind::Resource, name, "a resource", note)
            }
            Err(why) => Item::left(Kind::Resource, name, why),
        };
        self.items.push(item);
    }

    /// Something beside the resources.
    fn beside(&mut self, path: &[String], file: File, now: Timestamp) {
        let (whole, name) = (path.join("/"), path.last().map_or("", String::as_str));
        let one = path.iter().rev().nth(1).is_some_and(|parent| parent == REFERENCE_VALUE);
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        match extension {
            Some("rego") if RESOURCE_POLICIES.contains(&name) => self.items.push(Item::left(
                Kind::Policy,
                &whole,
                "no equivalent: it is one policy for all resources, and its input is the claims of Trustee's \
                 token. It was not run. State what it demands in the registration of each workload",
            )),
            Some("rego") => self.items.push(Item::left(
                Kind::Policy,
                &whole,
                "no equivalent: it appraises evidence for Trustee's token. It was not run. A registration has \
                 requirements and a policy of its own",
            )),
            _ if one || (extension == Some("json") && name.contains("reference")) => match json(file) {
                Ok(Some(json)) if one => self.found(rvps::read_one(&json, &whole, now)),
                Ok(Some(json)) => self.reference_values(&json, now),
                Ok(None) => {
                    self.items.push(Item::left(Kind::ReferenceValue, &whole, "longer than 1 MiB: not read"));
                }
                Err(error) => {
                    let why = format!("cannot be read: {error}");
                    self.items.push(Item::left(Kind::ReferenceValue, &whole, why));
                }
            },
            _ => self.items.push(Item::left(Kind::Other, &whole, "not recognised")),
        }
    }

    /// Adds reference values as a file of Trustee's RVPS has them.
    pub(super) fn reference_values(&mut self, json: &[u8], now: Timestamp) {
        self.found(rvps::read(json, now));
    }

    fn found(&mut self, found: rvps::ReferenceValues) {
        let added = self.measurements.add(&found.measurements).map_err(|error| error.to_string());
        self.items.extend(found.names.into_iter().map(|rvps::Name { name, stands_for }| {
            let stands_for = stands_for.and_then(|count| added.clone().map(|()| count));
            item(rvps::Name { name, stands_for })
        }));
    }
}

fn item(rvps::Name { name, stands_for }: rvps::Name) -> Item {
    match stands_for {
        Ok(count) => {
            let becomes = if count == 1 { "a measurement" } else { "measurements" };
            Item::becomes(Kind::ReferenceValue, &name, becomes, format!("{count} accepted"))
        }
        Err(why) => Item::left(Kind::ReferenceValue, &name, why),
    }
}

/// The contents of a resource, or why it cannot be one of the registration.
fn taken(name: &str, only: &[String], file: File) -> Result<Zeroizing<Vec<u8>>, String> {
    if !is_path(name) {
        return Err(
            "its name is outside the rule: each part has 1 to 64 letters, digits, _, - and dots, and \
                    does not begin with a dot"
                .to_owned(),
        );
    }
    let chosen = |one: &String| {
        name.strip_prefix(one.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !only.is_empty() && !only.iter().any(chosen) {
        return Err("not chosen by --only".to_owned());
    }
    match bounded(file, MAX_SECRET_LEN) {
        Ok(Some(bytes)) if bytes.is_empty() => Err("it is empty".to_owned()),
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!(
            "longer than {MAX_SECRET_LEN} bytes: keep it elsewhere, encrypted, and register its key"
        )),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn json(file: File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    bounded(file, rvps::LONGEST)
}

/// The contents of a file, unless it is longer than `longest`.
fn bounded(file: File, longest: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Room for all of it from the start: growing would leave a copy behind.
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(longest).min(longest) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected));
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= longest).then_some(bytes))
}

/// A file of reference values that a person named.
pub(super) fn named(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unusable = |error: anyhow::Error| {
        Failure::new(Exit::Configuration, error).context(format!("reading {}", path.display()))
    };
    let file = File::open(path).context("opening it").map_err(unusable)?;
    let json = json(file).map_err(|error| unusable(error.into()))?;
    json.ok_or_else(|| unusable(anyhow!("it is longer than 1 MiB")))
}
