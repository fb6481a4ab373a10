//! `demix`: the command line. Parses, calls the library, prints; no mathematics and no defaults of its own.

mod arguments;
mod commands;
mod evaluate;
mod progress;
mod reproduce;
mod simulate;
mod train;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use arguments::{Arguments, Command};
use progress::Reporter;

/// Exit codes: 0 success, 1 failure, and these.
const WRONG_USE: u8 = 2;
/// After Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(asked) if !asked.use_stderr() => asked.exit(),
        Err(wrong) if wrong.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => wrong.exit(),
        Err(wrong) => {
            progress::print_error("error", &in_one_line(&wrong));
            return ExitCode::from(WRONG_USE);
        }
    };
    progress::stop_on_interrupt();
    if let Some(threads) = arguments.threads {
        // the pool is built once, here, so this cannot fail
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let reporter = Reporter::new(arguments.quiet, arguments.json);
    let result = match arguments.command {
        Command::Demo(options) => commands::demo(&options, &reporter),
        Command::Separate(options) => commands::separate(&options, &reporter),
        Command::Simulate(options) => simulate::simulate(&options, &reporter),
        Command::Methods(options) => commands::methods(&options, &reporter),
        Command::Dictionary(options) => commands::dictionary(&options, &reporter),
        Command::Train(options) => train::train(&options, &reporter),
        Command::Reproduce(options) => reproduce::reproduce(&options, &reporter),
        Command::Remix(options) => commands::remix(&options, &reporter),
        Command::Info(options) => commands::info(&options, &reporter),
        Command::Evaluate(options) => evaluate::evaluate(&options, &reporter),
        Command::Completions(options) => commands::completions(&options),
    };
    if progress::interrupted() {
        reporter.error("stopped by Ctrl-C; no half-written file was left");
        return ExitCode::from(INTERRUPTED);
    }
    match result {
        Err(error) => {
            reporter.error(&format!("{error:#}"));
            if commands::is_wrong_use(&error) { ExitCode::from(WRONG_USE) } else { ExitCode::FAILURE }
        }
        Ok(_) if progress::unprinted().is_some() => {
            let reason = progress::unprinted().unwrap_or_default();
            progress::print_error(
                "error",
                &format!("the output could not be printed: {reason}; check where it goes"),
            );
            ExitCode::FAILURE
        }
        Ok(code) => code,
    }
}

/// What is wrong with the arguments, without the usage that follows it.
fn in_one_line(wrong: &clap::Error) -> String {
    let text = wrong.render().to_string();
    let mut parts: Vec<String> = Vec::new();
    let mut listing = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        let line = line.strip_prefix("error: ").unwrap_or(line);
        let line = line.strip_prefix("tip: ").unwrap_or(line);
        match parts.last_mut() {
            _ if line.is_empty() => {}
            // required arguments stand in lines of their own
            Some(last) if last.ends_with(':') => {
                *last += &format!(" {line}");
                listing = true;
            }
            Some(last) if listing && line.starts_with(['-', '<']) => *last += &format!(", {line}"),
            _ => parts.push(line.into()),
        }
    }
    let is_command =
        |word: &String| Arguments::command().get_subcommands().any(|command| command.get_name() == word);
    let command = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).find(is_command);
    let help = command.map_or_else(|| "demix --help".into(), |name| format!("demix {name} --help"));
    format!("{}; see '{help}'", parts.join("; "))
}
