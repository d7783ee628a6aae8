use jiff::tz::TimeZone;
use port_observer::event::Via;
use port_observer::report::{Body, Report, Sink, Stop};
use port_observer::sink::table::{Options, Screen, Table};
use unicode_width::UnicodeWidthStr;

use super::samples::{NETNS, OFFSET_NS, acquire, at, awkward, curl, port, stream};

pub fn frame(reports: &[Report], screen: Screen, color: bool) -> String {
    let mut bytes = Vec::new();
    let options = Options { color, screen, time_zone: TimeZone::UTC, home_netns: Some(NETNS) };
    let mut table = Table::new(&mut bytes, options);
    table.set_offset(OFFSET_NS);
    for report in reports {
        table.report(report).unwrap();
    }
    table.flush().unwrap();
    drop(table);
    String::from_utf8(bytes).unwrap()
}

pub fn screen(columns: usize) -> Screen {
    Screen::Fixed { columns, rows: 50 }
}

#[test]
fn a_namespace_is_shown_by_its_name_where_it_has_one() {
    let mut other = port("10.0.0.1:40001", None, Some(curl()));
    other.netns = NETNS + 1;
    let mut bytes = Vec::new();
    let options = Options {
        color: false,
        screen: Screen::None,
        time_zone: TimeZone::UTC,
        home_netns: Some(NETNS),
    };
    let mut table = Table::new(&mut bytes, options);
    table.report(&acquire(other.clone())).unwrap();
    for names in [&["a\nb".to_owned(), "other".to_owned()][..], &[]] {
        table.name(NETNS + 1, names);
        table.report(&acquire(other.clone())).unwrap();
    }
    table.flush().unwrap();
    drop(table);
    let text = String::from_utf8(bytes).unwrap();
    let told: Vec<_> = text.lines().filter_map(|line| Some(line.split_once("netns ")?.1)).collect();
    let number = (NETNS + 1).to_string();
    assert_eq!(told, [&*number, "a\\nb", &*number]);
}

/// 300 calls in 3 seconds that fail alike, one in between that does not, and the end.
fn storm() -> Vec<Report> {
    let refused = |milliseconds, to| {
        let mut port = port("0.0.0.0:0", Some(to), Some(curl()));
        port.local = None;
        let (via, errno) = (Via::Connect, 99);
        let (search_ns, story, repeated) = (None, None, 0);
        at(milliseconds, Body::Exhausted { port, via, errno, search_ns, story, repeated })
    };
    let mut reports: Vec<Report> = (0..300).map(|n| refused(n * 10, "10.0.0.1:443")).collect();
    reports.insert(150, refused(1_500, "10.0.0.9:80"));
    reports.push(at(3_000, Body::Stop(Stop { events: 301, ..Stop::default() })));
    reports
}

#[test]
fn a_storm_of_equal_lines_is_a_line_each_second_on_a_screen() {
    insta::assert_snapshot!("table_storm_120", frame(&storm(), screen(120), false));
}

#[test]
fn a_file_has_every_line_of_a_storm() {
    let text = frame(&storm(), Screen::None, false);
    assert_eq!(text.lines().filter(|line| line.contains(" EADDRNOTAVAIL")).count(), 301);
    assert!(!text.contains("more like it"));
}

#[test]
fn a_stream_fits_eighty_columns() {
    insta::assert_snapshot!("table_80", frame(&stream(), screen(80), false));
}

#[test]
fn a_stream_fits_a_hundred_and_twenty_columns() {
    insta::assert_snapshot!("table_120", frame(&stream(), screen(120), false));
}

#[test]
fn a_stream_fits_a_hundred_and_sixty_columns() {
    insta::assert_snapshot!("table_160", frame(&stream(), screen(160), false));
}

#[test]
fn a_stream_into_a_file_has_a_line_each() {
    insta::assert_snapshot!("table_file", frame(&stream(), Screen::None, false));
}

#[test]
fn long_addresses_and_names_keep_eighty_columns() {
    insta::assert_snapshot!("table_awkward_80", frame(&awkward(), screen(80), false));
}

#[test]
fn long_addresses_and_names_keep_a_hundred_and_sixty_columns() {
    insta::assert_snapshot!("table_awkward_160", frame(&awkward(), screen(160), false));
}

#[test]
fn no_line_of_a_port_is_wider_than_the_screen_or_ends_in_blanks() {
    for columns in 40..200 {
        for line in frame(&awkward(), screen(columns), false).lines() {
            assert!(line.width() <= columns, "{columns}: {line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn no_name_sends_a_control_character_to_the_terminal() {
    for screen in [screen(60), screen(80), screen(160), Screen::None] {
        let text = frame(&awkward(), screen, false);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    let plain = frame(&stream(), screen(80), false);
    let colored = frame(&stream(), screen(80), true);
    assert_ne!(plain, colored);
    insta::assert_snapshot!("table_color", colored.escape_debug().to_string().replace("\\n", "\n"));
    assert_eq!(without_color(&colored), plain);
}

pub fn without_color(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare + rest
}

#[test]
fn the_header_comes_again_with_every_screen() {
    let report = acquire(port("10.0.0.2:40001", Some("10.0.0.1:443"), Some(curl())));
    let reports = vec![report; 100];
    let text = frame(&reports, Screen::Fixed { columns: 160, rows: 22 }, false);
    let headers: Vec<usize> = text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| line.starts_with("TIME").then_some(at))
        .collect();
    assert_eq!(headers, [0, 21, 42, 63, 84]);
    assert_eq!(frame(&reports, Screen::None, false).matches("TIME ").count(), 1);
}

#[test]
fn a_screen_after_long_addresses_is_narrow_again() {
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
    let mut reports = vec![acquire(port(long, Some(long), None))];
    reports.extend(vec![acquire(port("10.0.0.2:40001", Some("10.0.0.1:443"), None)); 60]);
    let text = frame(&reports, Screen::Fixed { columns: 160, rows: 22 }, false);
    let headers: Vec<&str> = text.lines().filter(|line| line.starts_with("TIME")).collect();
    let narrow = frame(&reports[1..], screen(160), false);
    assert_ne!(headers.first().copied(), narrow.lines().next());
    assert_eq!(headers.last().copied(), narrow.lines().next());
}

#[test]
fn a_screen_narrower_than_anything_does_no_harm() {
    for columns in [20, 30, 1, 0] {
        // Narrower than anything fits: it need not look well, but it must not fail.
        assert!(frame(&awkward(), screen(columns), false).contains("acquire"));
    }
}
