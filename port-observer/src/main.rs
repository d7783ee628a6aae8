//! The thin binary over the library: parse, run, exit code.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use port_observer::cli::{self, Cli};
use port_observer::{command, logging};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => match cli::unknown(std::env::args_os(), &error) {
            Some(asked) => return command::check::refuse(&asked),
            None => error.exit(),
        },
    };
    command::signals::ignore_file_size();
    logging::start(cli.log_level, cli.color);
    match command::run(cli) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln!, which panics when standard error is closed.
            let _ = writeln!(io::stderr(), "port-observer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The reader of the output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
