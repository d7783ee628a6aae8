//! What a frame of `top` costs with 100,000 holdings: asking the ledger and drawing, by view. Prints one
//! JSON object; `cargo xtask bench --parts top` runs it. At a frame a second, 10 ms are 1% of a core.

mod holdings;

use std::time::Instant;

use jiff::tz::TimeZone;
use port_observer::{
    report::Sink as _,
    screen::{
        self,
        state::{Activity, Key, Picture, State, View},
        view::{Look, Places, draw},
    },
};
use ratatui::{Terminal, backend::TestBackend};

use holdings::{HOLDINGS, ledger, median};

const DESTINATIONS: u32 = 100;
/// How often each is measured.
const FRAMES: u64 = 31;

fn main() {
    let mut ledger = ledger();
    let mut activity = Activity::default();
    let mut take = |reports: &mut Vec<_>| {
        for report in reports.drain(..) {
            // It only counts.
            let _ = activity.report(&report);
        }
    };
    holdings::fill(&mut ledger, DESTINATIONS, &mut take, &mut Vec::new());
    let look = Look { color: true, unicode: true, time_zone: TimeZone::UTC };
    let Ok(mut terminal) = Terminal::new(TestBackend::new(160, 50));
    let mut frames = |state: &mut State| {
        let mut places = Places::default();
        let times = (0..FRAMES).map(|number| {
            let began = Instant::now();
            let now_ns = u64::from(HOLDINGS) * 1_000 + number * 1_000_000_000;
            let last = std::mem::take(&mut state.picture);
            let question = state.question(false);
            state.picture = screen::picture(&mut ledger, &activity, now_ns, &question, last);
            let mut room = None;
            let Ok(_) = terminal.draw(|frame| room = Some(draw(frame, state, &look, &mut places)));
            room.into_iter().for_each(|room| state.set_room(room));
            began.elapsed().as_secs_f64() * 1e3
        });
        median(times.collect())
    };
    let mut parts = Vec::new();
    for view in View::ALL {
        let mut state = State::new(view, None);
        parts.push((view.name().to_owned(), frames(&mut state)));
        state.key(Key::Enter);
        parts.push((format!("{}_detail", view.name()), frames(&mut state)));
        state.picture = Picture::default();
    }
    let most = parts.iter().map(|(_, time)| *time).fold(0.0, f64::max);
    let parts: Vec<String> =
        parts.iter().map(|(name, time)| format!("\"{name}\":{time:.2}")).collect();
    println!(
        "{{\"holdings\":{HOLDINGS},\"milliseconds_per_frame\":{{{}}},\"most_milliseconds\":{most:.2}}}",
        parts.join(",")
    );
}
