//! Files of variables (`.env`), by the rules of the Compose specification (12-interpolation, "`.env`
//! file") and of its implementation.

use std::{collections::HashMap, sync::Arc};

use super::{
    interpolation,
    problem::{Code, Place, Problem, Problems},
    variables,
};

/// Variables of one file.
const MOST_VARIABLES: usize = 10_000;
/// What all their values take together, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// A variable as it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; `None`: it is only named.
    pub value: Option<String>,
    /// The line that it begins in.
    pub line: u32,
}

/// The variables of a file, in order.
#[derive(Clone, Debug)]
pub struct Variables {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// What it sets; a name may be there more than once: the last counts.
    pub list: Vec<Variable>,
}

impl Variables {
    /// Reads a file. `shell` is asked first for variables that values refer to, then what comes before in
    /// the file. Only what is wrong with variables that declare ranges is a problem, and what can't be read
    /// at all.
    pub fn read(
        file: &Arc<str>,
        text: &str,
        shell: &dyn Fn(&str) -> Option<String>,
        problems: &mut Problems,
    ) -> Self {
        let mut reader = Reader { text: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
        let mut list: Vec<Variable> = Vec::new();
        let mut known: HashMap<String, String> = HashMap::new();
        let mut bytes = 0;
        while let Some(next) = reader.next() {
            let Assignment { name, value, line } = match next {
                Ok(assignment) => assignment,
                Err((line, reason)) => {
                    let problem = Problem::error(Code::InvalidFile, reason, Place::new(file, line));
                    problems.push(problem.fix("write NAME=VALUE, or # before a comment"));
                    continue;
                }
            };
            let value = value.and_then(|written| {
                let place = Place::new(file, line);
                let lookup = |name: &str| shell(name).or_else(|| known.get(name).cloned());
                let problems = variables::is_read(&name).then_some(&mut *problems);
                written.resolve(&name, &lookup, place, problems)
            });
            bytes += name.len() + value.as_ref().map_or(0, String::len);
            if list.len() == MOST_VARIABLES || bytes > MOST_BYTES {
                let message = "more variables than are read: those from here on are left out";
                problems.push(Problem::error(Code::TooMany, message, Place::new(file, line)));
                break;
            }
            if let Some(value) = &value {
                known.insert(name.clone(), value.clone());
            }
            list.push(Variable { name, value, line });
        }
        Self { file: file.clone(), list }
    }

    /// Reads a file with `format: raw`: a value is what stands after `=`.
    pub fn raw(file: &Arc<str>, text: &str) -> Self {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with('#'));
        let list = lines.filter_map(|(line, text)| {
            let (name, value) = text.split_once('=')?;
            Some(Variable { name: name.trim().to_owned(), value: Some(value.to_owned()), line })
        });
        Self { file: file.clone(), list: list.take(MOST_VARIABLES).collect() }
    }
}

struct Assignment {
    name: String,
    value: Option<Written>,
    line: u32,
}

/// A value as it is written.
enum Written {
    /// In single quotes.
    Literal(String),
    /// References are resolved.
    Template(String),
}

impl Written {
    /// `None`: it has no value, for it makes no sense. `problems`: where that is said.
    fn resolve(
        self,
        name: &str,
        lookup: &dyn Fn(&str) -> Option<String>,
        place: Place,
        problems: Option<&mut Problems>,
    ) -> Option<String> {
        let template = match self {
            Self::Literal(text) => return Some(text),
            Self::Template(text) => text,
        };
        let resolved = interpolation::resolve(&template, lookup);
        if let Some(problems) = problems {
            say(name, &resolved, &place, problems);
        }
        resolved.ok().map(|resolved| resolved.text)
    }
}

/// Says what is wrong with a value: of `what`.
pub(super) fn say(
    what: &str,
    resolved: &Result<interpolation::Resolved, String>,
    place: &Place,
    problems: &mut Problems,
) {
    match resolved {
        Ok(resolved) => {
            for unset in &resolved.unset {
                let message =
                    format!("{what}: the variable {unset} is not set: nothing stands for it");
                let problem = Problem::warning(Code::Interpolation, message, place.clone());
                problems.push(problem.fix(format!("set {unset}, or write ${{{unset}:-DEFAULT}}")));
            }
        }
        Err(reason) => {
            let message = format!("{what}: {reason}");
            let problem = Problem::error(Code::Interpolation, message, place.clone());
            problems
                .push(problem.fix("write references as ${NAME} or ${NAME:-DEFAULT}, and $ as $$"));
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    line: u32,
}

impl<'a> Reader<'a> {
    /// The next assignment, or the line that is none and why.
    fn next(&mut self) -> Option<Result<Assignment, (u32, String)>> {
        loop {
            if self.text.is_empty() {
                return None;
            }
            let begin = self.text.trim_start_matches([' ', '\t', '\r']);
            if begin.is_empty() || begin.starts_with('#') || begin.starts_with('\n') {
                self.rest_of_line();
                continue;
            }
            self.text = begin;
            let line = self.line;
            return Some(self.assignment(line).map_err(|reason| (line, reason)));
        }
    }

    fn assignment(&mut self, line: u32) -> Result<Assignment, String> {
        let first = self.text.split('\n').next().unwrap_or_default();
        let end = first.find(['=', ':']).unwrap_or(first.len());
        let name = first[..end].trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        let is_of_name = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
        if name.is_empty() || !name.chars().all(is_of_name) {
            self.rest_of_line();
            return Err("a line is neither NAME=VALUE nor a comment".to_owned());
        }
        let name = name.to_owned();
        if end == first.len() {
            self.rest_of_line();
            return Ok(Assignment { name, value: None, line });
        }
        self.text = self.text[end + 1..].trim_start_matches([' ', '\t']);
        let value = match self.text.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote, &name)?,
            _ => Written::Template(unquoted(self.rest_of_line()).to_owned()),
        };
        Ok(Assignment { name, value: Some(value), line })
    }

    /// A value in quotes, which may go on over lines.
    fn quoted(&mut self, quote: char, name: &str) -> Result<Written, String> {
        let body = &self.text[1..];
        let mut text = String::new();
        let mut characters = body.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => match characters.next() {
                    Some((_, next)) if quote == '"' => match next {
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        't' => text.push('\t'),
                        '\\' | '"' => text.push(next),
                        // As a reference must be written that is none.
                        '$' => text.push_str("$$"),
                        other => text.extend(['\\', other]),
                    },
                    Some((_, '\'')) => text.push('\''),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => text.push('\\'),
                },
                c if c == quote => {
                    let skipped = &body[..at];
                    self.line = self.line.saturating_add(lines(skipped));
                    self.text = &body[at + 1..];
                    self.rest_of_line();
                    return Ok(match quote {
                        '\'' => Written::Literal(text),
                        _ => Written::Template(text),
                    });
                }
                c => text.push(c),
            }
        }
        self.rest_of_line();
        Err(format!("{name}: a quote is opened and not closed"))
    }

    /// The rest of this line, after which the next begins.
    fn rest_of_line(&mut self) -> &'a str {
        let (line, rest) = match self.text.split_once('\n') {
            Some((line, rest)) => (line, rest),
            None => (self.text, ""),
        };
        self.text = rest;
        self.line = self.line.saturating_add(1);
        line
    }
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

/// A value without quotes ends where a comment begins, which a space goes before.
fn unquoted(line: &str) -> &str {
    let is_comment = |at: &usize| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(|before| before == ' ' || before == '\t')
    };
    let end = line.match_indices('#').map(|(at, _)| at).find(is_comment);
    line[..end.unwrap_or(line.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(String, Option<String>, u32)>, Problems) {
        let mut problems = Problems::default();
        let shell = |name: &str| (name == "SHELL_VAR").then(|| "of the shell".to_owned());
        let variables = Variables::read(&".env".into(), text, &shell, &mut problems);
        let list = variables.list.into_iter().map(|one| (one.name, one.value, one.line)).collect();
        (list, problems)
    }

    fn value(text: &str) -> Option<String> {
        read(text).0.pop().and_then(|(_, value, _)| value)
    }

    /// The examples of the specification's table.
    #[test]
    fn values_are_read_as_the_specification_says() {
        for (text, expected) in [
            ("VAR=VAL", "VAL"),
            ("VAR=", ""),
            ("VAR=\"VAL\"", "VAL"),
            ("VAR='VAL'", "VAL"),
            ("VAR=VAL # comment", "VAL"),
            ("VAR=VAL# not a comment", "VAL# not a comment"),
            ("VAR=\"VAL # not a comment\"", "VAL # not a comment"),
            ("VAR=\"VAL\" # comment", "VAL"),
            ("VAR='$OTHER'", "$OTHER"),
            ("VAR='${OTHER}'", "${OTHER}"),
            ("VAR='Let\\'s go!'", "Let's go!"),
            ("VAR=\"{\\\"hello\\\": \\\"json\\\"}\"", "{\"hello\": \"json\"}"),
            ("VAR=\"some\\tvalue\"", "some\tvalue"),
            ("VAR='some\\tvalue'", "some\\tvalue"),
            ("VAR=some\\tvalue", "some\\tvalue"),
            ("VAR=\"a\\nb\\\\n\"", "a\nb\\n"),
            ("KEY='SOME\nVALUE'", "SOME\nVALUE"),
            ("VAR=  19000-19499  # first", "19000-19499"),
            ("export VAR=x", "x"),
            ("VAR = x", "x"),
            ("VAR: x", "x"),
            ("\u{feff}VAR=x\r\n", "x"),
            ("VAR=#x", ""),
            ("A=1\nVAR=${A}-${B:-2}", "1-2"),
            ("VAR=$SHELL_VAR", "of the shell"),
            ("SHELL_VAR=x\nVAR=$SHELL_VAR", "of the shell"),
            ("A=1\nVAR=\"\\${A}\"", "${A}"),
        ] {
            assert_eq!(value(text).as_deref(), Some(expected), "{text:?}");
        }
        assert_eq!(value("VAR"), None);
    }

    #[test]
    fn each_variable_has_the_line_that_it_begins_in() {
        let (list, problems) = read("# c\n\nA=1\nB='x\ny'\n  C=2\nD\nA=3");
        let lines: Vec<(&str, u32)> = list.iter().map(|(name, _, line)| (&**name, *line)).collect();
        assert_eq!(lines, [("A", 3), ("B", 4), ("C", 6), ("D", 7), ("A", 8)]);
        assert_eq!(problems.sorted().len(), 0);
    }

    #[test]
    fn what_can_not_be_read_is_named_with_its_line_and_the_rest_is_read() {
        let (list, problems) = read("A=1\n???\nB='open\nC=3\n");
        let found: Vec<u32> =
            problems.sorted().iter().filter_map(|p| p.place.as_ref()?.line).collect();
        assert_eq!(found, [2, 3]);
        let names: Vec<&str> = list.iter().map(|(name, _, _)| &**name).collect();
        assert_eq!(names, ["A", "C"]);
    }

    #[test]
    fn only_what_declares_ranges_is_complained_about() {
        let (_, problems) = read("PASSWORD=pa$$word$x\nPORT_RANGE=$LOW-20\n");
        let messages: Vec<&str> = problems.sorted().iter().map(|one| &*one.message).collect();
        let expected = "PORT_RANGE: the variable LOW is not set: nothing stands for it";
        assert_eq!(messages, [expected]);
    }

    #[test]
    fn values_do_not_grow_without_end() {
        let mut text = "A0=xxxxxxxxxxxxxxxx\n".to_owned();
        for n in 1..200 {
            text.push_str(&format!("A{n}=$A{0}$A{0}$A{0}$A{0}\n", n - 1));
        }
        let (list, _) = read(&text);
        let bytes: usize =
            list.iter().filter_map(|(_, value, _)| Some(value.as_ref()?.len())).sum();
        assert!(bytes <= MOST_BYTES, "{bytes}");
    }
}
