//! What takes reports.

use std::io;

use super::{Closing, Report};

/// Something that takes reports.
pub trait Sink: Send {
    /// Sets realtime less boottime, in nanoseconds: what turns the times of reports into times of
    /// day. The clock may be set while we run, so this may be called at any time.
    fn set_offset(&mut self, offset_ns: i64);

    /// A new run begins, of another time or host; `first_offset_ns` is its initial offset.
    /// `set_offset` is called next.
    fn begin(&mut self, _first_offset_ns: i64) {}

    /// What a network namespace is called from now on, told before what happens in it; empty: it has no
    /// name. Texts of others.
    fn name(&mut self, _netns: u32, _names: &[String]) {}

    /// Takes a report. It may be held back until the next `flush`.
    ///
    /// # Errors
    /// Writing failed; `BrokenPipe` says that the reader has left.
    fn report(&mut self, report: &Report) -> io::Result<()>;

    /// Takes what a person is shown at the end; most sinks have no use for it. It may be held back as
    /// a report may.
    ///
    /// # Errors
    /// As for `report`.
    fn closing(&mut self, _closing: &Closing) -> io::Result<()> {
        Ok(())
    }

    /// Writes what was held back, so that a reader sees it.
    ///
    /// # Errors
    /// As for `report`.
    fn flush(&mut self) -> io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn set_offset(&mut self, offset_ns: i64) {
        (**self).set_offset(offset_ns);
    }

    fn begin(&mut self, first_offset_ns: i64) {
        (**self).begin(first_offset_ns);
    }

    fn name(&mut self, netns: u32, names: &[String]) {
        (**self).name(netns, names);
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        (**self).report(report)
    }

    fn closing(&mut self, closing: &Closing) -> io::Result<()> {
        (**self).closing(closing)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// Takes reports and does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn set_offset(&mut self, _offset_ns: i64) {}

    fn report(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands each call to both, in order, also when the first fails: its failure is that of both.
impl<A: Sink, B: Sink> Sink for (A, B) {
    fn set_offset(&mut self, offset_ns: i64) {
        self.0.set_offset(offset_ns);
        self.1.set_offset(offset_ns);
    }

    fn begin(&mut self, first_offset_ns: i64) {
        self.0.begin(first_offset_ns);
        self.1.begin(first_offset_ns);
    }

    fn name(&mut self, netns: u32, names: &[String]) {
        self.0.name(netns, names);
        self.1.name(netns, names);
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        let first = self.0.report(report);
        first.and(self.1.report(report))
    }

    fn closing(&mut self, closing: &Closing) -> io::Result<()> {
        let first = self.0.closing(closing);
        first.and(self.1.closing(closing))
    }

    fn flush(&mut self) -> io::Result<()> {
        let first = self.0.flush();
        first.and(self.1.flush())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::{Body, Stop};

    /// Writes down what it is called with.
    struct Witness {
        name: &'static str,
        fails: bool,
        calls: Arc<Mutex<Vec<String>>>,
    }

    impl Witness {
        fn note(&self, call: &str) -> io::Result<()> {
            self.calls.lock().unwrap().push(format!("{} {call}", self.name));
            if self.fails { Err(io::Error::other(self.name)) } else { Ok(()) }
        }
    }

    impl Sink for Witness {
        fn set_offset(&mut self, offset_ns: i64) {
            let _ = self.note(&format!("offset {offset_ns}"));
        }

        fn begin(&mut self, first_offset_ns: i64) {
            let _ = self.note(&format!("begin {first_offset_ns}"));
        }

        fn name(&mut self, netns: u32, names: &[String]) {
            let _ = self.note(&format!("name {netns} {}", names.join(" ")));
        }

        fn report(&mut self, report: &Report) -> io::Result<()> {
            self.note(&format!("report {}", report.time_ns))
        }

        fn closing(&mut self, _closing: &Closing) -> io::Result<()> {
            self.note("closing")
        }

        fn flush(&mut self) -> io::Result<()> {
            self.note("flush")
        }
    }

    #[test]
    fn both_sinks_get_each_call_in_order_and_the_first_failure_is_returned() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let of = |name, fails| Witness { name, fails, calls: Arc::clone(&calls) };
        let mut both = ((of("a", false), of("b", true)), of("c", true));
        both.begin(1);
        both.set_offset(2);
        both.name(4, &["blue".to_owned()]);
        let report = Report { time_ns: 3, body: Body::Stop(Stop::default()) };
        let failed = [both.report(&report), both.closing(&Closing::default()), both.flush()];
        assert!(failed.into_iter().all(|result| result.unwrap_err().to_string() == "b"));
        let expected = ["begin 1", "offset 2", "name 4 blue", "report 3", "closing", "flush"];
        let expected: Vec<String> = expected
            .into_iter()
            .flat_map(|call| ["a", "b", "c"].map(|name| format!("{name} {call}")))
            .collect();
        assert_eq!(*calls.lock().unwrap(), expected);
    }
}
