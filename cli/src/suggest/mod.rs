//! The commands that a person is told to give next.
//!
//! People paste them, so each must be complete and act on the store at hand: an undo that acts on another
//! store succeeds and undoes nothing. A [`StorePlace`] makes all of them, and adds the arguments that lead to
//! the store if the command takes them.

use std::path::Path;

use clap::CommandFactory as _;

use crate::{Cli, aws::Login};

/// The variables that AWS's tools read and that hold no secret.
const AWS: [&str; 8] = [
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
];

/// The place of a store, as arguments that lead to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StorePlace {
    /// Variables, for a store on AWS.
    variables: Vec<(&'static str, String)>,
    /// Options by their long names, without the dashes.
    options: Vec<(&'static str, Option<String>)>,
}

impl StorePlace {
    /// No store, for commands that need none.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// The store in `data_dir`, by an absolute path.
    pub(crate) fn local(data_dir: &Path) -> Self {
        Self::none().with_path("data-dir", data_dir)
    }

    /// The tables on AWS whose names begin with `prefix`. `variable` reads the environment.
    pub(crate) fn aws(prefix: &str, login: &Login, variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut options = vec![("aws", None), ("prefix", Some(prefix.to_owned()))];
        let named = [("region", &login.region), ("profile", &login.profile)];
        options.extend(named.into_iter().filter_map(|(option, value)| Some((option, Some(value.clone()?)))));
        let variables = AWS.iter().filter_map(|name| Some((*name, variable(name)?))).collect();
        Self { variables, options }
    }

    /// The same with the wrapping key's file, for commands that need the key.
    pub(crate) fn with_key_file(self, key_file: &Path) -> Self {
        self.with_path("key-file", key_file)
    }

    fn with_path(mut self, option: &'static str, path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.options.push((option, Some(path.display().to_string())));
        self
    }

    /// `keybroker COMMAND OPERANDS` with the arguments that lead to the store, quoted for a shell.
    pub(crate) fn command(&self, command: &str, operands: &[&str]) -> String {
        self.command_with(command, &[], operands)
    }

    /// The same with these options, by their long names without the dashes. A stranger may have chosen their
    /// values.
    pub(crate) fn command_with(&self, command: &str, options: &[(&str, &str)], operands: &[&str]) -> String {
        let known = Cli::command();
        let mut named = &known;
        for word in command.split_whitespace() {
            named = named.find_subcommand(word).unwrap_or(named);
        }
        let takes = |option: &str| named.get_arguments().any(|argument| argument.get_long() == Some(option));
        let mut words = vec!["keybroker".to_owned()];
        words.extend(command.split_whitespace().map(quoted));
        let dashed = operands.iter().any(|operand| operand.starts_with('-'));
        if !dashed {
            words.extend(operands.iter().map(|operand| quoted(operand)));
        }
        for (option, value) in options {
            // A value with a dash in front looks like another option.
            words.push(match value.strip_prefix('-') {
                Some(_) => quoted(&format!("--{option}={value}")),
                None => format!("--{option} {}", quoted(value)),
            });
        }
        for (option, value) in self.options.iter().filter(|(option, _)| takes(option)) {
            words.push(format!("--{option}"));
            words.extend(value.as_deref().map(quoted));
        }
        if dashed {
            words.push("--".to_owned());
            words.extend(operands.iter().map(|operand| quoted(operand)));
        }
        let variables = if takes("aws") { self.variables.as_slice() } else { &[] };
        let variables = variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        variables.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// `text` in which every `` `keybroker …` `` is completed, unless it is complete.
    pub(crate) fn advice(&self, text: &str) -> String {
        self.advice_about(text, None)
    }

    /// The same, with a workload's id in place of a last word `ID`. A stranger may have chosen the id.
    pub(crate) fn advice_about(&self, text: &str, id: Option<&str>) -> String {
        const BEGIN: &str = "`keybroker ";
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (command, behind) = after.split_once('`').unwrap_or((after, ""));
            let is_whole = ["--data-dir ", "--aws "].iter().any(|option| command.contains(option));
            let command = match command.strip_suffix(" ID").zip(id) {
                _ if is_whole => format!("keybroker {command}"),
                Some((command, id)) => self.command(command, &[id]),
                None => self.command(command, &[]),
            };
            whole += &format!("{before}`{command}`");
            rest = behind;
        }
        whole + rest
    }
}

/// `word` as a shell takes it for one word.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
