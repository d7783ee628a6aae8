//! Texts out of a recording, bounded: a file may hold any.

use rusqlite::{
    Result, Row,
    types::{FromSqlError, ValueRef},
};
use serde::de::{Deserializer as _, SeqAccess, Visitor};

/// How long a name may be (`TASK_COMM_LEN` is 16), and each other word, in bytes.
pub(super) const NAME: usize = 256;
/// How long a path may be, in bytes: `PATH_MAX`.
pub(super) const PATH: usize = 4_096;
/// How long a list as JSON may be, in bytes. The longest is that of all reserved ports.
const LIST: usize = 512 << 10;
/// How many words of a list are kept, and how many bytes of all of them: a command line's bounds.
const WORDS: usize = 64;
const WORDS_BYTES: usize = 4_096;

/// The text of a column, or its beginning.
pub(super) fn text(row: &Row<'_>, column: usize, longest: usize) -> Result<String> {
    optional(row, column, longest)?
        .ok_or_else(|| wrong(column, FromSqlError::InvalidType))
        .map(ToOwned::to_owned)
}

/// The same of one that may be absent.
pub(super) fn optional<'r>(
    row: &'r Row<'_>,
    column: usize,
    longest: usize,
) -> Result<Option<&'r str>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => {
            let text = value.as_str().map_err(|error| wrong(column, error))?;
            Ok(Some(&text[..text.floor_char_boundary(longest)]))
        }
    }
}

/// A list as JSON; nothing if it is none, or one that no program has written.
pub(super) fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Vec<T>> {
    let text = optional(row, column, usize::MAX)?.unwrap_or_default();
    if text.len() > LIST {
        return Ok(Vec::new());
    }
    Ok(serde_json::from_str(text).unwrap_or_default())
}

/// A list of words as JSON, or its beginning.
pub(super) fn words(row: &Row<'_>, column: usize) -> Result<Vec<String>> {
    Ok(first_words(optional(row, column, usize::MAX)?.unwrap_or_default()))
}

fn first_words(json: &str) -> Vec<String> {
    let mut words = Vec::new();
    // That it is not read to its end is an error, and none that matters.
    let _ = serde_json::Deserializer::from_str(json).deserialize_seq(Words(&mut words));
    words
}

struct Words<'w>(&'w mut Vec<String>);

impl<'de> Visitor<'de> for Words<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of words")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> std::result::Result<(), A::Error> {
        let mut left = WORDS_BYTES;
        while self.0.len() < WORDS && left > 0 {
            let Some(mut word) = words.next_element::<String>()? else { break };
            word.truncate(word.floor_char_boundary(left));
            word.shrink_to_fit();
            left -= word.len();
            self.0.push(word);
        }
        Ok(())
    }
}

fn wrong(column: usize, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_of_words_the_beginning_is_kept() {
        assert_eq!(first_words(r#"["curl","-v"]"#), ["curl", "-v"]);
        assert_eq!(first_words("[]"), [""; 0]);
        assert_eq!(first_words("nothing"), [""; 0]);
        let many = serde_json::to_string(&vec!["a"; 1_000_000]).unwrap();
        assert_eq!(first_words(&many), vec!["a"; WORDS]);
        let long = serde_json::to_string(&["é".repeat(5_000), "more".to_owned()]).unwrap();
        assert_eq!(first_words(&long), ["é".repeat(2_048)]);
        let nested = format!(r#"["a",{}"#, "[".repeat(100_000));
        assert_eq!(first_words(&nested), ["a"]);
    }
}
