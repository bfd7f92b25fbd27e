//! `keybroker completions` and `keybroker man`: completions for shells and manual pages, generated from the
//! command line's own description.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use keybroker_embedded::files;

use crate::{
    Cli,
    exit::{Exit, Failure, Unusable},
    suggest::StorePlace,
};

/// Print completions for a shell
///
/// The completions of a package belong into these files, from where the shells of all users load them:
/// /usr/share/bash-completion/completions/keybroker, /usr/share/zsh/vendor-completions/_keybroker (Debian;
/// elsewhere site-functions) and /usr/share/fish/vendor_completions.d/keybroker.fish. The Debian package
/// installs them. The others have no such place: each user loads them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  keybroker completions bash >~/.local/share/bash-completion/completions/keybroker
  keybroker completions zsh >\"${fpath[1]}/_keybroker\"
  keybroker completions fish >~/.config/fish/completions/keybroker.fish
  keybroker completions elvish >~/.config/elvish/lib/keybroker.elv
  Then in ~/.config/elvish/rc.elv: use keybroker
  keybroker completions powershell >>$PROFILE")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print a manual page, or write all of them
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  keybroker man serve | man -l -
  keybroker man --dir ~/.local/share/man/man1

The directory gets a page for each command: keybroker.1, keybroker-serve.1 and so on.")]
pub(crate) struct ManArgs {
    /// The command that the page is about; the program itself if none is given
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory, and make it if it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Runs `completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keybroker", &mut script);
    print(&script)
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let mut program = Cli::command();
    program.build();
    if let Some(directory) = &args.dir {
        let writing = || Unusable(format!("writing manual pages to {}", directory.display()));
        fs::create_dir_all(directory).with_context(writing)?;
        for (name, page) in pages(&program).with_context(writing)? {
            files::replace(&directory.join(name), page.as_ref()).with_context(writing)?;
        }
        return Ok(Exit::Ok);
    }
    let mut command = &program;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Failure::new(Exit::Usage, anyhow!("there is no command {}", args.command.join(" ")))
                .hint(StorePlace::none().advice("`keybroker --help` lists all commands"))
        })?;
    }
    print(&page(command).context("making the page")?)
}

/// The page of `command` and those of its subcommands, with the names of their files.
fn pages(command: &Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut pages = vec![(format!("{name}.1"), page(command)?)];
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for subcommand in command.get_subcommands().filter(shown) {
        pages.extend(self::pages(subcommand)?);
    }
    Ok(pages)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<Exit, Failure> {
    io::stdout().write_all(bytes).context("printing")?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap::{Parser as _, error::ErrorKind};

    use super::*;

    /// Every command that does something, with the words that lead to it.
    fn acting(command: &Command, path: &str) -> Vec<(String, Command)> {
        let path = format!("{path}{}", command.get_name());
        let subcommands = command.get_subcommands().filter(|one| one.get_name() != "help");
        let own = (!command.is_subcommand_required_set()).then(|| (path.clone(), command.clone()));
        own.into_iter().chain(subcommands.flat_map(|one| acting(one, &format!("{path} ")))).collect()
    }

    /// The lines of a help that begin with the program's name, each joined with its continuation, without the
    /// shell's part.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let help = help.replace("\\\n", " ");
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
        let lines = examples.lines().map(str::trim).filter(|line| line.starts_with("keybroker "));
        lines.map(words).collect()
    }

    /// The words of a command as a shell splits them. `$VARIABLES` stand for values of the right form.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for character in line.chars().chain([' ']) {
            match (quote, character) {
                (None, '|' | '>' | '#') => break,
                (None, '\'' | '"') => quote = Some(character),
                (Some(open), close) if open == close => quote = None,
                (None, ' ') if word.is_empty() => {}
                (None, ' ') => words.push(std::mem::take(&mut word)),
                (_, other) => word.push(other),
            }
        }
        let value = |word: String| match word.as_str() {
            "$MEASUREMENT" => "66".repeat(48),
            "$SHA256" => "66".repeat(32),
            "$CHIP_ID" => "7b".repeat(64),
            "$VCEK_URL" => format!(
                "https://kdsintf.amd.com/vcek/v1/Milan/{}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
                "7b".repeat(64)
            ),
            _ => word,
        };
        words.into_iter().map(value).collect()
    }

    #[test]
    fn every_command_has_examples_and_all_of_them_are_understood() {
        let mut program = Cli::command();
        program.build();
        for (path, mut command) in acting(&program, "") {
            let help = command.render_long_help().to_string();
            // These print a text of the program's own. The demo needs no store, file or service.
            let alone = ["keybroker completions", "keybroker man", "keybroker demo"].contains(&path.as_str());
            assert!(help.contains(Exit::TABLE) || alone, "{path} --help has no table of exit codes");
            // sudo clears the variables that would name the store.
            let as_others = help.lines().find(|line| line.contains("sudo ") && !line.contains("--data-dir "));
            assert_eq!(as_others, None, "{path}");
            let examples = examples(&help);
            assert!(!examples.is_empty(), "{path} --help has no examples");
            for example in examples {
                assert!(example.join(" ").starts_with(&path), "an example of {path} is {example:?}");
                match Cli::try_parse_from(&example) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{example:?}: {error}"),
                }
            }
        }
    }

    #[test]
    fn an_example_that_is_wrong_is_found() {
        assert_eq!(words("keybroker a 'b c' --d=\"e\" | jq"), ["keybroker", "a", "b c", "--d=e"]);
        assert_eq!(
            examples("Examples:\n  keybroker serve --listn 1 \\\n   --b >>x\n"),
            [["keybroker", "serve", "--listn", "1", "--b"]]
        );
        assert!(Cli::try_parse_from(["keybroker", "serve", "--listn", "1"]).is_err());
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let mut program = Cli::command();
        program.build();
        let pages = pages(&program).unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "keybroker.1");
        for (path, _) in acting(&program, "") {
            let name = format!("{}.1", path.replace(' ', "-"));
            let (_, page) = pages.iter().find(|page| page.0 == name).expect(&name);
            let page = String::from_utf8(page.clone()).unwrap();
            assert!(
                page.starts_with(".ie") && page.contains(".SH EXTRA") && page.contains("Examples"),
                "{page}"
            );
        }
    }

    #[test]
    fn completions_name_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "keybroker", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
