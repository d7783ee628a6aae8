use std::{
    fs::File,
    io::{PipeReader, Read as _},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
};

use super::*;

fn piped() -> (QueuedWriter, PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (QueuedWriter::new(WholeLines::new(File::from(OwnedFd::from(writer)))), reader)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn line(number: usize) -> String {
    format!("{number:>99}\n")
}

#[test]
fn what_is_read_is_what_was_written_in_order() {
    let (mut writer, mut reader) = piped();
    let read = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    });
    let expected: String = (0..50_000).map(line).collect();
    for number in 0..50_000 {
        writer.write_all(line(number).as_bytes()).expect("no error");
    }
    assert_eq!(writer.finish_blocking().expect("no error"), 0);
    drop(writer);
    assert!(read.join().expect("no panic") == expected);
}

#[test]
fn a_line_comes_at_once_without_another() {
    let (mut writer, mut reader) = piped();
    writer.write_all(b"one\n").expect("no error");
    let mut buffer = [0; 16];
    assert_eq!(reader.read(&mut buffer).expect("text"), 4);
}

#[test]
fn a_reader_that_stalls_stops_neither_the_writes_nor_the_end_and_what_it_missed_is_exact() {
    for lines in [10, 1_000, 5_000] {
        let (mut writer, mut reader) = piped();
        let began = Instant::now();
        for number in 0..lines {
            writer.write_all(line(number).as_bytes()).expect("no error");
        }
        let missed = runtime().block_on(writer.finish(std::future::pending()));
        let missed = missed.expect("no error");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        let whole = text.matches('\n').count();
        assert!(text.ends_with('\n'), "the last line is cut off");
        assert_eq!(whole + usize::try_from(missed).expect("few"), lines);
        assert_eq!(missed == 0, lines == 10 || text.len() == lines * 100);
    }
}

#[test]
fn a_reader_that_reads_on_gets_all_although_that_takes_longer_than_the_patience() {
    let (mut writer, mut reader) = piped();
    for number in 0..5_000 {
        writer.write_all(line(number).as_bytes()).expect("no error");
    }
    let read = thread::spawn(move || {
        let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
        loop {
            // Eight times what it takes to be one that reads.
            thread::sleep(PATIENCE / 4);
            match reader.read(&mut buffer).expect("bytes") {
                0 => return total,
                length => total += length,
            }
        }
    });
    let began = Instant::now();
    assert_eq!(writer.finish_blocking().expect("no error"), 0);
    assert!(began.elapsed() > PATIENCE);
    drop(writer);
    assert_eq!(read.join().expect("no panic"), 5_000 * 100);
}

#[test]
fn who_gives_up_waits_no_longer() {
    let (mut writer, _reader) = piped();
    for number in 0..5_000 {
        writer.write_all(line(number).as_bytes()).expect("no error");
    }
    let began = Instant::now();
    let missed = runtime().block_on(writer.finish(async {})).expect("no error");
    assert!(missed > 0 && began.elapsed() < PATIENCE, "{missed}, {:?}", began.elapsed());
}

#[test]
fn room_comes_when_the_reader_reads() {
    let (mut writer, mut reader) = piped();
    for number in 0..5_000 {
        writer.write_all(line(number).as_bytes()).expect("no error");
    }
    let waits = writer.clone();
    let room = thread::spawn(move || runtime().block_on(waits.room(100_000)));
    thread::sleep(Duration::from_millis(50));
    assert!(!room.is_finished());
    let mut buffer = vec![0; 450_000];
    reader.read_exact(&mut buffer).expect("bytes");
    room.join().expect("no panic");
    assert!(writer.pending_bytes() < 100_000);
}

#[test]
fn a_reader_that_leaves_is_an_error_and_nobody_waits_for_it() {
    let (mut writer, reader) = piped();
    for number in 0..5_000 {
        writer.write_all(line(number).as_bytes()).expect("no error");
    }
    drop(reader);
    runtime().block_on(writer.room(1));
    assert_eq!(writer.flush().expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(writer.write(b"x").expect_err("the same").kind(), io::ErrorKind::BrokenPipe);
    let finished = runtime().block_on(writer.finish(std::future::pending()));
    assert_eq!(finished.expect_err("the same").kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn nothing_that_was_not_written_is_waited_for() {
    let (writer, _reader) = piped();
    let began = Instant::now();
    assert_eq!(writer.finish_blocking().expect("no error"), 0);
    assert!(began.elapsed() < LAST_TRY, "{:?}", began.elapsed());
}

#[test]
fn a_full_device_is_an_error_also_when_it_shows_at_the_end_only() {
    let full = File::options().write(true).open("/dev/full").expect("open /dev/full");
    let mut writer = QueuedWriter::new(full);
    writer.write_all(b"one\n").expect("it is queued");
    let error = writer.finish_blocking().expect_err("there is no room");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
}

#[test]
fn the_thread_that_writes_has_no_capabilities_and_the_others_keep_theirs() {
    struct Status(mpsc::Sender<String>);

    impl Write for Status {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let status = std::fs::read_to_string("/proc/thread-self/status")?;
            self.0.send(status).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let before = caps::read(None, caps::CapSet::Permitted).expect("the own set");
    let (sender, receiver) = mpsc::channel();
    let mut writer = QueuedWriter::new(Status(sender));
    writer.write_all(b"one\n").expect("no error");
    let status = receiver.recv().expect("the thread's status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{status}");
    }
    assert_eq!(caps::read(None, caps::CapSet::Permitted).expect("the own set"), before);
}
