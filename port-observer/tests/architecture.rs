//! The architecture, read from the sources: which top-level module of the program may import which,
//! and how long a file may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each module, and what it may import. A module imports only modules that come before it, so that
/// there can be no cycle.
const MAY_IMPORT: &[(&str, &str)] = &[
    // Pure data, and small tools that know nothing of the program.
    ("cache", ""),
    ("child", ""),
    ("document", ""),
    ("own_file", ""),
    ("ports", ""),
    ("event", "ports"),
    ("decode", "event"),
    // The kernel, its probes, and what a process is.
    ("kernel", "event ports"),
    ("probe", "event kernel"),
    ("process", "cache event kernel"),
    // What the program says, and in which words.
    ("report", "event ports process"),
    ("words", "event process report"),
    ("queued_writer", ""),
    ("logging", "queued_writer words"),
    ("notice", "logging words"),
    ("sandbox", "kernel logging probe"),
    // How another run of it is asked.
    ("ask", ""),
    // One way: a source yields events, the ledger turns them into reports, sinks write these.
    ("source", "decode event kernel probe process report"),
    ("ledger", "event ports process report"),
    ("sink", "cache event ports process queued_writer report words"),
    ("recording", "cache event kernel ledger notice own_file ports probe process report"),
    // What single commands do.
    ("filter", "event process report"),
    ("forensics", "document event ledger ports process report words"),
    ("screen", "event forensics ledger logging ports probe process queued_writer report words"),
    ("metrics", "event kernel ledger process report words"),
    ("check", "event kernel ledger own_file ports process report source words"),
    ("pools", "event ledger ports process report words"),
    ("leases", "kernel own_file pools words"),
    ("trial", "kernel pools words"),
    ("stress", "document event kernel words"),
    ("serve", "check event filter kernel leases metrics own_file ports recording report sink"),
    ("doctor", "probe sandbox words"),
    ("why", "event ledger ports process report sink words"),
    // From the command line to the commands, which alone know all of the above.
    (
        "cli",
        "ask check child event filter leases ports probe recording report screen serve stress trial why",
    ),
    (
        "config",
        "ask check child cli event filter kernel leases ledger probe recording report screen serve sink source stress \
         why",
    ),
    (
        "pipeline",
        "config event filter kernel ledger pools process queued_writer recording report source",
    ),
    (
        "command",
        "ask check child cli config doctor event filter forensics kernel leases ledger metrics notice pipeline \
         pools ports probe process queued_writer recording report sandbox screen serve sink source stress trial why \
         words",
    ),
    ("main", "cli command config logging notice"),
];

/// Imports that the table forbids and that are still there, each with its reason. One that is gone has
/// to go from here too.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// The most lines of a source file.
const LINES: usize = 400;

/// Files that are longer, each with its reason. One that is not any more has to go from here too.
const LONG: &[(&str, &str)] = &[];

/// A path in a source that begins at the root of the program.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    to: String,
    line: usize,
}

/// What a source imports, and which modules it declares in other files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    imports: Vec<Import>,
    modules: Vec<String>,
}

impl Found {
    /// Reads a source; `depth`: how many modules it is below the root. What is compiled for tests alone
    /// is left out.
    fn of(source: &str, depth: usize) -> Self {
        let mut found = Self::default();
        let tokens: TokenStream = source.parse().expect("Rust");
        found.read(tokens, depth);
        found
    }

    fn read(&mut self, tokens: TokenStream, depth: usize) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match rest {
                [hash, TokenTree::Group(attribute), ..]
                    if is(hash, "#") && is_of_tests(attribute.stream()) =>
                {
                    item_length(rest)
                }
                [word, _, TokenTree::Group(body), ..]
                    if is(word, "mod") && body.delimiter() == Delimiter::Brace =>
                {
                    self.read(body.stream(), depth + 1);
                    3
                }
                [word, name, end, ..] if is(word, "mod") && is(end, ";") => {
                    self.modules.push(name.to_string());
                    3
                }
                [TokenTree::Group(group), ..] => {
                    self.read(group.stream(), depth);
                    1
                }
                _ => match path_start(rest, depth) {
                    None => 1,
                    Some((length, 0)) => {
                        self.targets(&rest[length..]);
                        length
                    }
                    Some((length, above)) => {
                        if let Some(TokenTree::Group(group)) = rest.get(length) {
                            self.read(group.stream(), above);
                            length + 1
                        } else {
                            length
                        }
                    }
                },
            };
        }
    }

    /// What comes after `crate::`: a name, or several in braces.
    fn targets(&mut self, tokens: &[TokenTree]) {
        let mut push = |name: &TokenTree| {
            if let TokenTree::Ident(name) = name {
                let line = name.span().start().line;
                self.imports.push(Import { to: name.to_string(), line });
            }
        };
        match tokens.first() {
            Some(TokenTree::Group(group)) => {
                let names: Vec<TokenTree> = group.stream().into_iter().collect();
                names.split(|token| is(token, ",")).filter_map(<[_]>::first).for_each(push);
            }
            Some(name) => push(name),
            None => {}
        }
    }
}

fn is(token: &TokenTree, text: &str) -> bool {
    !matches!(token, TokenTree::Group(_)) && token.to_string() == text
}

/// Whether an attribute is `cfg(test)`.
fn is_of_tests(attribute: TokenStream) -> bool {
    attribute.to_string().replace(' ', "") == "cfg(test)"
}

/// How many tokens an item has, with its attributes.
fn item_length(tokens: &[TokenTree]) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is(token, ";"),
    };
    tokens.iter().position(is_end).map_or(tokens.len(), |end| end + 1)
}

/// How many tokens a path begins with that lead upwards, to `crate::` or by `super::`, and how many
/// modules below the root it is then.
fn path_start(tokens: &[TokenTree], depth: usize) -> Option<(usize, usize)> {
    const STEP: usize = 3;
    let is_step = |tokens: &[TokenTree], word: &str| matches!(tokens, [name, one, two] if is(name, word) && is(one, ":") && is(two, ":"));
    let first = tokens.get(..STEP)?;
    if is_step(first, "crate") || is_step(first, "port_observer") {
        return Some((STEP, 0));
    }
    let steps = tokens.chunks(STEP).take_while(|step| is_step(step, "super")).count();
    (steps > 0).then_some((steps * STEP, depth.saturating_sub(steps)))
}

/// All imports of the program, by top-level module: to which, and where.
fn imports() -> BTreeMap<String, Vec<(String, String)>> {
    let root = sources();
    let mut all = BTreeMap::new();
    read_file(&root.join("main.rs"), &root.join("main"), &["main".to_owned()], &mut all);
    read_file(&root.join("lib.rs"), &root, &[], &mut all);
    all
}

/// Reads a file, and those of the modules that it declares, which are in `directory`.
fn read_file(
    file: &Path,
    directory: &Path,
    module: &[String],
    all: &mut BTreeMap<String, Vec<(String, String)>>,
) {
    let source = fs::read_to_string(file).expect("a source");
    let found = Found::of(&source, module.len());
    if let Some(from) = module.first() {
        let shown = file.strip_prefix(sources()).expect("below the sources").display();
        let imports = all.entry(from.clone()).or_default();
        let others = found.imports.into_iter().filter(|import| import.to != *from);
        imports.extend(others.map(|import| (import.to, format!("src/{shown}:{}", import.line))));
    }
    for name in found.modules {
        let directory = directory.join(&name);
        let files = [directory.with_extension("rs"), directory.join("mod.rs")];
        let file = files.iter().find(|file| file.exists()).expect("the file of a module");
        let module: Vec<String> = module.iter().cloned().chain([name]).collect();
        read_file(file, &directory, &module, all);
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What is wrong with the imports, a line each.
fn violations(
    imports: &BTreeMap<String, Vec<(String, String)>>,
    table: &[(&str, &str)],
    exceptions: &[(&str, &str, &str)],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> =
        exceptions.iter().map(|(from, to, _)| (*from, *to)).collect();
    for (from, imported) in imports {
        let Some((_, allowed)) = table.iter().find(|(module, _)| module == from) else {
            wrong.push(format!("the module {from} is not in the table"));
            continue;
        };
        for (to, place) in imported {
            let is_excepted = exceptions.iter().any(|(a, b, _)| (a, b) == (&&**from, &&**to));
            if is_excepted {
                unused.remove(&(&**from, &**to));
            } else if !allowed.split(' ').any(|module| module == to) {
                wrong.push(format!("{place}: {from} must not import {to}"));
            }
        }
    }
    let gone = unused.into_iter();
    wrong.extend(gone.map(|(from, to)| format!("the exception {from} -> {to} is not needed")));
    wrong
}

#[test]
fn each_module_imports_only_what_it_may() {
    let wrong = violations(&imports(), MAY_IMPORT, EXCEPTIONS);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn there_is_no_cycle_of_modules() {
    for (at, (module, allowed)) in MAY_IMPORT.iter().enumerate() {
        for to in allowed.split_whitespace() {
            let before = MAY_IMPORT[..at].iter().any(|(earlier, _)| *earlier == to);
            assert!(before, "{module} imports {to}, which does not come before it");
        }
    }
}

#[test]
fn no_source_file_is_too_long() {
    let workspace = sources().join("../..").canonicalize().expect("the workspace");
    let mut wrong = Vec::new();
    let mut directories = vec![workspace.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_left_out = name.starts_with('.') || name == "target" || path.is_symlink();
            if is_left_out {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&path).expect("a source").lines().count();
                let shown = path.strip_prefix(&workspace).unwrap_or(&path).display().to_string();
                let is_excepted = LONG.iter().any(|(file, _)| *file == shown);
                if is_excepted != (lines > LINES) {
                    wrong.push(format!("{shown} has {lines} lines, of {LINES} at most"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A module `sink::table` with all ways of importing.
const SAMPLE: &str = r##"
    //! crate::comment::of_the_module
    use std::io;
    use crate::{event::{Event, self}, report, words::{figures}};
    use super::{super::config::Format, Sink};
    use super::super::command;

    mod inner {
        use super::super::super::cli;
        fn f() -> crate::probe::Backend { super::super::super::sibling() }
    }
    mod outer;

    /// crate::comment::of_an_item
    fn g() { format!("crate::text {}", crate::kernel::now()); }

    #[cfg(test)]
    use crate::only_in_tests;

    #[cfg(test)]
    mod tests;
    #[cfg(test)]
    #[expect(unused, reason = "a sample")]
    mod more_tests { use crate::forensics; }

    pub(crate) struct Last(crate::ledger::Ledger);
"##;

#[test]
fn imports_are_found_in_whatever_way_they_are_written() {
    let found = Found::of(SAMPLE, 2);
    let to: Vec<&str> = found.imports.iter().map(|import| &*import.to).collect();
    let expected = [
        "event", "report", "words", "config", "command", "cli", "probe", "sibling", "kernel",
        "ledger",
    ];
    assert_eq!(to, expected);
    let lines: Vec<usize> = found.imports.iter().map(|import| import.line).collect();
    assert_eq!(lines, [4, 4, 4, 5, 6, 9, 10, 10, 15, 26]);
    assert_eq!(found.modules, ["outer"]);
}

#[test]
fn a_forbidden_import_is_named_with_its_place_and_an_exception_that_is_not_needed_too() {
    let import = |to: &str, line: u32| (to.to_owned(), format!("src/sink/a.rs:{line}"));
    let imports = BTreeMap::from([
        ("sink".to_owned(), vec![import("report", 1), import("config", 2), import("cli", 3)]),
        ("new".to_owned(), Vec::new()),
    ]);
    let exceptions = [("sink", "cli", "for now"), ("sink", "command", "gone")];
    assert_eq!(
        violations(&imports, &[("sink", "report words")], &exceptions),
        [
            "the module new is not in the table",
            "src/sink/a.rs:2: sink must not import config",
            "the exception sink -> command is not needed",
        ]
    );
}
