//! Entries of `include` (14-include).

use std::{collections::HashMap, io::ErrorKind, path::Path, rc::Rc, sync::Arc};

use super::{
    directory,
    project::{Loader, is_remote, join},
    reader::Layer,
};
use crate::pools::{
    env::Variables,
    interpolation::Lookup,
    problem::{Code, Place},
    variables::Declaration,
    yaml::{Node, Value},
};

/// Entries, and files of one entry.
const MOST_ENTRIES: usize = 100;

/// An entry: files that make a project of their own.
pub(super) struct Include {
    pub(super) paths: Vec<String>,
    /// What paths in them are relative to.
    pub(super) directory: String,
    /// Files of variables; `None`: the one in the directory, if there is one.
    files: Option<Vec<String>>,
    pub(super) place: Place,
}

impl Loader<'_> {
    /// The entries of a file.
    pub(super) fn includes(&mut self, layer: Layer<'_>, node: &Node) -> Vec<Include> {
        let mut found = Vec::new();
        for (number, item) in node.items().iter().enumerate() {
            let place = layer.place(item.line);
            if number == MOST_ENTRIES {
                let message = format!("more than {MOST_ENTRIES} entries: the others are left out");
                self.error(Code::TooMany, message, place, "include fewer files");
                break;
            }
            let mut texts = |key: &str| -> Option<Vec<String>> {
                let node = match &item.value {
                    Value::Scalar { .. } if key == "path" => item.clone(),
                    _ => item.get(key)?,
                };
                let one = std::slice::from_ref(&node);
                let items = if node.items().is_empty() { one } else { node.items() };
                let text = |item: &Rc<Node>| self.scalar(layer, "include", item);
                Some(items.iter().take(MOST_ENTRIES).filter_map(text).collect())
            };
            let (paths, project) = (texts("path"), texts("project_directory"));
            let files = texts("env_file");
            let paths = paths.unwrap_or_default();
            let Some(first) = paths.first() else {
                let fix = "write `- PATH`, or `- path: PATH`";
                self.error(Code::InvalidFile, "an include names no path", place, fix);
                continue;
            };
            if let Some(remote) = paths.iter().find(|path| is_remote(path)) {
                self.unread("include", remote, place);
                continue;
            }
            let in_layer = |path: &String| join(layer.directory, path);
            let directory = match project.as_ref().and_then(|all| all.first()) {
                Some(project) => in_layer(project),
                None => directory(&in_layer(first)),
            };
            let files = files.map(|all| all.iter().map(in_layer).collect());
            let paths = paths.iter().map(in_layer).collect();
            found.push(Include { paths, directory, files, place });
        }
        found
    }

    /// The variables of the files of an entry, a later one before an earlier one.
    pub(super) fn variables_of(
        &mut self,
        include: &Include,
        lookup: Lookup<'_>,
    ) -> HashMap<String, String> {
        let mut set = HashMap::new();
        let beside = [join(&include.directory, ".env")];
        let files = include.files.as_deref().unwrap_or(&beside);
        for path in files.iter().filter(|path| *path != "/dev/null") {
            let text = match (self.outside.read)(Path::new(path)) {
                Ok(text) => text,
                Err(error) => {
                    if error.kind() != ErrorKind::NotFound || include.files.is_some() {
                        let message = format!("the env_file {path} can't be read: {error}");
                        let place = include.place.clone();
                        self.error(Code::InvalidFile, message, place, "name a file that is there");
                    }
                    continue;
                }
            };
            let name: Arc<str> = path.as_str().into();
            let found = Variables::read(&name, &text, lookup, self.problems);
            self.declarations.extend(Declaration::of_file(&found));
            set.extend(found.list.into_iter().filter_map(|one| Some((one.name, one.value?))));
        }
        set
    }
}
