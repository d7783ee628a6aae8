//! The diagnosis for people.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSplitter};

use super::{BackendReport, Diagnosis, Status, fixes, kept, limits};
use crate::probe::{
    Backend, Capability,
    preflight::{Cgroup2, Tracefs},
};
use crate::words::sentences::exactness;

/// How it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Columns of the screen.
    pub width: usize,
    /// Whether words are coloured; nothing is told by colour alone.
    pub color: bool,
}

/// Where the second column begins.
const COLUMN: usize = 18;

/// The whole text.
pub fn render(diagnosis: &Diagnosis, layout: Layout) -> String {
    let mut page = Page { text: String::new(), layout };
    page.host(diagnosis);
    page.capabilities(diagnosis);
    page.title("Backends");
    for report in &diagnosis.backends {
        page.backend(report);
    }
    page.sandbox(diagnosis);
    page.result(diagnosis);
    page.text
}

struct Page {
    text: String,
    layout: Layout,
}

/// How a word is coloured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Bad,
    Title,
}

impl Page {
    fn host(&mut self, diagnosis: &Diagnosis) {
        let facts = &diagnosis.facts;
        let version = env!("CARGO_PKG_VERSION");
        let head =
            format!("port-observer {version} on Linux {}, {}", facts.kernel, facts.architecture);
        self.line("", &head, Tone::Title);
        self.title("Kernel");
        self.fact("BTF", facts.btf.is_ok(), facts.btf.as_ref().err().map_or("readable", |e| e));
        let lockdown = facts.privileges.lockdown.as_deref();
        let is_open = lockdown != Some("confidentiality");
        self.fact("lockdown", is_open, lockdown.unwrap_or("not shown by this kernel"));
        let mountable = "not mounted; mounted for this program alone when needed";
        match &facts.cgroup2 {
            Cgroup2::Mounted(path) => self.fact("cgroup2", true, &path.display().to_string()),
            Cgroup2::Mountable => self.fact("cgroup2", true, mountable),
            Cgroup2::Unavailable => self.fact("cgroup2", false, "not mounted"),
        }
        match &facts.tracefs {
            Tracefs::Mounted => self.fact("tracefs", true, "mounted"),
            Tracefs::Mountable => self.fact("tracefs", true, mountable),
            Tracefs::Unavailable(reason) => self.fact("tracefs", false, reason),
        }
        self.fact("kprobes", facts.kprobes, if facts.kprobes { "there" } else { "not built in" });
        if let Some(jit) = facts.jit {
            self.fact("JIT compiler", jit, if jit { "on" } else { "off" });
        }
        if let Some(disabled) = facts.unprivileged_bpf_disabled {
            let meaning = if disabled == 0 { "allowed to all" } else { "for capabilities only" };
            self.fact("bpf()", true, &format!("{meaning} (unprivileged_bpf_disabled={disabled})"));
        }
        if let Some(level) = facts.privileges.perf_event_paranoid {
            let is_open = !facts.privileges.is_perf_closed();
            let meaning = if level > 2 { "takes CAP_SYS_ADMIN" } else { "takes CAP_PERFMON" };
            self.fact("perf", is_open, &format!("{meaning} (perf_event_paranoid={level})"));
        }
        if let Some(bytes) = facts.privileges.memlock {
            let limit = format!("RLIMIT_MEMLOCK is {} KiB and may not be raised", bytes / 1024);
            self.fact("locked memory", false, &limit);
        }
        match &facts.diagnostics {
            Ok(found) => {
                let way = match &found.fallback {
                    None => "netlink".to_owned(),
                    Some(reason) => format!("/proc/net stands in ({reason})"),
                };
                let bound = match found.lists_bound {
                    Some(true) => ", with sockets that are only bound",
                    Some(false) => ", without sockets that are only bound",
                    None => "",
                };
                let is_good = found.fallback.is_none();
                self.fact("socket lists", is_good, &format!("{way}{bound}"));
            }
            Err(reason) => self.fact("socket lists", false, reason),
        }
    }

    fn capabilities(&mut self, diagnosis: &Diagnosis) {
        self.title("Capabilities");
        let privileges = &diagnosis.facts.privileges;
        for capability in Capability::ALL {
            let has = privileges.has(capability);
            let (word, tone) = if has { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
            self.entry(
                word,
                tone,
                6,
                &format!("{:<20} {}", capability.name(), capability.purpose()),
            );
        }
        if privileges.user_namespace == Some(true) {
            let note = "They are those of a user namespace: the kernel does not count them.";
            self.line("  ", note, Tone::Plain);
        }
    }

    fn backend(&mut self, report: &BackendReport) {
        let name = report.backend.name();
        let (word, tone) = match (report.is_usable(), report.backend.is_exact()) {
            (true, true) => ("usable, exact", Tone::Good),
            (true, false) => ("usable, not exact", Tone::Good),
            (false, true) => ("not usable (would be exact)", Tone::Bad),
            (false, false) => ("not usable (would not be exact)", Tone::Bad),
        };
        if report.backend != Backend::ALL[0] {
            self.text.push('\n');
        }
        self.labelled("  ", name, Tone::Title, word, tone);
        // Mostly one of the failed probes tells it already.
        let said = |reason: &str| {
            report.probes.iter().any(|p| p.reason.as_deref().is_some_and(|r| reason.contains(r)))
        };
        if let Some(reason) = report.reason.as_deref().filter(|reason| !said(reason)) {
            self.labelled("    ", "why", Tone::Plain, reason, Tone::Plain);
        }
        for status in Status::ALL {
            self.probes(report, status);
        }
        let mut label = if report.is_usable() { "misses" } else { "would miss" };
        for missing in &report.missing {
            self.item(label, missing);
            label = "";
        }
    }

    /// The probes of one status; those that failed by their reason.
    fn probes(&mut self, report: &BackendReport, status: Status) {
        let mut groups: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
        for probe in report.probes.iter().filter(|probe| probe.status == status) {
            let reason = probe.reason.as_deref();
            match groups.iter_mut().find(|group| group.0 == reason) {
                // Two programs on one hook are one place to people.
                Some(group) if group.1.contains(&&*probe.hook) => {}
                Some(group) => group.1.push(&probe.hook),
                None => groups.push((reason, vec![&probe.hook])),
            }
        }
        let (word, tone) = match status {
            Status::Loaded => ("loaded", Tone::Good),
            Status::Failed => ("failed", Tone::Bad),
            Status::NotNeeded => ("not needed", Tone::Plain),
            Status::NotTried => ("not tried", Tone::Plain),
        };
        for (reason, hooks) in groups {
            let mut label = word;
            if let Some(reason) = reason {
                self.labelled("    ", word, tone, &format!("{reason}:"), Tone::Plain);
                label = "";
            }
            self.labelled("    ", label, tone, &hooks.join(" "), Tone::Plain);
        }
    }

    fn sandbox(&mut self, diagnosis: &Diagnosis) {
        self.title("Sandbox");
        let support = &diagnosis.sandbox;
        let seccomp = if support.seccomp {
            "each command makes only the system calls that it needs"
        } else {
            "not in this kernel: commands keep all system calls"
        };
        self.fact("seccomp", support.seccomp, seccomp);
        let landlock = if support.landlock.is_some() {
            "`replay` and `report` open only the recording and what they write"
        } else {
            "not in this kernel: `replay` and `report` can open all files of their user"
        };
        self.fact("Landlock", support.landlock.is_some(), landlock);
        let kept = kept(diagnosis);
        if kept.is_empty() {
            self.line("  ", "`live`, `top` and `record` keep no capability.", Tone::Plain);
            return;
        }
        self.line("  ", "Once they observe, `live`, `top` and `record` keep only:", Tone::Plain);
        for one in kept {
            let name = one.capability.to_string();
            self.entry("", Tone::Plain, 6, &format!("{name:<20} {}", one.reason));
        }
    }

    fn result(&mut self, diagnosis: &Diagnosis) {
        self.title("Result");
        let exactness = |backend: Backend| {
            let is_exact = backend.is_exact();
            let label = if is_exact { "exact: " } else { "" };
            format!("{label}{}", exactness(is_exact))
        };
        match diagnosis.chosen() {
            Some(report) => {
                let name = report.backend.name();
                let text =
                    format!("`port-observer live` uses {name}, {}.", exactness(report.backend));
                self.line("  ", &text, Tone::Good);
            }
            None => self.line("  ", "No backend works here.", Tone::Bad),
        }
        let (fixes, limits) = (fixes(diagnosis), limits(diagnosis));
        if fixes.is_empty() {
            let nothing = "Nothing is to be fixed.";
            let here = "No setting gives more here.";
            self.line("  ", if limits.is_empty() { nothing } else { here }, Tone::Plain);
        }
        if !limits.is_empty() {
            self.title("What rules out an exact backend");
            limits.iter().for_each(|limit| self.entry("-", Tone::Plain, 4, limit));
        }
        if fixes.is_empty() {
            return;
        }
        self.title("What would give more");
        for fix in fixes {
            self.entry("-", Tone::Plain, 4, &fix.problem);
            for (at, command) in fix.commands.iter().enumerate() {
                let or = if at == 0 { "" } else { "or " };
                // Not wrapped: it is there to be copied.
                let _ = writeln!(self.text, "      {or}{command}");
            }
        }
    }

    fn title(&mut self, title: &str) {
        self.text.push('\n');
        self.line("", title, Tone::Title);
    }

    fn fact(&mut self, label: &str, is_good: bool, text: &str) {
        let tone = if is_good { Tone::Plain } else { Tone::Bad };
        self.labelled("  ", label, Tone::Plain, text, tone);
    }

    fn labelled(&mut self, indent: &str, label: &str, label_tone: Tone, text: &str, tone: Tone) {
        let column = COLUMN.saturating_sub(indent.len());
        let (label_style, style) = (self.style(label_tone), self.style(tone));
        let label_style = if label.is_empty() { Style::new() } else { label_style };
        let mut start =
            format!("{indent}{label_style}{label}{label_style:#}{:1$}", "", column - label.len());
        for line in self.wrap(text, COLUMN) {
            let _ = writeln!(self.text, "{start}{style}{line}{style:#}");
            start = " ".repeat(COLUMN);
        }
    }

    /// A sentence of a list, whose first has the label.
    fn item(&mut self, label: &str, text: &str) {
        let mut start = format!("    {label:<0$}- ", COLUMN - 4);
        for line in self.wrap(text, COLUMN + 2) {
            let _ = writeln!(self.text, "{start}{line}");
            start = " ".repeat(COLUMN + 2);
        }
    }

    /// A short word and a text that hangs beside it.
    fn entry(&mut self, word: &str, tone: Tone, column: usize, text: &str) {
        let style = self.style(tone);
        let mut start = format!("  {style}{word}{style:#}{:1$}", "", column - 2 - word.len());
        for line in self.wrap(text, column) {
            let _ = writeln!(self.text, "{start}{line}");
            start = " ".repeat(column);
        }
    }

    fn line(&mut self, indent: &str, text: &str, tone: Tone) {
        let style = self.style(tone);
        for line in self.wrap(text, indent.len()) {
            let _ = writeln!(self.text, "{indent}{style}{line}{style:#}");
        }
    }

    fn wrap(&self, text: &str, indent: usize) -> Vec<String> {
        // Names of functions and options must stay whole.
        let options = Options::new(self.layout.width.saturating_sub(indent).max(20))
            .word_splitter(WordSplitter::NoHyphenation)
            .word_separator(textwrap::WordSeparator::AsciiSpace);
        textwrap::wrap(text, options).into_iter().map(std::borrow::Cow::into_owned).collect()
    }

    fn style(&self, tone: Tone) -> Style {
        match tone {
            _ if !self.layout.color => Style::new(),
            Tone::Plain => Style::new(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Title => Style::new().bold(),
        }
    }
}
