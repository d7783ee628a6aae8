//! The map of the range and the last day on the page of `serve`, and the page as a whole.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    browser::{Browser, in_browser_at},
    live::{STATUS, Serve, Small, failures_in},
};

const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const END: char = '\u{e010}';
const HOME: char = '\u{e011}';
const LEFT: char = '\u{e012}';

const DAY: &str = "return document.getElementById('day-state').textContent;";
const CELL: &str = "return document.getElementById('map-cell').textContent;";

/// What the legend of the map counts.
const COUNTS: &str = "
    return Object.fromEntries([...document.querySelectorAll('#map-key li')]
        .map((item) => item.textContent.trim().match(/^(.*) ([0-9,]+)$/))
        .filter((found) => found).map(([, name, count]) => [name, count]));";

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("skipped: only root can observe, and make network namespaces");
    }
    is_root
}

/// Shows the map of a namespace's TCP ports.
async fn choose(browser: &Browser, netns: u64) {
    let value = format!("netns={netns}&protocol=tcp");
    let script = format!(
        "const choice = document.getElementById('map-of');
        choice.value = '{value}';
        choice.dispatchEvent(new Event('change'));
        return choice.value;"
    );
    browser.until(&script, &json!(value)).await;
}

/// A `serve` that records, and the address at which a browser may read the recording.
fn recording(directory: &TempDir) -> Option<(Serve, String)> {
    let path = directory.path().join("token");
    fs::write(&path, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = directory.path().join("ports.db");
    let more = ["--token", path.to_str().unwrap(), "--record", file.to_str().unwrap()];
    let serve = Serve::start("127.0.0.1:0", &more)?;
    let address = format!("http://me:0123456789abcdef@{}/", serve.place());
    Some((serve, address))
}

/// Ports of a namespace run out, and the page, loaded again, shows the last day with that in it.
async fn show_exhaustion(browser: &Browser) -> Small {
    browser.until(STATUS, &json!("Live.")).await;
    let small = Small::make();
    small.exhaust(browser).await;
    browser.until(&failures_in(small.netns), &json!(1)).await;
    let is_recorded = "
        return fetch(beside('history')).then((answer) => answer.json())
            .then(({ failures }) => failures.some((count) => count > 0));";
    browser.until(is_recorded, &json!(true)).await;
    browser.script("document.body.id = 'old'; location.reload();").await;
    let is_shown = "return document.body?.id !== 'old' && document.getElementById('day')?.hidden;";
    browser.until(is_shown, &json!(false)).await;
    small
}

#[test]
fn the_map_shows_a_port_that_is_taken_and_says_who_has_it() {
    if !is_root() {
        return;
    }
    let Some(serve) = Serve::start("127.0.0.1:0", &[]) else { return };
    in_browser_at(&serve.address, (1280, 800), async |browser: &Browser| {
        let small = Small::make();
        choose(browser, small.netns).await;
        let counts = |connected: &str, free: &str| {
            json!({
                "bound or listening": "0", "connected": connected, "TIME_WAIT": "0", "reserved": "0",
                "free": free,
            })
        };
        browser.until(COUNTS, &counts("1", "19")).await;
        small.exhaust(browser).await;
        let began = Instant::now();
        browser.until(COUNTS, &counts("20", "0")).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

        browser.script("document.getElementById('map-cells').focus();").await;
        for (key, port) in [(END, 40_019), (LEFT, 40_018), (HOME, 40_000)] {
            browser.press(key, false).await;
            let said = browser.script(CELL).await;
            let said = said.as_str().unwrap();
            let expected = format!("Port {port}: 1 connected. Held by ");
            let who = format!(" {}: 1.", std::process::id());
            assert!(said.starts_with(&expected) && said.ends_with(&who), "{said}");
            let spoken = "return document.getElementById('map-cells').ariaValueText;";
            assert_eq!(browser.script(spoken).await, said);
        }
        // The middle of the row of twenty.
        let place = "
            const { side } = mapped.layout;
            return (2 * (ROW_LABEL + 10.5 * side)) / mapCanvas.clientWidth - 1;";
        let middle = browser.script(place).await.as_f64().unwrap();
        browser.hover("#map-cells canvas", middle).await;
        let is_it =
            "return document.getElementById('map-cell').textContent.startsWith('Port 40010:');";
        browser.until(is_it, &json!(true)).await;

        let why = "Nothing is recorded: start `serve` with --record FILE.";
        browser.until(DAY, &json!(why)).await;
        assert_eq!(browser.log("browser").await, [] as [Value; 0]);
    });
}

#[test]
fn a_time_of_the_last_day_that_is_chosen_by_keyboard_opens_its_report() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let Some((_serve, address)) = recording(&directory) else { return };
    in_browser_at(&address, (1280, 800), async |browser: &Browser| {
        let _small = show_exhaustion(browser).await;
        browser.script("document.getElementById('day-plot').focus();").await;
        browser.press(HOME, false).await;
        let ends = "return [...new URL(document.getElementById('day-report').href).searchParams.values()];";
        let first = browser.script(ends).await;
        browser.press(END, true).await;
        let all = browser.script(ends).await;
        assert!(first[0] == all[0] && first[1].as_str() < all[1].as_str(), "{first} {all}");
        let failed =
            "return document.getElementById('day-state').textContent.match(/: ([0-9]+)/)[1] > 0;";
        assert_eq!(browser.script(failed).await, true);
        browser.press(ENTER, false).await;
        browser.until("return location.pathname;", &json!("/report")).await;
        let found =
            browser.script("return [...new URLSearchParams(location.search).values()];").await;
        assert_eq!(found, all);
        let is_told = "return document.body?.textContent.includes('127.0.0.1:80');";
        browser.until(is_told, &json!(true)).await;
    });
}

/// What is over something else, though it is not within it, or wider than what it is in.
const OVERLAPS: &str = "
    const all = [...document.querySelectorAll(
        'header, nav, footer, main > section > *, figure > *, figure .body > *, #failure-list > *, #map-key > *, .ends > *')]
        .filter((one) => one.getClientRects().length > 0);
    const name = (one) => `${one.tagName} ${one.id || one.className}`;
    const found = [];
    all.forEach((one, at) => {
        const a = one.getBoundingClientRect();
        if (a.right > innerWidth + 1) found.push(`${name(one)} ends at ${a.right}`);
        for (const other of all.slice(at + 1)) {
            if (one.contains(other) || other.contains(one)) continue;
            const b = other.getBoundingClientRect();
            const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (across > 1 && down > 1) found.push(`${name(one)} and ${name(other)}`);
        }
    });
    for (const canvas of document.querySelectorAll('canvas')) {
        const [own, outer] = [canvas, canvas.closest('figure')].map((one) => one.getBoundingClientRect());
        if (own.right > outer.right) found.push(`canvas of ${name(canvas.parentElement)} ends at ${own.right}`);
    }
    return found;";

/// What has the focus, and whether that is seen.
const FOCUS: &str = "
    const { activeElement: one } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    const isSeen = outlineStyle !== 'none' && parseFloat(outlineWidth) > 0;
    return [one.id || one.getAttribute('href') || one.tagName, isSeen];";

#[test]
fn all_of_the_page_is_there_at_any_width_and_for_the_keyboard() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let Some((serve, address)) = recording(&directory) else { return };
    in_browser_at(&address, (1280, 800), async |browser: &Browser| {
        let small = show_exhaustion(browser).await;
        choose(browser, small.netns).await;
        browser.until("return mapFigure.hidden;", &json!(false)).await;
        for width in [360, 1280, 2560, 3840] {
            browser.resize(width, 900).await;
            let is_drawn = "
                return [plotOf('picture'), plotOf('day-plot')].every(([drawn, place]) => Math.abs(drawn - place) < 2);
                function plotOf(id) {
                    const place = document.querySelector(`#${id}.plot, #${id} .plot`);
                    return [place.querySelector('.uplot').offsetWidth, place.clientWidth];
                }";
            browser.until(is_drawn, &json!(true)).await;
            let widths = "return document.documentElement.scrollWidth - innerWidth;";
            assert!(browser.script(widths).await.as_f64().unwrap() <= 0.0, "{width}");
            browser.until(OVERLAPS, &json!([])).await;
        }

        let mut reached: Vec<String> = Vec::new();
        browser.script("document.activeElement.blur(); scrollTo(0, 0);").await;
        // A field for a time has several stops, and the lists of a busy host are long.
        for _ in 0..400 {
            browser.press(TAB, false).await;
            let found = browser.script(FOCUS).await;
            let one = found[0].as_str().unwrap().to_owned();
            // What had the focus may be gone: the next is what came after it.
            assert!(one == "BODY" || found[1] == true, "the focus on {one} is not seen");
            let is_last = one == "readyz";
            if reached.last() != Some(&one) {
                reached.push(one);
            }
            if is_last {
                break;
            }
        }
        let wanted = [
            "#range",
            "map-of",
            "map-cells",
            "day-plot",
            "day-from",
            "day-to",
            "day-report",
            "metrics",
            "readyz",
        ];
        let found: Vec<&String> =
            reached.iter().filter(|one| wanted.contains(&one.as_str())).collect();
        assert_eq!(found, wanted, "{reached:?}");

        assert_eq!(browser.log("browser").await, [] as [Value; 0]);
        let mut requests = browser.requests(&address).await;
        assert!(requests.iter().any(|url| url.ends_with("/history")), "{requests:?}");
        let own = format!("http://{}/", serve.place());
        requests.retain(|url| {
            let url = url.replace("me:0123456789abcdef@", "");
            !url.starts_with(&own) && !url.starts_with("data:")
        });
        assert_eq!(requests, [""; 0]);
    });
}
