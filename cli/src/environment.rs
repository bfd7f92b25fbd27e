//! The check of the environment: a KEYBROKER_… variable that nothing reads is refused, because a mistyped
//! setting must not be ignored in silence.

use std::{collections::BTreeSet, env, io::Write as _};

use clap::{
    Arg, ArgMatches, Command, CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use keybroker_aws::dynamodb::AllTables;
use keybroker_common::config;

use crate::{
    Cli, credential,
    exit::{Exit, Failure},
    suggest::StorePlace,
};

/// The store that a command reaches. It decides whether the functions' variables mean anything to the
/// command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// None.
    Nothing,
    /// One on this machine.
    Local,
    /// Tables whose names begin with this.
    Aws(String),
}

impl Reach {
    /// The reach of the command in `matches`.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let mut matches = matches;
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        match (matches.try_get_one::<bool>("aws"), matches.try_get_one::<String>("prefix")) {
            (Ok(Some(true)), Ok(Some(prefix))) => Self::Aws(prefix.clone()),
            _ if matches.try_contains_id("data_dir").is_ok() => Self::Local,
            _ => Self::Nothing,
        }
    }
}

/// Tells of arguments that clap refuses, and ends the process. An argument may come from the environment, and
/// a person who gave none must learn that.
pub(crate) fn refuse_arguments(error: &clap::Error) -> ! {
    print(error);
    for variable in behind(error, &Cli::command(), |name| env::var_os(name).is_some()) {
        say!("hint: {variable} is set in the environment, which counts like the argument: unset it");
    }
    std::process::exit(error.exit_code())
}

/// Prints what clap says, which has the value that it refuses: without a user and a password in it.
fn print(error: &clap::Error) {
    let said = error.render().ansi().to_string();
    if !error.use_stderr() || !credential::is_in(&said) {
        let _ = error.print();
        return;
    }
    let _ = write!(anstream::stderr(), "{}", credential::hidden(&said));
    credential::advise();
}

/// The variables that are set and stand for an argument that is at fault. clap writes all arguments that are
/// given into the usage, those from variables too. Such a one is at fault only if it conflicts with another,
/// or needs one that the command does not need otherwise.
fn behind(error: &clap::Error, command: &Command, is_set: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let said = |kind| error.get(kind).map(ToString::to_string);
    let names = |text: &str, argument: &Arg| {
        let option = argument.get_long().map(|long| format!("--{long} "));
        option.is_some_and(|option| format!("{text} ").contains(&option))
    };
    let needed_otherwise = |missing: &String| {
        !missing.starts_with("--")
            || arguments(command).any(|argument| argument.is_required_set() && names(missing, argument))
    };
    let named: Vec<_> = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ArgumentConflict, _) => {
            [ContextKind::InvalidArg, ContextKind::PriorArg].into_iter().filter_map(said).collect()
        }
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing)))
            if !missing.iter().any(needed_otherwise) =>
        {
            said(ContextKind::Usage).into_iter().collect()
        }
        _ => Vec::new(),
    };
    let stands = |argument: &Arg| named.iter().any(|named| names(named, argument));
    let variable = |argument: &Arg| argument.get_env()?.to_str().map(str::to_owned);
    arguments(command)
        .filter(|argument| stands(argument))
        .filter_map(variable)
        .filter(|name| is_set(name))
        .collect()
}

/// The arguments of `command` and of its subcommands.
fn arguments(command: &Command) -> Box<dyn Iterator<Item = &Arg> + '_> {
    Box::new(command.get_arguments().chain(command.get_subcommands().flat_map(arguments)))
}

/// Refuses the environment if it has a variable of ours that no option of `command` reads, or one of the
/// functions' variables that names another store than `reach`.
pub(crate) fn check(command: &Command, reach: &Reach) -> Result<(), Failure> {
    let known = known(command);
    let variables: Vec<_> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    let names = variables.iter().map(|(name, _)| name.clone());
    if let Some(name) = unknown(names, &known) {
        return Err(refuse(&name, &known));
    }
    let mut read_by_functions = variables.iter().filter(|(name, _)| !known.contains(name));
    read_by_functions.try_for_each(|(name, value)| elsewhere(name, value, reach))
}

/// Refuses a variable of the functions' that would be ignored in silence: the person who set it means another
/// store.
fn elsewhere(name: &str, value: &str, reach: &Reach) -> Result<(), Failure> {
    if !is_a_functions(name) {
        return Ok(());
    }
    let refuse = |what: String| Failure::new(Exit::Configuration, anyhow::anyhow!("{what}"));
    match reach {
        Reach::Nothing => Ok(()),
        Reach::Local => Err(refuse(format!(
            "the environment variable {name} is for the functions on AWS, and this command's store is on \
             this machine"
        ))
        .hint("add --aws if the command takes it, or unset the variable")),
        Reach::Aws(prefix) => match table(name, prefix) {
            Some(table) if table != value => Err(refuse(format!(
                "the environment variable {name} names the table {value}, and this command's table is {table}"
            ))
            .hint("give --prefix what the tables' names begin with, or unset the variable")),
            _ => Ok(()),
        },
    }
}

fn is_a_functions(name: &str) -> bool {
    config::VARIABLES.iter().any(|variable| variable.name == name)
}

/// The table that a variable names, in the deployment whose names begin with `prefix`.
fn table(variable: &str, prefix: &str) -> Option<String> {
    let AllTables { workloads, tokens, decisions, keys, endorsements, audit } =
        AllTables::with_prefix(prefix);
    match variable {
        "KEYBROKER_WORKLOADS_TABLE" => Some(workloads),
        "KEYBROKER_TOKENS_TABLE" => Some(tokens),
        "KEYBROKER_DECISIONS_TABLE" => Some(decisions),
        "KEYBROKER_KEYS_TABLE" => Some(keys),
        "KEYBROKER_ENDORSEMENTS_TABLE" => Some(endorsements),
        "KEYBROKER_AUDIT_TABLE" => Some(audit),
        _ => None,
    }
}

fn refuse(name: &str, known: &BTreeSet<String>) -> Failure {
    let failure =
        Failure::new(Exit::Configuration, anyhow::anyhow!("the environment variable {name} is not known"));
    match nearest(name, known) {
        Some(nearest) => failure.hint(format!("did you mean {nearest}?")),
        None => failure.hint(StorePlace::none().advice("`keybroker serve --help` lists the variables")),
    }
}

/// The variables that the options of `command` and its subcommands read.
fn known(command: &Command) -> BTreeSet<String> {
    arguments(command).filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned)).collect()
}

fn unknown(mut names: impl Iterator<Item = String>, known: &BTreeSet<String>) -> Option<String> {
    names.find(|name| name.starts_with(config::PREFIX) && !known.contains(name) && !is_a_functions(name))
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    config::nearest(name, known.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(names: &[&str]) -> Option<String> {
        unknown(names.iter().map(|name| (*name).to_owned()), &known(&Cli::command()))
    }

    #[test]
    fn options_of_every_command_are_known() {
        assert_eq!(find(&["KEYBROKER_LISTEN", "KEYBROKER_LOG", "PATH", "keybroker_x"]), None);
    }

    #[test]
    fn a_mistyped_name_is_found_and_the_right_one_suggested() {
        assert_eq!(find(&["PATH", "KEYBROKER_LISTN"]), Some("KEYBROKER_LISTN".to_owned()));
        let known = known(&Cli::command());
        assert_eq!(nearest("KEYBROKER_LISTN", &known), Some("KEYBROKER_LISTEN"));
        assert_eq!(nearest("KEYBROKER_DATADIR", &known), Some("KEYBROKER_DATA_DIR"));
        assert_eq!(nearest("KEYBROKER_QQQ", &known), None);
    }

    fn behind_the_refusal_of(arguments: &[&str]) -> BTreeSet<String> {
        let error = Cli::command().try_get_matches_from(arguments).unwrap_err();
        behind(&error, &Cli::command(), |_| true)
    }

    #[test]
    fn a_variable_is_named_only_if_its_argument_is_in_the_way() {
        // An argument stands for the variable: clap names both in one way.
        for (arguments, variable) in [
            (&["workload", "list", "--aws", "--data-dir", "/x"][..], Some("KEYBROKER_DATA_DIR")),
            (&["workload", "list", "--prefix", "x"], Some("KEYBROKER_PREFIX")),
            (&["workload", "show", "--data-dir", "/x"], None),
            (&["token", "revoke", "--data-dir", "/x"], None),
            (&["audit", "--data-dir", "/x"], None),
            (&["report", "--data-dir", "/x"], None),
            (&["audit", "--follow", "--limit", "3", "--data-dir", "/x"], None),
        ] {
            let found = behind_the_refusal_of(&[&["keybroker"], arguments].concat());
            assert_eq!(
                found.iter().map(String::as_str).collect::<Vec<_>>(),
                Vec::from_iter(variable),
                "{arguments:?}"
            );
        }
    }

    fn reach(arguments: &[&str]) -> Reach {
        Reach::of(&Cli::command().try_get_matches_from(arguments).unwrap())
    }

    #[test]
    fn a_command_reaches_the_place_of_its_store() {
        assert_eq!(reach(&["keybroker", "workload", "list", "--aws"]), Reach::Aws("keybroker".to_owned()));
        let prefixed = ["keybroker", "certificates", "list", "--aws", "--prefix", "prod"];
        assert_eq!(reach(&prefixed), Reach::Aws("prod".to_owned()));
        for local in
            [&["keybroker", "workload", "list"][..], &["keybroker", "serve"], &["keybroker", "doctor"]]
        {
            assert_eq!(reach(local), Reach::Local, "{local:?}");
        }
        assert_eq!(reach(&["keybroker", "verify", "--report", "r"]), Reach::Nothing);
    }

    #[test]
    fn a_functions_variable_is_known_if_it_names_the_same_store() {
        let aws = |prefix: &str| Reach::Aws(prefix.to_owned());
        for variable in config::VARIABLES {
            assert_eq!(find(&[variable.name]), None);
            assert!(elsewhere(variable.name, "x", &Reach::Nothing).is_ok());
            assert_eq!(table(variable.name, "p").is_some(), variable.name.ends_with("_TABLE"));
        }
        for (name, value, reach, holds) in [
            ("KEYBROKER_WORKLOADS_TABLE", "prod-workloads", aws("prod"), true),
            ("KEYBROKER_WORKLOADS_TABLE", "prod-workloads", aws("keybroker"), false),
            ("KEYBROKER_WORKLOADS_TABLE", "prod-workloads", Reach::Local, false),
            ("KEYBROKER_KMS_KEY", "alias/prod", aws("prod"), true),
            ("KEYBROKER_KMS_KEY", "alias/prod", Reach::Local, false),
        ] {
            assert_eq!(elsewhere(name, value, &reach).is_ok(), holds, "{name} {reach:?}");
        }
    }
}
