//! The way of a recording, from a file to a report and a page, fed with any file.

use std::{fs, io, path::Path};

use port_observer::{
    cli::{Cli, Color, Command},
    command::report,
    ledger::{self, Ledger},
    recording::{Item, Reader},
    report::Sink as _,
    sandbox::Sandbox,
    sink::json::Json,
};

/// What bytes that are no database are changes of.
const BASE: &[u8] = include_bytes!("../recording/data/version1.db");

/// Takes any bytes: a file, or what to change of [`BASE`].
pub fn run(bytes: &[u8]) {
    let file = if bytes.starts_with(b"SQLite format 3") { bytes.to_vec() } else { changed(bytes) };
    let directory = Directory::make();
    let path = format!("{}/a.db", directory.0);
    fs::write(&path, file).expect("a file in memory");
    replay(Path::new(&path));
    let page = format!("{}/a.html", directory.0);
    let words = ["port-observer", "report", "--html", &page, &path];
    let Ok(Cli { command: Command::Report(args), .. }) = Cli::read(words) else {
        panic!("these are the arguments of report")
    };
    let _ = report::run(&args, Color::Never, Sandbox::Off).map_err(|error| format!("{error:#}"));
}

/// Each change is three bytes of where, one of how many bytes, and these.
fn changed(mut changes: &[u8]) -> Vec<u8> {
    let mut file = BASE.to_vec();
    while let [a, b, c, length, rest @ ..] = changes {
        let at = u32::from_be_bytes([0, *a, *b, *c]) as usize % file.len();
        let (new, others) = rest.split_at(rest.len().min(usize::from(*length)));
        file.splice(at..(at + new.len()).min(file.len()), new.iter().copied());
        changes = others;
    }
    file
}

fn replay(path: &Path) {
    let Ok(mut reader) = Reader::open(path).map_err(|error| format!("{error:#}")) else { return };
    let _ = (reader.len(), reader.netns("blue").map_err(|error| error.to_string()));
    let _ = reader.span_ns();
    let options = ledger::Options { spaces: true, ..ledger::Options::default() };
    let mut ledger = Ledger::new(options);
    let (mut items, mut reports, mut json) = (Vec::new(), Vec::new(), Json::new(io::sink()));
    while reader.next(&mut items).is_ok() && !items.is_empty() {
        for item in items.drain(..) {
            match item {
                Item::Begins { run, .. } => {
                    let options = ledger::Options { sticky: run.is_sticky, ..options };
                    ledger = Ledger::new(options);
                }
                Item::Holds { time_ns, checkpoint } => {
                    ledger.restore(time_ns, *checkpoint, &mut reports);
                }
                Item::Entry(entry) => {
                    if let Some(event) = entry.event() {
                        let caller = entry.caller().cloned();
                        ledger.apply(entry.time_ns, event, caller, &mut reports);
                    }
                    ledger.tick(entry.time_ns, &mut reports);
                }
                Item::Ends { .. } => {}
            }
            for report in reports.drain(..) {
                json.report(&report).expect("a sink into nothing takes everything");
            }
        }
    }
    let _ = reader.take_damage().map(|error| format!("{error:#}"));
}

/// A directory in memory that goes when this is dropped.
struct Directory(String);

impl Directory {
    fn make() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let thread = std::thread::current().id();
        let name = format!("port-observer-fuzz-{}-{thread:?}", std::process::id());
        let path = parent.join(name).display().to_string();
        fs::create_dir_all(&path).expect("a directory in memory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
