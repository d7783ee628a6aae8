//! What is on the screen.

use insta::assert_snapshot;
use jiff::tz::TimeZone;
use port_observer::screen::{
    state::{Key, View},
    view::{Look, Places, draw},
};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};

use super::host::{Host, busy, exhausted, ipv6, long_names, pools};

const SIZES: [(u16, u16); 2] = [(80, 24), (160, 50)];
const RICH: Look = Look { color: true, unicode: true, time_zone: TimeZone::UTC };

fn terminal(host: &mut Host, (width, height): (u16, u16), look: &Look) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let state = host.look();
    let mut places = Places::default();
    // The second frame has what the first has found room for.
    for _ in 0..2 {
        let mut room = None;
        terminal.draw(|frame| room = Some(draw(frame, state, look, &mut places))).unwrap();
        state.set_room(room.unwrap());
    }
    terminal
}

/// All views of a host, in both sizes.
fn views(name: &str, host: fn(View) -> Host) {
    for &view in host(View::Processes).state.views() {
        for (width, height) in SIZES {
            let terminal = terminal(&mut host(view), (width, height), &RICH);
            let name = format!("{name}_{}_{width}x{height}", view.name());
            assert_snapshot!(name, terminal.backend());
        }
    }
}

/// What these keys show of it, in both sizes.
fn after(name: &str, host: fn(View) -> Host, view: View, keys: &[Key]) {
    for (width, height) in SIZES {
        let mut host = host(view);
        host.look();
        for key in keys {
            // Where the cursor goes depends on what there is room for.
            terminal(&mut host, (width, height), &RICH);
            host.state.key(*key);
        }
        let terminal = terminal(&mut host, (width, height), &RICH);
        assert_snapshot!(format!("{name}_{width}x{height}"), terminal.backend());
    }
}

#[test]
fn an_empty_host_says_that_there_is_nothing() {
    views("empty", Host::new);
}

#[test]
fn a_busy_host_has_the_largest_first() {
    views("busy", busy);
}

#[test]
fn an_exhausted_one_says_what_is_full_and_who_was_refused() {
    views("exhausted", exhausted);
}

#[test]
fn long_names_are_cut_and_what_drives_a_terminal_is_written_out() {
    views("long_names", long_names);
}

#[test]
fn addresses_of_ipv6_have_room() {
    views("ipv6", ipv6);
}

#[test]
fn a_failure_is_told_with_its_holders_and_what_would_have_helped() {
    after("failure", exhausted, View::Failures, &[Key::Down, Key::Down, Key::Enter]);
    after("conflict", exhausted, View::Failures, &[Key::Enter]);
}

#[test]
fn a_process_is_told_with_where_to_it_holds_ports() {
    after("process", busy, View::Processes, &[Key::Enter]);
}

#[test]
fn a_destination_is_told_with_all_its_holders() {
    after("destination", exhausted, View::Destinations, &[Key::Enter]);
}

#[test]
fn ports_are_told_one_by_one() {
    after("port", busy, View::Ports, &[Key::Char('/'), Key::Char('4'), Key::Enter]);
    after("slice", busy, View::Ports, &[Key::Right, Key::Down, Key::Enter]);
}

#[test]
fn pools_have_a_view_where_they_are_watched_and_are_told_with_their_holders() {
    after("pools", pools, View::Pools, &[]);
    after("pool", pools, View::Pools, &[Key::Char('s'), Key::Down, Key::Enter]);
}

#[test]
fn every_size_can_be_drawn() {
    for view in View::ALL {
        for mode in [None, Some(Key::Char('?')), Some(Key::Enter), Some(Key::Char('n'))] {
            let mut host = busy(view);
            host.look();
            mode.map(|key| host.state.key(key));
            for (width, height) in [(0, 0), (200, 0), (0, 200), (1, 1), (39, 10), (40, 9)] {
                terminal(&mut host, (width, height), &RICH);
            }
            for (width, height) in [(40, 10), (1000, 10), (40, 1000)] {
                let text = terminal(&mut host, (width, height), &RICH).backend().to_string();
                assert!(text.trim_matches(['"', ' ', '\n']).len() > 100, "{width} × {height}");
            }
        }
    }
}

#[test]
fn the_help_has_every_key() {
    after("help", Host::new, View::Processes, &[Key::Char('?')]);
}

#[test]
fn a_namespace_is_chosen_from_a_list() {
    after("namespaces", busy, View::Processes, &[Key::Char('n'), Key::Down]);
}

#[test]
fn a_filter_is_shown_while_it_is_typed_and_after() {
    let typed = [Key::Char('/'), Key::Char('c'), Key::Char('u')];
    after("filter_typed", busy, View::Processes, &typed);
    let kept = [&typed[..], &[Key::Enter]].concat();
    after("filter_kept", busy, View::Ports, &kept);
}

#[test]
fn what_a_backend_does_not_see_is_not_said_to_be_none() {
    let mut host = Host::new(View::Failures);
    host.begin("poll");
    let text = terminal(&mut host, (80, 24), &RICH).backend().to_string();
    assert!(
        text.contains("poll does not see failed calls: `port-observer doctor` says what is needed"),
        "{text}"
    );
    assert!(text.contains("poll, not exact"), "{text}");
}

fn cells(buffer: &Buffer) -> impl Iterator<Item = &ratatui::buffer::Cell> {
    buffer.content().iter()
}

#[test]
fn without_colours_the_text_is_the_same_and_no_cell_has_any() {
    let plain = Look { color: false, ..RICH };
    for view in View::ALL {
        let colored = terminal(&mut exhausted(view), (80, 24), &RICH);
        let plain = terminal(&mut exhausted(view), (80, 24), &plain);
        assert_eq!(colored.backend().to_string(), plain.backend().to_string());
        for cell in cells(plain.backend().buffer()) {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
    }
}

#[test]
fn with_colours_only_those_that_every_terminal_has_are_used() {
    for view in View::ALL {
        let terminal = terminal(&mut exhausted(view), (160, 50), &RICH);
        for cell in cells(terminal.backend().buffer()) {
            assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)), "{:?}", cell.fg);
        }
    }
}

#[test]
fn without_unicode_all_is_ascii() {
    let ascii = Look { unicode: false, ..RICH };
    for host in [busy, exhausted, long_names, ipv6] {
        for view in View::ALL {
            let terminal = terminal(&mut host(view), (80, 24), &ascii);
            let text = terminal.backend().to_string();
            assert!(text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn no_size_of_a_terminal_is_too_small_or_too_large() {
    for (width, height) in
        [(1, 1), (2, 5), (5, 2), (20, 6), (40, 10), (79, 23), (300, 100), (500, 8)]
    {
        for view in View::ALL {
            for key in [Key::Escape, Key::Enter, Key::Char('?'), Key::Char('n')] {
                let mut host = exhausted(view);
                host.look();
                host.state.key(key);
                terminal(&mut host, (width, height), &RICH);
            }
        }
    }
}
