use clap::{CommandFactory, Parser};

use super::{Cli, Command, LiveArgs};

fn live(arguments: &str) -> Result<LiveArgs, clap::Error> {
    let words = ["port-observer", "live"].into_iter().chain(arguments.split_whitespace());
    Cli::try_parse_from(words).map(|cli| match cli.command {
        Command::Live(args) => *args,
        Command::Doctor(_) => unreachable!("live was asked for"),
    })
}

fn help(of: Option<&str>) -> String {
    let mut command = Cli::command();
    command.build();
    let command = match of {
        Some(name) => command.find_subcommand_mut(name).unwrap(),
        None => &mut command,
    };
    command.clone().term_width(100).render_long_help().to_string()
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_says_what_the_program_does() {
    insta::assert_snapshot!("help", help(None));
}

#[test]
fn the_help_of_live_shows_options_filters_and_examples() {
    insta::assert_snapshot!("help_live", help(Some("live")));
}

#[test]
fn the_help_of_doctor_shows_its_options() {
    insta::assert_snapshot!("help_doctor", help(Some("doctor")));
}

#[test]
fn filters_may_be_repeated() {
    let args = live("--pid 1 --pid 2 --port 1-5 --port 7 --to [::1]:1 --to 10.0.0.1").unwrap();
    assert_eq!(args.filter.pid, [1, 2]);
    assert_eq!((args.filter.port.len(), args.filter.to.len()), (2, 2));
}

#[test]
fn types_are_a_list_and_may_be_repeated() {
    let args = live("--events acquire,time_wait --events lost").unwrap();
    let names: Vec<_> = args.events.into_iter().map(|event| event.name()).collect();
    assert_eq!(names, ["acquire", "time_wait", "lost"]);
}

#[test]
fn every_backend_and_type_of_line_is_understood() {
    for backend in ["auto", "fexit", "kprobe", "tracepoint", "poll"] {
        assert_eq!(live(&format!("--backend {backend}")).unwrap().backend.name(), backend);
    }
    for event in [
        "start",
        "acquire",
        "time_wait",
        "release",
        "exhausted",
        "conflict",
        "state",
        "lost",
        "stop",
    ] {
        assert_eq!(live(&format!("--events {event}")).unwrap().events[0].name(), event);
        assert!(help(Some("live")).contains(event));
    }
}

#[test]
fn wrong_usage_exits_with_2_and_names_the_option() {
    for arguments in [
        "--backend ebpf",
        "--duration 90",
        "--count 0",
        "--events acquired",
        "--events acquire,",
        "--buffer-size 1",
        "--pid 0",
        "--pid self",
        "--uid root",
        "--port 0",
        "--to example.com",
        "--protocol sctp",
    ] {
        let error = live(arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{arguments}");
        let option = arguments.split(' ').next().unwrap();
        assert!(error.to_string().contains(option), "{error}");
    }
    assert_eq!(live("--no-such-option").unwrap_err().exit_code(), 2);
    assert_eq!(Cli::try_parse_from(["port-observer"]).unwrap_err().exit_code(), 2);
}
