//! The thin binary over the library: parse, run, exit code.

use std::io;
use std::process::ExitCode;

use port_observer::cli::{self, Cli};
use port_observer::{command, config, logging, notice};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => match cli::unknown(std::env::args_os(), &error) {
            Some(asked) => return command::check::refuse(&asked),
            None => notice::exit_with_usage(&error),
        },
    };
    command::signals::ignore_file_size();
    let has_color = config::uses_color(cli.color, &io::stderr());
    logging::start(cli.log_level.map(Into::into), has_color);
    let failure = command::failure_code(&cli);
    let code = match command::run(cli) {
        Ok(code) => code,
        Err(error) if command::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            notice::error(&error);
            failure
        }
    };
    logging::finish();
    code
}
