//! What keys do to the state.

use port_observer::screen::state::{Action, Key, Mode, ProcessColumn, Room, SpaceColumn, View};

use super::host::{Host, NETNS, OTHER_NETNS, busy, exhausted, pools};

fn press(host: &mut Host, keys: &[Key]) -> Action {
    host.look();
    let actions: Vec<Action> = keys.iter().map(|key| host.state.key(*key)).collect();
    host.look();
    actions.last().copied().unwrap_or(Action::Draw)
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn first_process(host: &Host) -> String {
    let (rows, at, _) = host.state.processes();
    rows[at].used.process.as_ref().unwrap().name.clone()
}

#[test]
fn numbers_and_tab_turn_the_views() {
    let mut host = busy(View::Processes);
    for (key, view) in [
        (Key::Char('3'), View::Failures),
        (Key::Char('1'), View::Processes),
        (Key::Tab, View::Destinations),
        (Key::Tab, View::Failures),
        (Key::Tab, View::Ports),
        (Key::Tab, View::Processes),
        (Key::BackTab, View::Ports),
        (Key::View(1), View::Destinations),
        // Without pools there is no fifth.
        (Key::Char('5'), View::Destinations),
    ] {
        assert_eq!(host.state.key(key), Action::Ask);
        assert_eq!(host.state.view(), view, "{key:?}");
    }
}

#[test]
fn pools_are_the_fifth_view_and_are_sorted_and_filtered() {
    let mut host = pools(View::Ports);
    press(&mut host, &[Key::Tab]);
    assert_eq!(host.state.view(), View::Pools);
    let names = |host: &Host| -> Vec<String> {
        host.state.pools().0.iter().map(|(_, row)| row.pool.name.to_string()).collect()
    };
    assert_eq!(names(&host), ["media", "web", "gone"]);
    press(&mut host, &[Key::Char('S')]);
    assert_eq!(names(&host), ["gone", "web", "media"]);
    // Back to the column of names, and the usual way round.
    press(&mut host, &[Key::Char('s'); 4]);
    assert_eq!(names(&host), ["gone", "media", "web"]);
    for (filter, found) in [("19000", "web"), ("rtpengine", "media"), ("GONE", "gone")] {
        press(&mut host, &[Key::Escape, Key::Char('/')]);
        press(&mut host, &typed(filter));
        press(&mut host, &[Key::Enter]);
        assert_eq!(names(&host), [found], "{filter}");
    }
    press(&mut host, &[Key::Tab]);
    assert_eq!(host.state.view(), View::Processes);
}

#[test]
fn the_cursor_stays_on_its_process_when_that_moves() {
    let mut host = busy(View::Processes);
    press(&mut host, &[Key::Char('j')]);
    assert_eq!(first_process(&host), "web");
    for port in 40_070..40_090 {
        host.connect((77, "web"), &format!("10.0.0.2:{port}"), "10.0.0.3:5432");
    }
    host.look();
    assert_eq!(first_process(&host), "web");
    assert_eq!(host.state.processes().1, 0);
}

#[test]
fn a_filter_narrows_as_it_is_typed_and_escape_takes_it_back() {
    let mut host = busy(View::Processes);
    let keys = [typed("/WEB"), vec![Key::Enter]].concat();
    press(&mut host, &keys);
    assert_eq!((host.state.processes().0.len(), host.state.filter()), (1, "WEB"));
    press(&mut host, &[typed("/x"), vec![Key::Escape]].concat());
    assert_eq!(host.state.filter(), "WEB");
    press(&mut host, &[Key::Escape]);
    assert!(host.state.processes().0.len() > 1);
    // While it is typed, letters are letters.
    press(&mut host, &typed("/q"));
    assert_eq!((host.state.filter(), host.state.mode()), ("q", &Mode::Filter(String::new())));
}

#[test]
fn a_filter_finds_containers_command_lines_and_addresses() {
    let mut host = busy(View::Processes);
    for (text, count) in [("shop", 1), ("--serve", 5), ("/usr/bin/curl", 1), ("4242", 1)] {
        press(&mut host, &[typed("/"), typed(text), vec![Key::Enter]].concat());
        assert_eq!(host.state.processes().0.len(), count, "{text}");
        press(&mut host, &[Key::Escape]);
    }
    press(&mut host, &[typed("2/5432"), vec![Key::Enter]].concat());
    assert_eq!(host.state.spaces().0.len(), 1);
}

#[test]
fn sorting_goes_through_the_columns_and_turns_round() {
    let mut host = busy(View::Processes);
    press(&mut host, &[Key::Char('s')]);
    assert_eq!(host.state.processes().2.by, ProcessColumn::Established);
    press(&mut host, &[Key::Char('S')]);
    let (rows, _, sort) = host.state.processes();
    assert!(sort.is_reversed);
    let established: Vec<u32> = rows.iter().map(|row| row.used.tcp.counts.established).collect();
    assert!(established.is_sorted(), "{established:?}");
    for _ in 1..ProcessColumn::ALL.len() {
        press(&mut host, &[Key::Char('s')]);
    }
    assert_eq!(host.state.processes().2.by, ProcessColumn::Held);
    press(&mut host, &typed("2s"));
    assert_eq!(host.state.spaces().2.by, SpaceColumn::Headroom);
}

#[test]
fn a_namespace_narrows_all_views_and_the_first_of_the_list_is_all_of_them() {
    let mut host = busy(View::Processes);
    press(&mut host, &[Key::Char('n'), Key::Down, Key::Down, Key::Enter]);
    assert_eq!(host.state.netns(), Some(OTHER_NETNS));
    assert_eq!(host.state.focus().unwrap().netns, OTHER_NETNS);
    assert_eq!(first_process(&host), "job");
    assert_eq!(host.state.processes().0.len(), 1);
    press(&mut host, &typed("2"));
    assert!(host.state.spaces().0.iter().all(|row| row.space.netns == OTHER_NETNS));
    press(&mut host, &[Key::Char('n'), Key::Home, Key::Enter]);
    assert_eq!(host.state.netns(), None);
    assert_eq!(host.state.focus().unwrap().netns, NETNS);
}

#[test]
fn the_map_is_walked_by_cells_and_a_number_goes_to_its_port() {
    let mut host = busy(View::Ports);
    host.look();
    host.state.set_room(Room { rows: 5, hidden_lines: 0, columns: 10, ports_per_cell: 2 });
    let cell = |host: &Host| host.state.cell().map(|cell| (cell.min, cell.max)).unwrap();
    assert_eq!(cell(&host), (40_000, 40_001));
    for (key, first) in [
        (Key::Right, 40_002),
        (Key::Down, 40_022),
        (Key::Left, 40_020),
        (Key::Up, 40_000),
        (Key::Up, 40_000),
        (Key::End, 40_098),
        (Key::Row(7), 40_014),
    ] {
        host.state.key(key);
        assert_eq!(cell(&host).0, first, "{key:?}");
    }
    press(&mut host, &[typed("/40077"), vec![Key::Enter]].concat());
    assert_eq!(cell(&host), (40_076, 40_077));
}

#[test]
fn what_is_open_closes_before_the_filter_is_cleared() {
    let mut host = exhausted(View::Failures);
    press(&mut host, &[typed("/curl"), vec![Key::Enter, Key::Enter]].concat());
    assert!(matches!(host.state.mode(), Mode::Detail(..)));
    press(&mut host, &[Key::Escape]);
    assert_eq!((host.state.mode(), host.state.filter()), (&Mode::View, "curl"));
}

#[test]
fn pausing_and_ending_are_left_to_who_has_the_ledger() {
    let mut host = busy(View::Processes);
    assert_eq!(press(&mut host, &[Key::Char(' ')]), Action::Pause);
    assert!(host.state.is_paused());
    assert_eq!(press(&mut host, &[Key::Char(' ')]), Action::Pause);
    assert!(!host.state.is_paused());
    assert_eq!(press(&mut host, &[Key::Char('q')]), Action::Quit);
    assert_eq!(press(&mut host, &[Key::Char('/'), Key::Ctrl('c')]), Action::Quit);
    assert_eq!(press(&mut host, &[Key::Ctrl('z')]), Action::Suspend);
    // There is no recording to step through.
    assert_eq!(press(&mut host, &[Key::Escape, Key::Char(']')]), Action::Draw);
    host.state.replay = Some(Default::default());
    assert_eq!(press(&mut host, &[Key::Char(']')]), Action::Step(1));
    assert_eq!(press(&mut host, &[Key::Char('{')]), Action::Jump(-1));
}

#[test]
fn a_click_goes_to_a_row_and_closes_what_is_open() {
    let mut host = busy(View::Processes);
    press(&mut host, &[Key::Row(1)]);
    assert_eq!(host.state.processes().1, 1);
    press(&mut host, &[Key::Enter, Key::Row(0)]);
    assert_eq!(host.state.mode(), &Mode::View);
    press(&mut host, &[Key::Char('n'), Key::Row(1)]);
    assert_eq!(host.state.netns(), Some(NETNS));
}
