use clap::CommandFactory;

use super::{Cli, Command, LiveArgs};

fn live(arguments: &str) -> Result<LiveArgs, clap::Error> {
    let words = ["port-observer", "live"].into_iter().chain(arguments.split_whitespace());
    Cli::read(words).map(|cli| match cli.command {
        Command::Live(args) => *args,
        _ => unreachable!("live was asked for"),
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
fn the_help_of_the_commands_of_recordings_shows_their_options_and_examples() {
    for name in ["record", "replay", "report"] {
        insta::assert_snapshot!(format!("help_{name}"), help(Some(name)));
    }
}

#[test]
fn the_help_of_why_shows_what_can_be_asked() {
    insta::assert_snapshot!("help_why", help(Some("why")));
}

#[test]
fn the_help_of_top_shows_its_options_and_where_the_keys_are() {
    insta::assert_snapshot!("help_top", help(Some("top")));
}

#[test]
fn what_is_only_for_a_recording_or_only_for_the_kernel_is_refused_for_the_other() {
    for wrong in
        ["--from 10m", "--replay a.db --backend poll", "--every 10ms", "--view all", "--every 1"]
    {
        let words = format!("port-observer top {wrong}");
        assert_eq!(Cli::read(words.split(' ')).unwrap_err().exit_code(), 2, "{wrong}");
    }
    let words = "port-observer top --replay a.db --from 10m --view ports --every 500ms";
    assert!(Cli::read(words.split(' ')).is_ok());
}

#[test]
fn an_end_of_a_replay_is_a_time_and_a_destination_too() {
    let words = "port-observer replay ports.db --to 10.0.0.1:443 --to 14:00 --to ::1";
    let Command::Replay(args) = Cli::read(words.split(' ')).unwrap().command else {
        unreachable!("replay was asked for")
    };
    assert_eq!(args.filter().to.len(), 2);
    assert!(args.end().is_some());
    for wrong in ["--to 10.0.0.1:99999", "--speed 0", "--speed fast", "--from soon", "--json x"] {
        let words = format!("port-observer replay ports.db {wrong}");
        assert_eq!(Cli::read(words.split(' ')).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_report_of_a_moment_is_not_one_of_a_time() {
    for wrong in ["--at 14:00 --from 13:00", "--holdings", "--top 3", ""] {
        let words = format!("port-observer report {wrong}");
        let words = words.split_whitespace().map(str::to_owned);
        let file = (!wrong.is_empty()).then(|| "ports.db".to_owned());
        assert_eq!(Cli::read(words.chain(file)).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn the_help_of_snapshot_shows_its_options_and_examples() {
    insta::assert_snapshot!("help_snapshot", help(Some("snapshot")));
}

#[test]
fn the_help_of_check_shows_its_options_and_examples() {
    insta::assert_snapshot!("help_check", help(Some("check")));
}

#[test]
fn the_help_of_pools_shows_what_is_read_and_the_exit_codes() {
    let mut command = Cli::command();
    command.build();
    let pools = command.find_subcommand_mut("pools").unwrap();
    let help =
        |command: &clap::Command| command.clone().term_width(100).render_long_help().to_string();
    insta::assert_snapshot!("help_pools", help(pools));
    insta::assert_snapshot!("help_pools_check", help(pools.find_subcommand_mut("check").unwrap()));
    insta::assert_snapshot!("help_pools_show", help(pools.find_subcommand_mut("show").unwrap()));
    insta::assert_snapshot!("help_pools_lease", help(pools.find_subcommand_mut("lease").unwrap()));
    for name in ["verify", "echo"] {
        let help = help(pools.find_subcommand_mut(name).unwrap());
        insta::assert_snapshot!(format!("help_pools_{name}"), help);
    }
}

#[test]
fn a_snapshot_of_no_port_or_of_nothing_is_wrong_usage() {
    for arguments in ["--port 0", "--port 5-4", "--top 0", "--netns", "--protocol sctp", "now"] {
        let words = ["port-observer", "snapshot"].into_iter().chain(arguments.split(' '));
        assert_eq!(Cli::read(words).unwrap_err().exit_code(), 2, "{arguments}");
    }
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
    let names: Vec<_> = args.lines.events.into_iter().map(|event| event.name()).collect();
    assert_eq!(names, ["acquire", "time_wait", "lost"]);
}

#[test]
fn every_backend_and_type_of_line_is_understood() {
    for backend in ["auto", "fexit", "kprobe", "tracepoint", "poll"] {
        assert_eq!(live(&format!("--backend {backend}")).unwrap().observe.backend.name(), backend);
    }
    for event in [
        "start",
        "existing",
        "acquire",
        "time_wait",
        "release",
        "exhausted",
        "conflict",
        "refused",
        "threshold",
        "state",
        "summary",
        "lost",
        "stop",
    ] {
        let args = live(&format!("--summary 1s --events {event}")).unwrap();
        assert_eq!(args.lines.events[0].name(), event);
        assert!(help(Some("live")).contains(event));
    }
}

#[test]
fn options_that_contradict_each_other_are_told_in_a_sentence() {
    for (arguments, sentence) in [
        ("--warning 90", "error: --warning (90) must be below --critical (85)"),
        (
            "--no-existing --events existing",
            "error: --no-existing leaves out what --events existing asks for: give one of them",
        ),
        (
            "--events summary",
            "error: --events summary needs --summary EVERY, such as --summary 10s",
        ),
    ] {
        let error = live(arguments).unwrap_err().to_string();
        assert_eq!(error.lines().next(), Some(sentence));
        assert!(error.contains("Usage: port-observer live"), "{error}");
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
        "--summary 10",
        "--summary 99ms",
        "--summary",
        "--top 0",
        "--warning 0",
        "--warning 85",
        "--warning 90 --critical 80",
        "--critical 70",
        "--critical 101",
        "--critical much",
        "--max-holdings 0",
        "--no-existing --events acquire,existing",
        "--events summary",
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
    assert_eq!(Cli::read(["port-observer"]).unwrap_err().exit_code(), 2);
}
