//! What is on the page, and what it does.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    HOSTILE,
    browser::{Browser, in_browser},
    page, run,
};

const WIDE: (u32, u32) = (1200, 900);

/// How many rows the table of the picture has, and what is in them.
const COUNT: &str = "return document.querySelectorAll('#picture-0 .values tr').length > 1;";
const ROWS: &str = "
    return [...document.querySelectorAll('#picture-0 .values tr')].map(
        (row) => [...row.cells].map((cell) => cell.textContent));";
/// The rows of the legend.
const LEGEND: &str = "
    return [...document.querySelectorAll('#picture-0 .legend tr')].map(
        (row) => [...row.cells].map((cell) => cell.textContent));";
const CAPTION: &str = "return document.querySelector('#picture-0 caption').textContent;";
const RANGE: &str = "return document.querySelector('#picture-0 .range').textContent;";
const IMAGE: &str = "return document.querySelector('#picture-0 canvas').toDataURL();";
const PLOT: &str = "#picture-0 .u-over";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is text"))
}

/// Opens the table and reads it: an array a row.
async fn table(browser: &Browser) -> Vec<Value> {
    browser.find("#picture-0 summary").await.click().await.unwrap();
    browser.until(COUNT, &json!(true)).await;
    browser.script(ROWS).await.as_array().unwrap().clone()
}

fn report(file: &std::path::Path) -> Value {
    serde_json::from_slice(&run(&["--json"], &[file]).stdout).unwrap()
}

#[test]
fn the_page_loads_nothing_and_runs_nothing_but_its_own() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(!html.contains(HOSTILE));
    in_browser(&page, WIDE, async |browser: &Browser| {
        table(browser).await;
        let own = format!("file://{}", page.display());
        let mut requests = browser.requests(&own).await;
        assert!(requests.contains(&own), "{requests:?}");
        requests.retain(|url| *url != own && !url.starts_with("data:"));
        assert_eq!(requests, [""; 0]);
        assert_eq!(browser.log("browser").await, [] as [Value; 0]);
        assert_eq!(browser.script("return document.title").await, "Ports of web-1");
        assert_eq!(browser.script("return document.images.length").await, 0);
        assert_eq!(browser.script("return document.scripts.length").await, 2);
        // What is not its own is refused.
        let injected = "
            const script = document.createElement('script');
            script.textContent = 'document.title = \"run\"';
            document.body.append(script);
            return fetch('data:,x').then(() => 'loaded', () => document.title);";
        assert_eq!(browser.script(injected).await, "Ports of web-1");
    });
}

#[test]
fn the_table_has_the_numbers_of_the_json() {
    let directory = TempDir::new().unwrap();
    let (file, page) = page(&directory);
    in_browser(&page, WIDE, async |browser: &Browser| {
        let rows = table(browser).await;
        let rows: Vec<&Vec<Value>> = rows.iter().map(|row| row.as_array().unwrap()).collect();
        let timeline = &report(&file)["timelines"][0];
        let used = timeline["used"].as_array().unwrap();
        assert_eq!(rows.len(), used.len() + 1);
        let mut series = timeline["series"].as_array().unwrap().clone();
        assert_eq!(series.len(), 8);
        assert!(series.iter().any(|one| one["name"] == HOSTILE));
        series.push(timeline["others"].clone());
        let mut sums = 0;
        for (at, row) in rows[1..].iter().enumerate() {
            let numbers: Vec<u64> =
                row[1..].iter().map(|cell| text(cell).parse().unwrap()).collect();
            let columns = [&timeline["used"], &timeline["capacity"], &timeline["refused"]];
            let held = series.iter().flat_map(|one| [&one["in_use"], &one["time_wait"]]);
            let expected: Vec<u64> =
                columns.into_iter().chain(held).map(|c| c[at].as_u64().unwrap()).collect();
            assert_eq!(numbers, expected, "row {at}");
            assert_eq!(numbers[0], numbers[3..].iter().sum::<u64>(), "row {at}");
            sums += numbers[2];
        }
        let incidents = report(&file)["incidents"].as_array().unwrap().clone();
        let failures: u64 = incidents.iter().map(|one| one["failures"].as_u64().unwrap()).sum();
        assert_eq!(sums, failures);
        // Berlin's winter time, as in the words of the page.
        assert!(text(&rows[1][0]).starts_with("2026-01-02 04:04:0"), "{}", rows[1][0]);
    });
}

#[test]
fn of_a_part_of_the_time_that_part_is_shown() {
    let directory = TempDir::new().unwrap();
    let (file, _) = page(&directory);
    let (from, to) = ("2026-01-02T03:05:00Z", "2026-01-02T03:06:00Z");
    let output = run(&["--json", "--from", from, "--to", to], &[&file]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let timeline = &report["timelines"][0];
    assert_eq!(timeline["began"], "2026-01-02T03:05:00.000000000Z");
    let buckets = timeline["bucket"].as_array().unwrap();
    let last = buckets.last().unwrap().as_f64().unwrap();
    let seconds = last * timeline["step_seconds"].as_f64().unwrap();
    assert!((59.0..=60.0).contains(&seconds), "{seconds}");
}

#[test]
fn the_pointer_shows_the_numbers_of_its_moment() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    in_browser(&page, WIDE, async |browser: &Browser| {
        let rows = table(browser).await;
        let mut caption = browser.script(CAPTION).await;
        assert!(text(&caption).starts_with("At its fullest: "), "{caption}");
        for at in [-0.5, 0.3] {
            browser.hover(PLOT, at).await;
            caption = browser.until_other(CAPTION, &caption).await;
            let time = text(&caption).split(" (").next().unwrap();
            let of = rows.iter().find(|row| text(&row[0]) == time);
            let row = of.unwrap_or_else(|| panic!("{caption} is a row of the table"));
            let legend = browser.script(LEGEND).await;
            let legend = legend.as_array().unwrap();
            let names = legend.len() - 3;
            for (number, line) in legend[1..=names].iter().enumerate() {
                assert_eq!(line[1], row[4 + 2 * number], "{line}");
                assert_eq!(line[2], row[5 + 2 * number], "{line}");
            }
            let used = text(&legend[names + 1][1]);
            assert!(used.starts_with(&format!("{} of 500 (", text(&row[1]))), "{used}");
            assert_eq!(legend[names + 2][1], row[3]);
        }
    });
}

#[test]
fn a_drag_zooms_all_pictures_and_a_double_click_shows_all() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    in_browser(&page, WIDE, async |browser: &Browser| {
        let (all, image) = (browser.script(RANGE).await, browser.script(IMAGE).await);
        browser.drag(PLOT, -0.5, 0.2).await;
        let zoomed = browser.until_other(RANGE, &all).await;
        browser.until_other(IMAGE, &image).await;
        let other = RANGE.replace("picture-0", "picture-1");
        browser.until(&other, &zoomed).await;
        browser
            .script(
                "document.querySelector('#picture-0 .u-over').dispatchEvent(
                    new MouseEvent('dblclick', { bubbles: true }));",
            )
            .await;
        browser.until(RANGE, &all).await;
    });
}

#[test]
fn the_keyboard_does_what_the_pointer_does() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    in_browser(&page, WIDE, async |browser: &Browser| {
        let all = browser.script(RANGE).await;
        let plot = browser.find("#picture-0 .plot").await;
        let fullest = browser.script(CAPTION).await;
        plot.send_keys("\u{e014}").await.unwrap();
        let caption = browser.until_other(CAPTION, &fullest).await;
        assert!(!text(&caption).starts_with("At its fullest"), "{caption}");
        plot.send_keys("\u{e012}\u{e012}").await.unwrap();
        browser.until_other(CAPTION, &caption).await;
        plot.send_keys("+").await.unwrap();
        browser.until_other(RANGE, &all).await;
        plot.send_keys("0").await.unwrap();
        browser.until(RANGE, &all).await;
    });
}

#[test]
fn a_click_on_a_name_hides_it_and_another_shows_it_again() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    in_browser(&page, WIDE, async |browser: &Browser| {
        let image = browser.script(IMAGE).await;
        let button = browser.find("#picture-0 .legend button").await;
        assert_eq!(button.attr("aria-pressed").await.unwrap().as_deref(), Some("true"));
        button.click().await.unwrap();
        assert_eq!(button.attr("aria-pressed").await.unwrap().as_deref(), Some("false"));
        browser.until_other(IMAGE, &image).await;
        button.click().await.unwrap();
        browser.until(IMAGE, &image).await;
    });
}

#[test]
fn it_is_readable_in_light_and_dark_on_paper_and_on_a_small_screen() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    in_browser(&page, (400, 800), async |browser: &Browser| {
        let width = "return [document.documentElement.scrollWidth, innerWidth]";
        let found = browser.script(width).await;
        assert!(found[0].as_u64() <= found[1].as_u64(), "{found}");
        let ground = "return getComputedStyle(document.body).backgroundColor";
        browser.emulate("", "light").await;
        browser.until(ground, &json!("rgb(255, 255, 255)")).await;
        let light = browser.script(IMAGE).await;
        browser.emulate("", "dark").await;
        browser.until(ground, &json!("rgb(20, 23, 27)")).await;
        browser.until_other(IMAGE, &light).await;
        browser.emulate("print", "dark").await;
        browser.until(ground, &json!("rgb(255, 255, 255)")).await;
        assert_eq!(browser.script("return matchMedia('print').matches").await, true);
        let hint = "return getComputedStyle(document.querySelector('.tools button')).display";
        browser.until(hint, &json!("none")).await;
    });
}
