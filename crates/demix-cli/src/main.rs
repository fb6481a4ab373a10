//! `demix`: the command line. Parses, calls the library, prints; no mathematics and no defaults of its own.

mod arguments;
mod commands;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};
use progress::Reporter;

/// Exit codes: 0 success, 1 failure, 2 wrong use (clap's), 130 after Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    progress::stop_on_interrupt();
    if let Some(threads) = arguments.threads {
        // the pool is built once, here, so this cannot fail
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let reporter = Reporter::new(arguments.quiet, arguments.json);
    let result = match arguments.command {
        Command::Demo(options) => commands::demo(&options, &reporter),
        Command::Separate(options) => commands::separate(&options, &reporter),
        Command::Methods(options) => commands::methods(&options, &reporter),
        Command::Dictionary(options) => commands::dictionary(&options, &reporter),
        Command::Remix(options) => commands::remix(&options, &reporter),
        Command::Info(options) => commands::info(&options, &reporter),
        Command::Evaluate(options) => commands::evaluate(&options, &reporter),
        Command::Completions(options) => commands::completions(&options),
    };
    if progress::interrupted() {
        reporter.error("stopped by Ctrl-C; no half-written file was left");
        return ExitCode::from(INTERRUPTED);
    }
    match result {
        Ok(code) => code,
        Err(error) => {
            reporter.error(&format!("{error:#}"));
            ExitCode::from(if error.is::<commands::WrongUse>() { 2 } else { 1 })
        }
    }
}
