//! The check of the environment: a KEYBROKER_… variable that nothing reads is refused, because a mistyped
//! setting must not be ignored in silence.

use std::{collections::BTreeSet, env, ffi::OsString, io::Write as _, iter};

use clap::{
    Arg, ArgMatches, Command, CommandFactory as _,
    builder::Resettable,
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
/// or needs one that is missing.
fn behind(error: &clap::Error, command: &Command, is_set: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let said = |kind| error.get(kind).map(ToString::to_string);
    let names = |text: &str, argument: &Arg| {
        let option = argument.get_long().map(|long| format!("--{long} "));
        option.is_some_and(|option| format!("{text} ").contains(&option))
    };
    let variable = |argument: &Arg| argument.get_env()?.to_str().map(str::to_owned);
    let given = |argument: &Arg| variable(argument).is_some_and(|name| is_set(&name));
    let at_fault: Vec<_> = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ArgumentConflict, _) => {
            let both = [ContextKind::InvalidArg, ContextKind::PriorArg];
            let both: Vec<_> = both.into_iter().filter_map(said).collect();
            let named = |argument: &&Arg| both.iter().any(|named| names(named, argument));
            arguments(command).filter(named).collect()
        }
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
            let usage = said(ContextKind::Usage).unwrap_or_default();
            let every = commands(command)
                .flat_map(|command| command.get_arguments().map(move |argument| (command, argument)));
            let named = every.filter(|(_, argument)| given(argument) && names(&usage, argument));
            named
                .filter(|(command, argument)| needs(command, argument, missing))
                .map(|(_, one)| one)
                .collect()
        }
        _ => Vec::new(),
    };
    at_fault.into_iter().filter(|argument| given(argument)).filter_map(variable).collect()
}

/// Whether `argument` of `command` is the reason why one of `missing` must be given: clap misses that beside
/// this argument alone, and not without it.
fn needs(command: &Command, argument: &Arg, missing: &[String]) -> bool {
    let Some(name) = argument.get_long() else { return false };
    let given =
        if argument.get_action().takes_values() { format!("--{name}=x") } else { format!("--{name}") };
    // Neither this process's variables nor the form of values matter to that.
    let bare = command.clone().mut_args(|argument| {
        let argument = argument.env(Resettable::Reset);
        let takes_values = argument.get_action().takes_values();
        if takes_values { argument.value_parser(clap::value_parser!(OsString)) } else { argument }
    });
    let missed = |given: Option<&String>| -> Vec<String> {
        let words = ["keybroker"].into_iter().chain(given.map(String::as_str));
        let error = bare.clone().try_get_matches_from(words).err();
        match error.as_ref().and_then(|error| error.get(ContextKind::InvalidArg)) {
            Some(ContextValue::Strings(missed)) => missed.clone(),
            _ => Vec::new(),
        }
    };
    let otherwise = missed(None);
    missed(Some(&given)).iter().any(|one| missing.contains(one) && !otherwise.contains(one))
}

/// `command` and its subcommands.
fn commands(command: &Command) -> Box<dyn Iterator<Item = &Command> + '_> {
    Box::new(iter::once(command).chain(command.get_subcommands().flat_map(commands)))
}

/// The arguments of `command` and of its subcommands.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    commands(command).flat_map(Command::get_arguments)
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
            (&["workload", "delete", "--older-than", "7d", "--yes", "--data-dir", "/x"], None),
            (&["register", "--init-data-out", "x", "--data-dir", "/x", "--key-file", "/k"], None),
            (
                &["serve", "--tls-cert", "c", "--key-file", "k", "--data-dir", "/x"],
                Some("KEYBROKER_TLS_CERT"),
            ),
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
