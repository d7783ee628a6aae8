//! What is looked at closely, the help, and the choice of a namespace.

use std::sync::Arc;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    Places,
    destinations::{SECOND_PARITY, full_in, search},
    failures::asked,
    header::namespace_name,
    look::Look,
    pools,
    table::{Column, Row, Table},
};
use crate::{
    event::TcpState,
    forensics::Incident,
    ledger::PlaceUse,
    process::Process,
    report::{Holder, Holding, Story, used_percent},
    screen::state::{Detail, FailedCall, Picture, ProcessRow, Room, SpaceRow, State, bindings},
    words::{
        causes::{advice_on, because, counted, counts},
        errno::error,
        escape::escape,
        figures::{ends, holder_name, holder_names, percent, rate},
        refusals::{self, Place},
        sentences::standing,
    },
};

/// A line of text, how far it is indented, and how it looks.
struct Text {
    indent: usize,
    text: String,
    style: Style,
}

/// What is looked at closely; `from`: the first line that is shown.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &State, look: &Look, from: usize) -> Room {
    let lines = match &state.picture.detail {
        None => vec![plain(0, "it is not there any more".to_owned())],
        Some(Detail::Process { row, places }) => process(row, places, look),
        Some(Detail::Space { row, story }) => space(row, story.as_deref(), &state.picture, look),
        Some(Detail::Failure { call, incident }) => {
            failure(call, incident.as_deref(), &state.picture, look)
        }
        Some(Detail::Ports { first, last, rows, more }) => {
            ports((*first, *last), rows, *more, look)
        }
        Some(Detail::Pool(number)) => match state.picture.pools.get(*number) {
            None => vec![plain(0, "it is not there any more".to_owned())],
            Some(of) => {
                let lines = pools::closely(of).into_iter();
                lines.map(|(indent, text)| plain(indent, text)).collect()
            }
        },
    };
    text(buffer, area, &lines, look, from)
}

/// All keys.
pub fn help(buffer: &mut Buffer, area: Rect, state: &State, look: &Look, from: usize) -> Room {
    let mut lines = vec![title("Keys", look)];
    for binding in bindings(state.replay.is_some()) {
        lines.push(plain(2, format!("{:14} {}", binding.label, binding.text)));
    }
    lines.push(title("Words", look));
    let words = [
        "USED, LEFT: ports that the next connect() there can't have, and how many such calls would succeed",
        "SEARCH: how long the kernel looks for a free port; 2nd: the half of the range that it looks \
         through first has none left",
        "BOUND: by bind() and listeners, which connect() can't share",
        "Ports: a letter a cell, of what holds the most of its ports; a capital where that is at least \
         half of them",
        "NEW/S, TAKEN: ports taken a second, and over the last minutes, ten seconds a bar",
    ];
    lines.extend(words.map(|word| plain(2, word.to_owned())));
    if !state.picture.header.missing.is_empty() {
        let header = &state.picture.header;
        lines.push(title(&format!("What the {} backend does not see", header.backend), look));
        lines.extend(header.missing.iter().map(|missing| plain(2, escape(missing).into_owned())));
    }
    text(buffer, area, &lines, look, from)
}

/// The namespaces to choose from; `at`: where the cursor is.
pub fn namespaces(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: &Look,
    places: &mut Places,
    at: usize,
) -> Room {
    let namespaces = &state.picture.namespaces;
    let name = usize::from(area.width).saturating_sub(32);
    let columns = [
        Column::number("USED", 6),
        Column::number("OF", 6),
        Column::number("USED%", 6),
        Column::text("NETWORK NAMESPACE", name),
    ];
    let table = Table { columns: &columns, count: namespaces.len() + 1, at, is_double: false };
    let mut offset = places.first;
    table.draw(buffer, area, look, &mut offset, |row| {
        let Some(of) = row.checked_sub(1).and_then(|row| namespaces.get(row)) else {
            let cells = ["", "", "", "all of them"].map(Span::raw).to_vec();
            return Row { cells, below: None };
        };
        let capacity = of.ports.as_ref().map(|ports| ports.capacity());
        let percent = capacity.map(|capacity| used_percent(of.tcp.ports, capacity));
        let cells = [
            of.tcp.ports.to_string(),
            capacity.map_or_else(|| "-".to_owned(), |capacity| capacity.to_string()),
            percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1}%")),
            look.text(&namespace_name(of)),
        ];
        Row { cells: cells.map(Span::raw).to_vec(), below: None }
    });
    places.of_list(area, offset);
    Room { rows: table.room(area), ..Room::default() }
}

fn plain(indent: usize, text: String) -> Text {
    Text { indent, text, style: Style::new() }
}

fn title(text: &str, look: &Look) -> Text {
    Text { indent: 0, text: text.to_owned(), style: look.title() }
}

fn text(buffer: &mut Buffer, area: Rect, lines: &[Text], look: &Look, from: usize) -> Room {
    let width = usize::from(area.width).max(20);
    let mut wrapped = Vec::new();
    for Text { indent, text, style } in lines {
        let (first, rest) = (" ".repeat(*indent), " ".repeat(indent + 2));
        let options = textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&rest);
        let text = look.text(text);
        let lines = textwrap::wrap(&text, options);
        wrapped.extend(lines.into_iter().map(|line| Line::styled(line.into_owned(), *style)));
    }
    let hidden_lines = wrapped.len().saturating_sub(area.height.into());
    let from = from.min(hidden_lines);
    for (line, y) in wrapped.iter().skip(from).zip(area.y..area.bottom()) {
        buffer.set_line(area.x, y, line, area.width);
    }
    Room { rows: area.height.into(), hidden_lines, ..Room::default() }
}

fn process(row: &ProcessRow, places: &[PlaceUse], look: &Look) -> Vec<Text> {
    let used = &row.used;
    let mut lines = vec![title(&holder_name(used.process.as_deref()), look)];
    if let Some(process) = &used.process {
        lines.extend(about(process));
    }
    let tcp = &used.tcp;
    let states = match tcp.counts.total() {
        0 => String::new(),
        _ => format!(": {}", counted(&tcp.counts)),
    };
    lines.push(plain(2, format!("{} ports of TCP{states}; {} of UDP", tcp.ports, used.udp_ports)));
    lines.push(plain(
        2,
        format!("takes ports at {}, {} calls failed", rate(row.per_second), row.failures),
    ));
    if !places.is_empty() {
        lines.push(title("Where to", look));
    }
    for PlaceUse { protocol, endpoint, is_remote, held } in places {
        let how = if *is_remote { "→ " } else { "at " };
        lines.push(plain(2, format!("{} {how}{endpoint}: {}", protocol.name(), counts(held))));
    }
    lines
}

fn about(process: &Process) -> Vec<Text> {
    let container = process.container.as_ref().map(|container| {
        let name = container.name.as_ref().unwrap_or(&container.id);
        format!("{name} ({})", container.runtime)
    });
    let cut = process.cut;
    let whole = |text: &str, is_cut: bool| format!("{text}{}", if is_cut { "…" } else { "" });
    let path = |path: &Option<Arc<str>>, is_cut| path.as_ref().map(|path| whole(path, is_cut));
    let command_line = whole(&process.command_line.join(" "), cut.command_line);
    let parts = [
        ("executable", path(&process.executable, cut.executable)),
        ("command line", Some(command_line).filter(|line| !line.is_empty())),
        ("user", process.uid.map(|uid| uid.to_string())),
        ("container", container),
        ("cgroup", path(&process.cgroup, cut.cgroup)),
    ];
    let known = parts.into_iter().filter_map(|(what, value)| Some((what, value?)));
    known.map(|(what, value)| plain(2, format!("{what}: {}", escape(&value)))).collect()
}

fn space(row: &SpaceRow, story: Option<&Story>, picture: &Picture, look: &Look) -> Vec<Text> {
    let space = &row.space;
    let growth = space.growth_per_second.map_or_else(|| "not known".to_owned(), rate);
    let full = match space.headroom {
        0 => "full now".to_owned(),
        _ => format!("full in {}", full_in(space)),
    };
    let mut lines = vec![
        title(&format!("{}, netns {}", ends(space), picture.numbered(space.netns)), look),
        plain(
            2,
            format!(
                "{} of {} ports used ({}), {} calls would succeed now",
                space.used,
                space.capacity,
                percent(space),
                space.headroom
            ),
        ),
        plain(2, format!("growth {growth}, {full}")),
        plain(2, format!("search {}, {} calls failed", search(row), row.failures)),
    ];
    if row.is_second_parity {
        let text = "the half of the range that connect() looks through first is full";
        lines.push(plain(2, format!("{SECOND_PARITY}: {text}")));
    }
    lines.extend(story.map_or_else(Vec::new, |story| told(story, look)));
    if let Some(cause) = story.and_then(|story| story.cause.as_ref()) {
        lines.push(title("What helps", look));
        lines.push(plain(2, advice_on(cause, space).into_owned()));
    }
    lines
}

/// Why, and the holders.
fn told(story: &Story, look: &Look) -> Vec<Text> {
    let mut lines = Vec::new();
    if let Some(cause) = &story.cause {
        lines.push(title("Why", look));
        lines.push(plain(2, because(cause)));
    }
    lines.push(title("Who holds the ports", look));
    lines.extend(holders(&story.holders));
    lines
}

fn holders(holders: &[Holder]) -> Vec<Text> {
    if holders.is_empty() {
        return vec![plain(2, "nobody that is known".to_owned())];
    }
    let line = |holder: &Holder| {
        let name = holder_names(holder);
        plain(2, format!("{:6} {name}: {}", holder.total(), counts(holder)))
    };
    holders.iter().map(line).collect()
}

fn failure(
    call: &FailedCall,
    incident: Option<&Incident>,
    picture: &Picture,
    look: &Look,
) -> Vec<Text> {
    let caller = call.port.caller.as_ref().map(|caller| &*caller.process);
    let at = |time_ns| look.time_of_day(time_ns, picture.offset_ns);
    let times = if call.count == 1 {
        format!("at {}", at(call.time_ns))
    } else {
        format!("{} times, from {} to {}", call.count, at(call.began_ns), at(call.time_ns))
    };
    let what = if call.refusal.is_some() { "an address" } else { "a port" };
    let asked = asked(call).into_iter().next().unwrap_or_default();
    let mut lines = vec![
        title(&format!("{} was refused {what}, {times}", holder_name(caller)), look),
        plain(2, format!("{asked}, netns {}", picture.numbered(call.port.netns))),
        Text { indent: 2, text: error(call.errno), style: look.alarm() },
    ];
    if let Some(caller) = caller {
        lines.extend(about(caller));
    }
    match (&call.story, call.refusal) {
        (_, Some(refusal)) => {
            let (local, remote) = (call.port.local, call.port.remote);
            lines.push(title("Why", look));
            lines.push(plain(2, refusals::why(refusal, local, remote, Place::Namespace)));
            lines.push(title("What would have helped", look));
            let remedies = refusals::remedies(refusal, local, remote);
            lines.extend(
                (1..).zip(remedies).map(|(number, text)| plain(2, format!("{number}. {text}"))),
            );
        }
        (Some(story), None) => {
            let space = &story.space;
            lines.push(plain(
                2,
                format!("{} of {} ports were left", space.headroom, space.capacity),
            ));
            lines.extend(told(story, look));
        }
        (None, None) => {
            lines.push(title("Who had the port", look));
            lines.extend(holders(&call.in_the_way));
        }
    }
    if let Some(incident) = incident.filter(|incident| !incident.remedies.is_empty()) {
        lines.push(title("What would have helped", look));
        for (number, remedy) in (1..).zip(&incident.remedies) {
            lines.push(plain(2, format!("{number}. {}", remedy.text)));
        }
    }
    lines
}

fn ports((first, last): (u16, u16), rows: &[Holding], more: usize, look: &Look) -> Vec<Text> {
    let name =
        if first == last { format!("Port {first}") } else { format!("Ports {first}-{last}") };
    let mut lines = vec![title(&format!("{name}: {} holders", rows.len() + more), look)];
    for Holding { port, state, .. } in rows {
        let local = port.local.map_or_else(|| "-".to_owned(), |local| local.to_string());
        let remote = port.remote.map_or_else(String::new, |remote| format!(" → {remote}"));
        let name = holder_name(port.caller.as_ref().map(|caller| &*caller.process));
        let state: TcpState = *state;
        lines.push(plain(2, format!("{:11} {local}{remote}  {name}", standing(port, state))));
    }
    if more > 0 {
        lines.push(plain(2, format!("and {more} more")));
    }
    lines
}
