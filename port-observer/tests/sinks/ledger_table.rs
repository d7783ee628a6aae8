use jiff::tz::TimeZone;
use port_observer::event::{LossKind, LossPlace, Protocol};
use port_observer::report::Sink;
use port_observer::report::{
    Body, CauseKind, Closing, Level, Report, Space, SpaceKind, Story, Summary,
};
use port_observer::sink::table::{Options, Screen, Table};
use unicode_width::UnicodeWidthStr;

use super::ledger_samples::{
    bind_space, cause, closing, conflict, connect_space, exhausted, holder, ledger, named, story,
    summary, threshold,
};
use super::samples::{NETNS, OFFSET_NS, at, endpoint};
use super::table::{frame, screen, without_color};

fn ending(closing: &Closing, screen: Screen, color: bool) -> String {
    let mut bytes = Vec::new();
    let options = Options { color, screen, time_zone: TimeZone::UTC, home_netns: Some(NETNS) };
    let mut table = Table::new(&mut bytes, options);
    table.set_offset(OFFSET_NS);
    table.closing(closing).unwrap();
    table.flush().unwrap();
    drop(table);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_the_ledger_concludes_fits_eighty_columns() {
    insta::assert_snapshot!("table_ledger_80", frame(&ledger(), screen(80), false));
}

#[test]
fn what_the_ledger_concludes_fits_a_hundred_and_sixty_columns() {
    insta::assert_snapshot!("table_ledger_160", frame(&ledger(), screen(160), false));
}

#[test]
fn what_the_ledger_concludes_in_a_file_is_not_wrapped() {
    insta::assert_snapshot!("table_ledger_file", frame(&ledger(), Screen::None, false));
}

#[test]
fn the_end_is_a_short_table_of_eighty_columns() {
    insta::assert_snapshot!("table_closing_80", ending(&closing(), screen(80), false));
}

#[test]
fn the_end_says_what_there_was_nothing_of() {
    let text = ending(&Closing::default(), screen(80), false);
    assert_eq!(text, "\nLargest holders: none\n\nFullest destinations: none\n\nFailures: none\n");
}

#[test]
fn a_file_has_no_such_end() {
    assert_eq!(ending(&closing(), Screen::None, false), "");
}

#[test]
fn of_many_failures_ten_are_shown() {
    let mut many = closing();
    many.failures = vec![many.failures[0].clone(); 13];
    let text = ending(&many, screen(80), false);
    assert_eq!(text.matches("EADDRNOTAVAIL").count(), 10);
    assert!(text.ends_with("\n  and 3 more\n"), "{text}");
}

/// Names as a hostile process may choose them, and the longest addresses.
fn awkward() -> (Vec<Report>, Closing) {
    let hostile = || named(4_194_304, "\x1b[2J\u{9b}31m\u{202e}\n服务器");
    let longest = endpoint("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
    let kind = SpaceKind::Connect { source: longest.address, destination: longest };
    let space = Space { kind, ..bind_space() };
    let story = Story {
        space: space.clone(),
        holders: vec![holder(Some(hostile()), [1, 2, 3, 4]); 3].into(),
        ..story()
    };
    let mut all = summary();
    all.spaces.push(space.clone());
    all.processes[0].process = Some(hostile().into());
    all.namespaces[0].names = vec!["\x1b]0;owned\x07".to_owned()];
    let mut end = closing();
    end.summary = all.clone();
    end.failures[0].process = Some(hostile().into());
    end.failures[0].local = Some(longest.address);
    end.failures[0].remote = Some(longest);
    let reports = vec![
        threshold(1, Level::Critical, space),
        exhausted(1, Some(story.clone())),
        conflict(story.holders.to_vec()),
        at(1, Body::Summary(Box::new(all))),
    ];
    (reports, end)
}

#[test]
fn no_line_is_wider_than_the_screen_or_ends_in_blanks() {
    let (reports, end) = awkward();
    for columns in 80..200 {
        let text = frame(&reports, screen(columns), false) + &ending(&end, screen(columns), false);
        for line in text.lines() {
            assert!(line.width() <= columns, "{columns}: {line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn no_name_sends_a_control_character_to_the_terminal() {
    let (reports, end) = awkward();
    for screen in [screen(1), screen(80), screen(160), Screen::None] {
        let text = frame(&reports, screen, false) + &ending(&end, screen, false);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn colour_adds_nothing_to_it() {
    let colored = frame(&ledger(), screen(80), true) + &ending(&closing(), screen(80), true);
    let plain = frame(&ledger(), screen(80), false) + &ending(&closing(), screen(80), false);
    assert_ne!(colored, plain);
    assert_eq!(without_color(&colored), plain);
}

#[test]
fn each_level_has_its_colour() {
    let colored = |level| frame(&[threshold(1, level, connect_space(70))], screen(160), true);
    for (level, code) in
        [(Level::Ok, "\x1b[32m"), (Level::Warning, "\x1b[33m"), (Level::Critical, "\x1b[31m")]
    {
        assert!(colored(level).contains(code), "{level:?}");
    }
}

#[test]
fn a_storm_tells_its_story_once_a_second_and_each_call_all_the_same() {
    let mut reports: Vec<Report> =
        (0..2500).map(|milliseconds| exhausted(milliseconds, Some(story()))).collect();
    // Another space has a story of its own.
    let other = Space { netns: 7, ..connect_space(100) };
    reports.insert(100, exhausted(100, Some(Story { space: other, ..story() })));
    let text = frame(&reports, Screen::None, false);
    assert_eq!(text.matches(" exhausted ").count(), 2501);
    assert_eq!(text.matches("cause: churn").count(), 4);
    assert_eq!(text.matches(", see above").count(), 2497);
}

#[test]
fn five_holders_are_named_and_the_rest_counted() {
    let holders: Vec<_> = (1..=8).map(|pid| holder(Some(named(pid, "x")), [1, 0, 0, 0])).collect();
    let text = frame(
        &[exhausted(1, Some(Story { holders: holders.into(), ..story() }))],
        screen(160),
        false,
    );
    assert_eq!(text.matches("held by x ").count(), 5);
    assert!(text.contains("and 3 more"));
}

#[test]
fn every_cause_says_what_to_change() {
    let text = [
        CauseKind::Churn,
        CauseKind::Leak,
        CauseKind::BindHeld,
        CauseKind::Concurrency,
        CauseKind::SmallRange,
    ]
    .map(|kind| {
        let story = Story { cause: Some(cause(kind)), holders: Vec::new().into(), ..story() };
        let text = frame(&[exhausted(1, Some(story))], Screen::None, false);
        text.lines().skip(2).map(|line| format!("{}\n", line.trim_start())).collect::<String>()
    });
    insta::assert_snapshot!("table_causes", text.join("\n"));
}

#[test]
fn a_story_without_a_cause_claims_none() {
    let text = frame(&[exhausted(1, Some(Story { cause: None, ..story() }))], screen(160), false);
    assert!(!text.contains("cause:") && !text.contains("change:"), "{text}");
    assert!(text.contains("0 of 100 ports left"), "{text}");
}

#[test]
fn a_conflict_says_whose_time_wait_keeps_the_port() {
    let line = |holders| frame(&[conflict(holders)], Screen::None, false);
    let kept = holder(Some(named(77, "php-fpm")), [0, 2, 0, 0]);
    assert!(line(vec![kept.clone()]).contains("bind port 8080, kept by TIME_WAIT of php-fpm 77\n"));
    let used = holder(Some(named(77, "php-fpm")), [1, 1, 0, 0]);
    assert!(line(vec![used, kept]).contains("bind port 8080, held by php-fpm 77, and 1 more\n"));
    let unknown = holder(None, [0, 0, 1, 0]);
    assert!(line(vec![unknown]).contains("bind port 8080, held by a process not known\n"));
    assert!(line(Vec::new()).ends_with("bind port 8080\n"));
}

#[test]
fn a_threshold_of_another_namespace_names_it() {
    let space = Space { netns: 7, protocol: Protocol::Udp, ..connect_space(70) };
    let text = frame(&[threshold(1, Level::Warning, space)], screen(160), false);
    assert!(text.contains("warning: 70 of 100 used (70.0%), netns 7"), "{text}");
}

#[test]
fn an_empty_summary_is_its_title_alone() {
    let body = Body::Summary(Box::<Summary>::default());
    assert_eq!(frame(&[at(1, body)], screen(80), false), "03:04:15.001 summary\n");
}

#[test]
fn a_full_ledger_says_which_option_helps() {
    let body =
        Body::Lost { count: 3, place: LossPlace::Ledger, kind: LossKind::Acquire, caller: None };
    let text = frame(&[at(1, body)], screen(80), false);
    assert!(text.contains("the ledger is full (see --max-holdings): 3 ports are not accounted"));
}

#[test]
fn the_readme_shows_what_is_printed() {
    let text = frame(&ledger(), screen(80), false) + &ending(&closing(), screen(80), false);
    let printed: Vec<&str> = text.lines().collect();
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("\n## What `live` shows\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks: Vec<&str> = section.split("\n```\n").skip(1).step_by(2).collect();
    assert_eq!(blocks.len(), 3);
    for line in blocks.into_iter().flat_map(str::lines) {
        assert!(printed.contains(&line), "not printed: {line}");
    }
}
