use std::{
    fs::File,
    io::{BufRead as _, BufReader, PipeReader},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    config::{Format, Output},
    event::{LossKind, LossPlace, Protocol, TcpState},
    report::{Port, Stop},
    sink::json::Json,
};

/// A printer into a pipe, with room for so many bytes.
fn printer(
    limit: usize,
    count: Option<u64>,
) -> (Printer<Json<QueuedWriter>>, QueuedWriter, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let queue = QueuedWriter::new(File::from(OwnedFd::from(writer)));
    let output = Output { format: Format::Json, color: false };
    let lines =
        Lines { count: count.and_then(std::num::NonZero::new), ..Lines::everything(output) };
    let mut printer = Printer::new(&lines, Json::new(queue.clone()));
    printer.drop_when_full(Some(queue.clone()));
    printer.limit = Some(limit);
    (printer, queue, reader)
}

fn state() -> Report {
    let port = Port { netns: 1, protocol: Protocol::Tcp, local: None, remote: None, caller: None };
    Report { time_ns: 1, body: Body::State { port, old: TcpState::SYN_SENT, new: TcpState::CLOSE } }
}

fn print(printer: &mut Printer<impl Sink>, count: usize) {
    for _ in 0..count {
        printer.print(&state()).expect("no error");
        printer.flush().expect("no error");
    }
}

/// What was written, in order: how many lines of their type one after the other, or what was lost.
fn read(reader: PipeReader) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = Vec::new();
    for (seq, line) in (1_u64..).zip(BufReader::new(reader).lines()) {
        let line: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        assert_eq!(line["seq"], seq);
        let name = match line["type"].as_str() {
            Some("lost") => format!("{} {}", line["where"], line["kind"]).replace('"', ""),
            name => name.expect("a type").to_owned(),
        };
        let count = line["count"].as_u64();
        match parts.last_mut() {
            Some((last, so_far)) if *last == name && count.is_none() => *so_far += 1,
            _ => parts.push((name, count.unwrap_or(1))),
        }
    }
    parts
}

fn written(queue: &QueuedWriter) {
    let began = Instant::now();
    while queue.pending_bytes() > 0 && began.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_that_a_stalled_reader_gets_and_lines_that_are_counted_as_lost_are_all() {
    let (mut printer, queue, reader) = printer(100_000, None);
    print(&mut printer, 10_000);
    let first = printer.lost();
    assert!((1..10_000).contains(&first), "{first}");
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || sender.send(read(reader)));
    written(&queue);
    print(&mut printer, 10);
    assert_eq!(printer.lost(), first, "there is room again");
    printer.print(&Report { time_ns: 2, body: Body::Stop(Stop::default()) }).expect("no error");
    printer.flush().expect("no error");
    assert_eq!(queue.finish_blocking().expect("no error"), 0);
    drop((printer, queue));
    let parts = receiver.recv_timeout(Duration::from_secs(10)).expect("the end");
    // The queue may have had room again in between, for what the pipe takes.
    let all = |name| parts.iter().filter(|part| part.0 == name).map(|part| part.1).sum::<u64>();
    assert_eq!((all("state"), all("output state")), (10_010 - first, first), "{parts:?}");
    let [.., (last, count), (end, 1)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((last.as_str(), end.as_str()), ("state", "stop"), "{parts:?}");
    assert!(*count >= 10, "{parts:?}");
}

#[test]
fn losses_that_could_not_be_said_are_said_later_with_where_they_were() {
    let (mut printer, queue, reader) = printer(0, None);
    for count in [3, 4] {
        let place = LossPlace::KernelBuffer;
        let body = Body::Lost { count, place, kind: LossKind::Acquire, caller: None };
        printer.print(&Report { time_ns: 1, body }).expect("no error");
    }
    print(&mut printer, 2);
    assert_eq!(printer.lost(), 2, "what is lost in the kernel is counted there");
    printer.limit = Some(100_000);
    printer.report_lost(2).expect("no error");
    printer.flush().expect("no error");
    written(&queue);
    assert_eq!(queue.finish_blocking().expect("no error"), 0);
    drop((printer, queue));
    let expected = [("kernel_buffer acquire", 7), ("output state", 2)];
    assert_eq!(read(reader), expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn the_first_and_the_last_line_are_never_dropped_and_lost_lines_are_said_before_the_last() {
    let (mut printer, queue, reader) = printer(0, None);
    print(&mut printer, 5);
    printer.print(&Report { time_ns: 2, body: Body::Stop(Stop::default()) }).expect("no error");
    printer.flush().expect("no error");
    assert_eq!(queue.finish_blocking().expect("no error"), 0);
    drop((printer, queue));
    assert_eq!(read(reader), [("output state".to_owned(), 5), ("stop".to_owned(), 1)]);
}

#[test]
fn lines_that_are_lost_are_none_of_those_that_were_asked_for() {
    let (mut printer, _queue, _reader) = printer(0, Some(2));
    print(&mut printer, 5);
    assert!(!printer.is_done());
    printer.limit = Some(100_000);
    print(&mut printer, 2);
    assert!(printer.is_done());
}
