//! Whether a file has the schema of a recording, and nothing beside it that a program would run.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use rusqlite::Connection;

use super::{MIGRATIONS, TABLES, VERSION, VIEWS};

/// More objects than any version has.
const MANY: i64 = 100;

/// What is in a schema: by type and name, of which table, and its text.
type Objects = BTreeMap<(String, String), (String, Option<String>)>;
/// Name, type and kind of a column: `hidden` of `PRAGMA table_xinfo`, which is 0 of what is stored.
type Column = (String, String, i64);

/// Compares the schema of a file with that of this version, or of a newer one as far as it is known.
/// An object that no version of this program makes is refused: one that changes what a table is, or
/// that is run when it is written or read, can't be told from one that does no harm. Views only have
/// names: nothing reads them.
///
/// # Errors
/// When it is another, or can't be read.
pub(in super::super) fn check(connection: &Connection, version: i32) -> Result<()> {
    let found = objects(connection).context("its schema can't be read")?;
    let own = own(version.min(VERSION))?;
    let (expected, own_views) = (objects(&own)?, own_views()?);
    for (key, (table, sql)) in &found {
        let (kind, name) = key;
        match expected.get(key) {
            _ if kind == "view" && own_views.contains_key(name) => {}
            Some((own_table, own_sql)) if version <= VERSION => {
                if table != own_table || normal(sql.as_deref()) != normal(own_sql.as_deref()) {
                    bail!("its {kind} {name:?} is not as version {version} of the schema has it");
                }
            }
            Some(_) => compare_columns(connection, &own, kind, name)?,
            None if version > VERSION && is_harmless(kind, sql.as_deref()) => {}
            None => bail!(
                "it has the {kind} {name:?}, which no recording has; if you added it, remove it with \
                 `DROP {} \"{name}\"`",
                kind.to_uppercase()
            ),
        }
    }
    let missing = expected.keys().find(|key| !found.contains_key(*key));
    if let Some((kind, name)) = missing {
        bail!("it lacks the {kind} {name:?} of version {version} of the schema");
    }
    Ok(())
}

/// Whether its views are those of the present version.
pub(super) fn has_present_views(connection: &Connection) -> Result<bool> {
    Ok(views(&objects(connection)?) == own_views()?)
}

/// What a newer version may have beside what is known.
fn is_harmless(kind: &str, sql: Option<&str>) -> bool {
    let is_virtual = normal(sql).to_uppercase().starts_with("CREATE VIRTUAL");
    matches!(kind, "table" | "index" | "view") && !is_virtual
}

/// Of a newer version: a known table has the known columns, and stores them.
fn compare_columns(file: &Connection, own: &Connection, kind: &str, name: &str) -> Result<()> {
    if kind != "table" {
        return Ok(());
    }
    let found = columns(file, name)?;
    match columns(own, name)?.iter().find(|column| !found.contains(column)) {
        Some((column, ..)) => bail!("its table {name:?} has no column {column:?} that is known"),
        None => Ok(()),
    }
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    connection.pragma(None, "table_xinfo", table, |row| {
        columns.push((row.get("name")?, row.get("type")?, row.get("hidden")?));
        Ok(())
    })?;
    Ok(columns)
}

/// An empty database with the tables of a version.
fn own(version: i32) -> Result<Connection> {
    let own = Connection::open_in_memory().context("can't make a database in memory")?;
    own.execute_batch(TABLES)?;
    for migration in MIGRATIONS.iter().take(usize::try_from(version - 1).unwrap_or(0)) {
        own.execute_batch(migration)?;
    }
    Ok(own)
}

/// The views of the present version, by name.
fn own_views() -> Result<BTreeMap<String, String>> {
    let own = own(VERSION)?;
    own.execute_batch(VIEWS)?;
    Ok(views(&objects(&own)?))
}

fn views(objects: &Objects) -> BTreeMap<String, String> {
    let views = objects.iter().filter(|((kind, _), _)| kind == "view");
    views.map(|((_, name), (_, sql))| (name.clone(), normal(sql.as_deref()))).collect()
}

fn objects(connection: &Connection) -> Result<Objects> {
    let all = "SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT ?";
    let mut statement = connection.prepare(all)?;
    let mut rows = statement.query([MANY + 1])?;
    let (mut objects, mut count) = (Objects::new(), 0);
    while let Some(row) = rows.next()? {
        let key: (String, String) = (row.get(0)?, row.get(1)?);
        if objects.insert(key, (row.get(2)?, row.get(3)?)).is_some() {
            bail!("its schema has the same name twice");
        }
        count += 1;
        if count > MANY {
            bail!("there are too many tables in it");
        }
    }
    Ok(objects)
}

/// The text without what white space it has: what ALTER TABLE adds has its own.
fn normal(sql: Option<&str>) -> String {
    let mut text = String::new();
    for word in sql.unwrap_or_default().split_ascii_whitespace() {
        let is_apart = |c: char| matches!(c, '(' | ')' | ',');
        if !text.is_empty() && !text.ends_with(is_apart) && !word.starts_with(is_apart) {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}
