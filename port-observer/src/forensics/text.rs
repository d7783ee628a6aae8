//! What happened, in words.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{
    AllTaken, Forensics, Incident,
    facts::{Fact, Words, left_out, lost, refused_headline, taken_headline, taken_left_out},
};

/// How much deeper what continues a line is than the line.
const HANGING: &str = "    ";

/// Writes it, in lines of about this width; times are of this zone.
///
/// # Errors
/// Writing failed; `BrokenPipe` says that the reader has left.
pub fn write(out: impl Write, told: &Forensics, zone: &TimeZone, width: usize) -> io::Result<()> {
    let words = Words { zone };
    let mut text = Text { out, words, width: width.max(40) };
    text.item(0, &text.words.host(&told.runs))?;
    if told.runs.is_empty() {
        return Ok(());
    }
    for run in &told.runs {
        text.item(2, &text.words.run(run))?;
    }
    for loss in &told.losses {
        text.item(2, &lost(loss))?;
    }
    if told.incidents.is_empty() && told.taken.count == 0 && told.refused.count == 0 {
        return text.item(0, "No call was refused a port.");
    }
    let count = told.incidents.len();
    for (number, incident) in (1..).zip(&told.incidents) {
        writeln!(text.out)?;
        text.incident(&format!("Incident {number} of {count}"), incident)?;
    }
    if let Some(line) = left_out(told.left_out) {
        writeln!(text.out)?;
        text.item(0, &line)?;
    }
    text.all_taken(taken_headline(&told.taken), &told.taken)?;
    text.all_taken(refused_headline(&told.refused), &told.refused)
}

struct Text<'z, W> {
    out: W,
    words: Words<'z>,
    width: usize,
}

impl<W: Write> Text<'_, W> {
    fn item(&mut self, indent: usize, text: &str) -> io::Result<()> {
        let first = " ".repeat(indent);
        let rest = format!("{first}{HANGING}");
        let options =
            textwrap::Options::new(self.width).initial_indent(&first).subsequent_indent(&rest);
        for line in textwrap::wrap(text, options) {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn all_taken(&mut self, headline: Option<String>, taken: &AllTaken) -> io::Result<()> {
        let Some(headline) = headline else { return Ok(()) };
        writeln!(self.out)?;
        self.item(0, &format!("{headline}:"))?;
        for one in &taken.most {
            self.item(2, &self.words.taken(one))?;
        }
        taken_left_out(taken).map_or(Ok(()), |line| self.item(2, &line))
    }

    fn incident(&mut self, title: &str, incident: &Incident) -> io::Result<()> {
        self.item(0, &format!("{title}: {}", self.words.headline(incident)))?;
        let facts = self.words.facts(incident).into_iter();
        let why = self.words.growth(incident).into_iter().chain(self.words.cause(incident));
        for Fact { label, text } in facts.chain(why) {
            self.item(2, &format!("{label}: {text}"))?;
        }
        if incident.remedies.is_empty() {
            return Ok(());
        }
        self.item(2, "what would have helped:")?;
        for (number, remedy) in (1..).zip(&incident.remedies) {
            self.item(4, &format!("{number}. {}", remedy.text))?;
        }
        Ok(())
    }
}
