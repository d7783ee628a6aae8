//! YAML as a tree that knows its lines. Made of the events of the parser below serde-saphyr, for what is
//! needed here deserializing takes away: whether a scalar is quoted (`22:22`), and its text as it stands.

use std::{collections::HashMap, rc::Rc};

use granit_parser::{Event, Parser, ScalarStyle};

/// Nodes of one file.
const MOST_NODES: usize = 200_000;
/// How deep mappings are merged (`<<`), and how many entries in all.
const MOST_MERGES: usize = 8;
const MOST_ENTRIES: usize = 20_000;

/// A node. What an alias stands for is shared and not copied, so that aliases of aliases cost nothing.
#[derive(Debug)]
pub struct Node {
    /// The line that it begins in.
    pub line: u32,
    /// What it is.
    pub value: Value,
    /// What Compose does with it where files are merged.
    pub tag: Option<Tag>,
}

/// Tags of Compose (13-merge).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `!reset`: what comes before is taken away.
    Reset,
    /// `!override`: what comes before is replaced.
    Override,
}

impl Tag {
    fn of(tag: Option<&granit_parser::Tag>) -> Option<Self> {
        let tag = tag.filter(|tag| tag.handle() == "!")?;
        match tag.suffix() {
            "reset" => Some(Self::Reset),
            "override" => Some(Self::Override),
            _ => None,
        }
    }
}

/// What a node is.
#[derive(Debug)]
pub enum Value {
    /// A scalar; `is_plain`: without quotes.
    Scalar { text: String, is_plain: bool },
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping, in order.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// An entry of a mapping.
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The line of its key.
    pub line: u32,
    /// Its value.
    pub value: Rc<Node>,
}

impl Node {
    /// The text of a scalar; `None`: it is something else, or null.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, is_plain } => {
                let is_null = *is_plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL");
                (!is_null).then_some(text)
            }
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether there is a value.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar { .. }) && self.text().is_none()
    }

    /// The items of a sequence.
    pub fn items(&self) -> &[Rc<Self>] {
        match &self.value {
            Value::List(items) => items,
            Value::Scalar { .. } | Value::Map(_) => &[],
        }
    }

    /// The entries of a mapping, with those that are merged into it (`<<`).
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut budget = MOST_ENTRIES;
        self.collect(&mut entries, &mut HashMap::new(), &mut budget, 0);
        entries
    }

    fn collect(
        &self,
        entries: &mut Vec<Entry>,
        known: &mut HashMap<String, ()>,
        budget: &mut usize,
        depth: usize,
    ) {
        let Value::Map(all) = &self.value else { return };
        let is_merge = |key: &Node| matches!(&key.value, Value::Scalar { text, is_plain: true } if text == "<<");
        for (key, value) in all.iter().filter(|(key, _)| !is_merge(key)) {
            let Value::Scalar { text, .. } = &key.value else { continue };
            let Some(left) = budget.checked_sub(1) else { return };
            *budget = left;
            if known.insert(text.clone(), ()).is_none() {
                entries.push(Entry { key: text.clone(), line: key.line, value: value.clone() });
            }
        }
        if depth == MOST_MERGES {
            return;
        }
        for (_, merged) in all.iter().filter(|(key, _)| is_merge(key)) {
            let several = merged.items().iter().map(|one| &**one);
            for one in [&**merged].into_iter().chain(several) {
                let Some(left) = budget.checked_sub(1) else { return };
                *budget = left;
                one.collect(entries, known, budget, depth + 1);
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Rc<Self>> {
        self.entries().into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
    }
}

/// A collection that is not at its end.
struct Open {
    line: u32,
    anchor: usize,
    is_map: bool,
    tag: Option<Tag>,
    nodes: Vec<Rc<Node>>,
}

/// Reads all documents of a text.
///
/// # Errors
/// The line, and why it can't be read.
pub fn read(text: &str) -> Result<Vec<Rc<Node>>, (u32, String)> {
    let mut documents = Vec::new();
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut count = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| (number(error.marker().line()), error.info()))?;
        let line = number(span.start.line());
        let (node, anchor) = match event {
            Event::SequenceStart(_, anchor, tag) => {
                let tag = Tag::of(tag.as_deref());
                open.push(Open { line, anchor, is_map: false, tag, nodes: Vec::new() });
                continue;
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = Tag::of(tag.as_deref());
                open.push(Open { line, anchor, is_map: true, tag, nodes: Vec::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, anchor, is_map, tag, nodes }) = open.pop() else { continue };
                let value = match is_map {
                    false => Value::List(nodes),
                    true => Value::Map(pairs(nodes)),
                };
                (Rc::new(Node { line, value, tag }), anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = Tag::of(tag.as_deref());
                let is_plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text: text.into_owned(), is_plain };
                (Rc::new(Node { line, value, tag }), anchor)
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(node) => (node.clone(), 0),
                None => return Err((line, "an alias stands for what it is within".to_owned())),
            },
            Event::DocumentEnd => {
                anchors.clear();
                continue;
            }
            _ => continue,
        };
        count += 1;
        if count > MOST_NODES {
            return Err((line, format!("it has more than {MOST_NODES} nodes")));
        }
        if anchor != 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => documents.push(node),
        }
    }
    Ok(documents)
}

fn pairs(nodes: Vec<Rc<Node>>) -> Vec<(Rc<Node>, Rc<Node>)> {
    let mut pairs = Vec::with_capacity(nodes.len() / 2);
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_quotes_and_merged_mappings_count_last() {
        let text = "x: &a\n  one: 1\n  two: \"2\"\ny:\n  <<: *a\n  two: 3\nz: [~, '', *a]\n";
        let documents = read(text).unwrap();
        let y: Vec<(String, u32, String)> = documents[0]
            .get("y")
            .unwrap()
            .entries()
            .into_iter()
            .map(|one| (one.key, one.line, one.value.text().unwrap().to_owned()))
            .collect();
        assert_eq!(y, [("two".into(), 6, "3".into()), ("one".into(), 2, "1".into())]);
        let z = documents[0].get("z").unwrap();
        assert!(z.items()[0].is_null() && !z.items()[1].is_null());
        assert_eq!(z.items()[2].get("two").unwrap().line, 3);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, line) in
            [("a: b\nc: [1\n", 3), ("a: *b\n", 1), ("a: &a [*a]\n", 1), ("a:\n\t- b\n", 2)]
        {
            let error = read(text).unwrap_err();
            assert!(error.0.abs_diff(line) <= 1, "{text}: {error:?}");
        }
    }

    #[test]
    fn neither_aliases_of_aliases_nor_depth_nor_merges_are_without_end() {
        let mut text = "a0: &a0 [x, x]\n".to_owned();
        for n in 1..100 {
            text.push_str(&format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
        }
        assert_eq!(read(&text).unwrap().len(), 1);
        let mut text = "a0: &a0 {k: v}\n".to_owned();
        for n in 1..100 {
            text.push_str(&format!(
                "a{n}: &a{n}\n  <<: [*a{0}, *a{0}, *a{0}, *a{0}]\n  k{n}: v\n",
                n - 1
            ));
        }
        let last = read(&text).unwrap()[0].get("a99").unwrap();
        assert!(last.entries().len() <= MOST_MERGES + 1);
        for deep in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
            assert!(read(&deep).is_err());
        }
        assert!(read(&"- a\n".repeat(MOST_NODES + 1)).is_err());
    }
}
