//! `backstore completions` and `backstore man`: made from the command line itself, so they never differ from it.

use std::path::PathBuf;

use clap::CommandFactory;

use super::output::Output;
use super::{Cli, CliError, Exit};

/// Print what a shell needs to complete command lines
///
/// For bash: backstore completions bash > ~/.local/share/bash-completion/completions/backstore
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the manual page, or write those of all commands into a folder
///
/// To read it at once: backstore man | man -l -
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write backstore.1, backstore-backup.1 and so on into this folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

const PROGRAM: &str = "backstore";

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), PROGRAM, &mut script);
    print(&script)
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, CliError> {
    let Some(folder) = &args.to else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|source| CliError::Io { action: "make the manual page".to_owned(), source })?;
        return print(&page);
    };
    let failed = |source| CliError::Io { action: format!("write to {}", folder.display()), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    Ok(Exit::Complete)
}

fn print(bytes: &[u8]) -> Result<Exit, CliError> {
    let mut out = Output::new(false);
    out.bytes(bytes)?;
    out.finish()?;
    Ok(Exit::Complete)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command, however deep, says in one sentence what it does, and so does every argument.
    #[test]
    fn every_help_begins_with_a_sentence() {
        fn check(command: &Command, name: &str) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let is_sentence = about.chars().next().is_some_and(char::is_uppercase)
                && about.split_whitespace().count() >= 3
                && !about.ends_with('.')
                && !about.contains('\n');
            assert!(is_sentence, "{name}: {about:?}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{name}: {} is not explained", argument.get_id());
            }
            command.get_subcommands().for_each(|sub| check(sub, &format!("{name} {}", sub.get_name())));
        }
        let mut command = Cli::command();
        command.build();
        let real = command.get_subcommands().filter(|sub| sub.get_name() != "help");
        real.for_each(|sub| check(sub, sub.get_name()));
    }

    #[test]
    fn pages_name_every_command() {
        let folder = tempfile::tempdir().unwrap();
        man(&ManArgs { to: Some(folder.path().to_owned()) }).unwrap();
        for command in Cli::command().get_subcommands() {
            let page = folder.path().join(format!("backstore-{}.1", command.get_name()));
            assert!(page.is_file(), "{}", page.display());
        }
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), PROGRAM, &mut script);
        assert!(String::from_utf8(script).unwrap().contains("verify"));
    }
}
