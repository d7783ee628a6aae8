//! The headroom that the program states against the kernel's own: in random states, how many calls
//! succeed before the next one finds no port.
//!
//! `PORT_OBSERVER_SEEDS` has the seeds, `FROM..TO` or a list with commas; each makes one state and
//! asks two questions of it.

mod evidence;
mod question;
mod source;
mod world;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use tests::lines::{Body, Line};
use tests::observer::Observer;
use tests::socket::{local, udp};
use tests::system::{Backend, in_virtual_machine};

use self::question::{Answer, Asked, Question};
use self::world::World;

/// What is said of this UDP port says: all that came before is complete.
const MARKER: u16 = 1;
/// How many worlds one observer sees, at most: all its lines are kept.
const WORLDS: usize = 100;
/// How many worlds are made before any is asked, and how many threads do that.
const BATCH: usize = 12;
/// Before, whether a TIME_WAIT can be reused depends on the moment: older kernels compare seconds.
const SETTLED: Duration = Duration::from_millis(2100);
/// As long as a TIME_WAIT must be there before it can be reused, from when a list has shown that the
/// peer's FIN came: the observer can't know that it came earlier.
const RIPE: Duration = Duration::from_millis(1100);
/// How much later than what came after it a line may come.
const LATE: Duration = Duration::from_secs(5);
/// How often a state is made at most in an emulated machine, whose kernel skips probes now and then.
const TRIES: usize = 3;
/// How many states that were stated wrongly are shown with their story.
const SHOWN: usize = 3;
const ARGUMENTS: [&str; 5] = [
    "--spaces",
    "--summary",
    "500ms",
    "--events",
    "start,existing,acquire,time_wait,release,exhausted,summary,lost,stop",
];

fn seeds() -> Vec<u64> {
    let number = |text: &str| text.trim().parse().unwrap_or_else(|e| panic!("seed {text:?}: {e}"));
    match env::var("PORT_OBSERVER_SEEDS") {
        Err(_) => (0..50).collect(),
        Ok(text) => match text.split_once("..") {
            Some((from, to)) => (number(from)..number(to)).collect(),
            None => text.split(',').map(number).collect(),
        },
    }
}

/// All answers of one seed, and what led to them.
struct Result {
    seed: u64,
    answers: Vec<Answer>,
    story: String,
    /// Kept while the observer runs, so that no other one gets its inode number.
    namespace: Option<File>,
    /// The observer said that it had lost something.
    is_lossy: bool,
}

impl Result {
    fn is_right(&self) -> bool {
        self.answers.iter().all(Answer::is_right)
    }
}

#[test]
fn as_many_calls_succeed_as_the_headroom_says() {
    let seeds = seeds();
    let mut results = Vec::new();
    for seeds in seeds.chunks(WORLDS) {
        let Some(observer) = Observer::own(&ARGUMENTS) else { return };
        results.extend(asked(observer, seeds));
    }
    judge(results, |seeds| asked(Observer::own(&ARGUMENTS).expect("it has run before"), seeds));
}

/// Makes these states while the observer watches, and asks.
fn asked(observer: Observer, seeds: &[u64]) -> Vec<Result> {
    let results = in_threads(made(seeds), &|worlds| {
        watch(&observer, &worlds);
        all(&observer, filled(worlds))
    });
    ended(observer, results)
}

#[test]
fn as_many_calls_succeed_as_the_headroom_says_of_sockets_from_before() {
    let ask = |seeds: &[u64]| {
        in_threads(made(seeds), &|worlds| {
            let worlds = filled(worlds);
            Observer::own(&ARGUMENTS).map_or_else(Vec::new, |observer| {
                watch(&observer, &worlds);
                knows_all(&observer);
                let results = all(&observer, worlds);
                ended(observer, results)
            })
        })
    };
    // Others than those that are asked of while the observer watches.
    let seeds: Vec<u64> = (1_000_000..1_000_010).collect();
    let results = ask(&seeds);
    if !results.is_empty() {
        judge(results, ask);
    }
}

/// Makes worlds, with nothing in them yet. Until all are there no thread has sockets that are closed:
/// what a process that is being made holds too is not closed yet.
fn made(seeds: &[u64]) -> Vec<World> {
    seeds.iter().map(|seed| World::new(*seed)).collect()
}

fn filled(mut worlds: Vec<World>) -> Vec<World> {
    worlds.iter_mut().for_each(World::fill);
    worlds
}

/// Runs batches of worlds on a few threads.
fn in_threads(
    worlds: Vec<World>,
    run: &(impl Fn(Vec<World>) -> Vec<Result> + Sync),
) -> Vec<Result> {
    let threads = if in_virtual_machine() { 1 } else { 2 };
    let worlds = Mutex::new(worlds.into_iter());
    let next = || {
        let mut worlds = worlds.lock().unwrap_or_else(PoisonError::into_inner);
        let batch: Vec<World> = worlds.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    };
    thread::scope(|scope| {
        let work = || std::iter::from_fn(next).flat_map(run).collect::<Vec<Result>>();
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join();
        workers.into_iter().map(join).collect::<thread::Result<Vec<_>>>()
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    .into_iter()
    .flatten()
    .collect()
}

/// Waits until the observer has listed what was there before it: then it begins to summarize.
fn knows_all(observer: &Observer) {
    let is_summary = |line: &Line| matches!(line.body, Body::Summary(_));
    let known = observer.wait_lines(0, |lines| lines.iter().any(is_summary).then_some(()));
    known.unwrap_or_else(|error| panic!("wait for the first summary: {error:#}"));
}

fn watch(observer: &Observer, worlds: &[World]) {
    worlds.iter().for_each(|world| observer.watch(world.namespace.inode));
}

/// Waits, then asks everything and compares.
fn all(observer: &Observer, mut worlds: Vec<World>) -> Vec<Result> {
    thread::sleep(SETTLED);
    let from = marked(observer, &mut worlds);
    if !Backend::chosen().is_exact() {
        // The list that showed the marker may be the first to show a FIN.
        thread::sleep(RIPE);
    }
    let asked: Vec<(u32, bool, Vec<Asked>)> = worlds
        .iter_mut()
        .map(|world| {
            world.namespace.enter();
            let asked = Question::pair(world).map(|question| question.ask(world));
            if Backend::chosen().is_exact() {
                mark(world);
            }
            (world.namespace.inode, world.is_odd, asked.into())
        })
        .collect();
    let lines = collected(observer, from, &asked);
    let answer = |(world, (inode, is_odd, asked)): (World, &(u32, bool, Vec<Asked>))| {
        let mut lines = lines.get(inode).map_or(&[][..], Vec::as_slice);
        let answer = |asked: &Asked| {
            let end = asked.end(lines).unwrap_or(lines.len());
            let (mine, rest) = lines.split_at(end);
            lines = rest;
            let mut answer = asked.answer(mine, *is_odd);
            if !answer.is_right() {
                let all = of_namespace(observer, *inode);
                let seq = asked.begin(mine).map_or(u64::MAX, |line| line.seq);
                let before = all.partition_point(|line| line.seq < seq);
                answer.differences = evidence::meanwhile(asked, mine)
                    + &evidence::differences(asked, &all, before, world.range);
            }
            answer
        };
        let answers = asked.iter().map(answer).collect();
        let (seed, story) = (world.seed, world.story());
        let namespace = Some(world.namespace.into_file());
        Result { seed, answers, story, namespace, is_lossy: false }
    };
    worlds.into_iter().zip(&asked).map(answer).collect()
}

/// Waits until the observer has told of all that was done in these namespaces; returns the position
/// of what comes next.
///
/// A backend that compares lists of sockets has done so once it tells of a UDP port that nothing but
/// those lists shows.
fn marked(observer: &Observer, worlds: &mut [World]) -> usize {
    let from = observer.position();
    let mark = |world: &mut World| {
        world.namespace.enter();
        (world.namespace.inode, mark(world))
    };
    let mut waiting: Vec<(u32, u16)> = worlds.iter_mut().map(mark).collect();
    let mut seen = 0;
    let marked = observer.wait_lines(from, |lines| {
        for line in &lines[seen..] {
            waiting.retain(|marker| Some(*marker) != udp_acquired(line));
        }
        seen = lines.len();
        waiting.is_empty().then_some(from + seen)
    });
    marked.unwrap_or_else(|error| panic!("wait for the marker: {error:#}"))
}

/// Takes a UDP port in the namespace that this thread is in; returns which.
fn mark(world: &mut World) -> u16 {
    if Backend::chosen().is_exact() {
        udp().reuse_address().bind(local(MARKER)).close();
        MARKER
    } else {
        world.keep(udp().send_to(local(MARKER)))
    }
}

/// The namespace and the UDP port that a line tells of.
fn udp_acquired(line: &Line) -> Option<(u32, u16)> {
    match &line.body {
        Body::Acquire(line) if line.protocol == "udp" => Some((line.netns, line.local.port)),
        _ => None,
    }
}

/// All lines of a namespace so far.
fn of_namespace(observer: &Observer, netns: u32) -> Vec<Line> {
    let mine = |line: &&Line| line.netns() == Some(netns);
    let lines = observer.wait_lines(0, |lines| Some(lines.iter().filter(mine).cloned().collect()));
    lines.unwrap_or_default()
}

/// The lines of each of these namespaces, until all questions are answered or time is up.
fn collected(
    observer: &Observer,
    from: usize,
    asked: &[(u32, bool, Vec<Asked>)],
) -> HashMap<u32, Vec<Line>> {
    let mut lines: HashMap<u32, Vec<Line>> =
        asked.iter().map(|(netns, ..)| (*netns, Vec::new())).collect();
    let questions: usize = asked.iter().map(|(_, _, asked)| asked.len()).sum();
    let (mut seen, mut exhausted, mut marked) = (0, 0, None);
    // What comes last in each namespace, where the order in which all is told shows that nothing is missing.
    let mut marks: HashSet<u32> = asked.iter().map(|(netns, ..)| *netns).collect();
    // In vain: what is missing is said of each.
    let _ = observer.wait_lines(from, |all| {
        for line in &all[seen..] {
            if let Some((netns, MARKER)) = udp_acquired(line) {
                marks.remove(&netns);
                continue;
            }
            let mine = line.netns().and_then(|netns| lines.get_mut(&netns));
            if let Some(mine) = mine {
                exhausted += usize::from(matches!(line.body, Body::Exhausted(_)));
                mine.push(line.clone());
            }
        }
        seen = all.len();
        if marks.is_empty() {
            marked.get_or_insert_with(Instant::now);
        }
        let is_late = marked.is_some_and(|marked: Instant| marked.elapsed() > LATE);
        (exhausted >= questions || is_late).then_some(())
    });
    lines
}

/// Ends the observer: what it lost and reconciled is not exact at every moment.
fn ended(observer: Observer, mut results: Vec<Result>) -> Vec<Result> {
    let ended = observer.interrupted();
    let lost = ended.lines.iter().filter(|line| matches!(line.body, Body::Lost(_)));
    let lost: Vec<&Line> = lost.collect();
    assert!(lost.is_empty() || in_virtual_machine(), "events were lost: {lost:?}");
    lost.iter().for_each(|line| println!("lost: {:?}", line.body));
    for result in &mut results {
        result.is_lossy = !lost.is_empty();
        // Each round of the next observer would look into it.
        result.namespace = None;
    }
    results
}

/// Counts the exact answers. A state that was answered wrongly is made again in an emulated machine; that
/// is said, and whether the observer had said that it had lost something.
fn judge(mut results: Vec<Result>, again: impl Fn(&[u64]) -> Vec<Result>) {
    let wrong = |results: &[Result]| -> Vec<u64> {
        let wrong = results.iter().filter(|result| !result.is_right());
        wrong.map(|result| result.seed).collect()
    };
    for _ in 1..TRIES {
        let wrong = wrong(&results);
        if !in_virtual_machine() || wrong.is_empty() {
            break;
        }
        let lossy = results.iter().filter(|result| !result.is_right() && result.is_lossy).count();
        println!("retried: seeds {wrong:?} had a wrong answer, {lossy} where something was lost:");
        print!("{}", shown(&results));
        results.retain(Result::is_right);
        results.extend(again(&wrong));
    }
    let exact = results.iter().flat_map(|result| &result.answers);
    let exact = exact.filter(|answer| answer.is_exact()).count();
    let count: usize = results.iter().map(|result| result.answers.len()).sum();
    println!("truth: {exact} of {count} answers exact ({})", Backend::chosen().name());
    let wrong = wrong(&results);
    let only: Vec<String> = wrong.iter().map(u64::to_string).collect();
    assert!(
        wrong.is_empty(),
        "wrong in {} of {} states; again: PORT_OBSERVER_SEEDS={}\n{}",
        wrong.len(),
        results.len(),
        only.join(","),
        shown(&results)
    );
}

/// The wrong answers, the first few with their story.
fn shown(results: &[Result]) -> String {
    let wrong = results.iter().filter(|result| !result.is_right()).enumerate();
    let text = wrong.map(|(index, result)| {
        let answers = result.answers.iter().filter(|answer| !answer.is_right());
        let answers = answers.map(|answer| {
            let Answer { question, stated, counted, differences, .. } = answer;
            let seed = result.seed;
            format!(
                "seed {seed}: {question:?}: stated {stated:?}, but {counted} succeeded\n{differences}"
            )
        });
        let answers: String = answers.collect();
        if index < SHOWN { format!("{answers}{}\n", result.story) } else { answers }
    });
    text.collect()
}
