//! References to variables in values, by the rules of the Compose specification (12-interpolation) and of
//! its implementation: `$V`, `${V}`, `${V:-d}`, `${V-d}`, `${V:?e}`, `${V?e}`, `${V:+r}`, `${V+r}`,
//! nested; `$$` is a dollar sign.

/// How deep defaults may be nested.
const MOST_NESTED: usize = 32;
/// How long a value may become, in bytes.
pub const MOST_BYTES: usize = 64 << 10;
/// How many variables that are not set are named.
const MOST_UNSET: usize = 16;

/// A value with its references resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The value.
    pub text: String,
    /// Variables that are not set and have no default: nothing stands for them.
    pub unset: Vec<String>,
}

/// Where values come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Resolves the references in a value.
///
/// # Errors
/// When a reference makes no sense, a variable that must be set is not, or the value gets too long; as the
/// end of a sentence.
pub fn resolve(text: &str, lookup: Lookup<'_>) -> Result<Resolved, String> {
    let mut resolved = Resolved::default();
    resolve_into(&mut resolved, text, lookup, 0)?;
    Ok(resolved)
}

fn resolve_into(
    out: &mut Resolved,
    text: &str,
    lookup: Lookup<'_>,
    depth: usize,
) -> Result<(), String> {
    if depth > MOST_NESTED {
        return Err(format!("defaults are nested more than {MOST_NESTED} deep"));
    }
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        push(out, &rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            push(out, "$")?;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or("a reference begins with ${ and has no end")?;
            braced(out, &after[..end], lookup, depth)?;
            rest = &after[end + 1..];
        } else {
            let end = name_length(rest);
            if end == 0 {
                return Err("a $ is neither a reference nor written as $$".to_owned());
            }
            let name = &rest[..end];
            match lookup(name) {
                Some(value) => push(out, &value)?,
                None => unset(out, name),
            }
            rest = &rest[end..];
        }
    }
    push(out, rest)
}

/// What is within `${` and `}`.
fn braced(out: &mut Resolved, text: &str, lookup: Lookup<'_>, depth: usize) -> Result<(), String> {
    let end = name_length(text);
    let (name, operator) = text.split_at(end);
    if name.is_empty() {
        return Err("${ is not followed by the name of a variable".to_owned());
    }
    let value = lookup(name);
    // With a colon, what is empty counts as not set.
    let (value, operator) = match operator.strip_prefix(':') {
        Some(operator) => (value.filter(|value| !value.is_empty()), operator),
        None => (value, operator),
    };
    let has_colon = text.as_bytes().get(end) == Some(&b':');
    let mut characters = operator.chars();
    match (characters.next(), value) {
        (None, _) if has_colon => Err(format!("${{{name}: is followed by nothing")),
        (None, Some(value)) | (Some('-' | '?'), Some(value)) => push(out, &value),
        (None, None) => {
            unset(out, name);
            Ok(())
        }
        (Some('-'), None) | (Some('+'), Some(_)) => {
            resolve_into(out, characters.as_str(), lookup, depth + 1)
        }
        (Some('+'), None) => Ok(()),
        (Some('?'), None) => Err(format!("{name} must be set")),
        (Some(_), _) => Err(format!("${{{name}…}}: the name is followed by what is no operator")),
    }
}

/// Where the brace is that closes one that is open.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// How many bytes of the beginning are a name.
fn name_length(text: &str) -> usize {
    let is_of_name = |(at, byte): &(usize, u8)| {
        byte.is_ascii_alphabetic() || *byte == b'_' || (*at > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(is_of_name).count()
}

fn push(out: &mut Resolved, text: &str) -> Result<(), String> {
    if out.text.len() + text.len() > MOST_BYTES {
        return Err(format!("the value is longer than {} KiB", MOST_BYTES >> 10));
    }
    out.text.push_str(text);
    Ok(())
}

fn unset(out: &mut Resolved, name: &str) {
    if out.unset.len() < MOST_UNSET && !out.unset.iter().any(|known| known == name) {
        out.unset.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("$SET".to_owned()),
            _ => None,
        }
    }

    fn text(template: &str) -> String {
        resolve(template, &lookup).unwrap().text
    }

    /// The examples of the specification, with one variable that is set, one that is empty, and one that
    /// is not set.
    #[test]
    fn references_are_resolved_as_the_specification_says() {
        for (template, expected) in [
            ("$SET", "value"),
            ("${SET}", "value"),
            ("a$SET-b", "avalue-b"),
            ("${SET:-default}", "value"),
            ("${EMPTY:-default}", "default"),
            ("${UNSET:-default}", "default"),
            ("${SET-default}", "value"),
            ("${EMPTY-default}", ""),
            ("${UNSET-default}", "default"),
            ("${SET:?error}", "value"),
            ("${SET?error}", "value"),
            ("${EMPTY?error}", ""),
            ("${SET:+other}", "other"),
            ("${EMPTY:+other}", ""),
            ("${UNSET:+other}", ""),
            ("${SET+other}", "other"),
            ("${EMPTY+other}", "other"),
            ("${UNSET+other}", ""),
            ("${UNSET:-${SET}}", "value"),
            ("${UNSET:-${EMPTY:-a${SET}b}}", "avalueb"),
            ("${UNSET-$SET}", "value"),
            ("${UNSET:-}", ""),
            ("${UNSET:-a:b-c?d}", "a:b-c?d"),
            ("${UNSET:-{\"a\": 1}}", "{\"a\": 1}"),
            ("$$SET", "$SET"),
            ("$$$SET", "$value"),
            // What comes out is not read again.
            ("$DOLLAR", "$SET"),
            ("${DOLLAR}", "$SET"),
            ("no reference", "no reference"),
            ("${UNSET:-19000}-${UNSET2:-19499}", "19000-19499"),
        ] {
            assert_eq!(text(template), expected, "{template}");
        }
    }

    #[test]
    fn what_is_not_set_is_named_once_and_nothing_stands_for_it() {
        let resolved = resolve("a${ONE}b$TWO$ONE", &lookup).unwrap();
        assert_eq!(resolved.text, "ab");
        assert_eq!(resolved.unset, ["ONE", "TWO"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (template, reason) in [
            ("${", "no end"),
            ("${SET", "no end"),
            ("${}", "name of a variable"),
            ("${1}", "name of a variable"),
            ("${SET SET}", "no operator"),
            ("${SET!x}", "no operator"),
            ("${SET:x}", "no operator"),
            ("${SET:}", "followed by nothing"),
            ("$", "neither"),
            ("100$ ", "neither"),
            ("$1", "neither"),
            ("${UNSET:?}", "UNSET must be set"),
            ("${UNSET?why}", "UNSET must be set"),
            ("${EMPTY:?why}", "EMPTY must be set"),
        ] {
            let error = resolve(template, &lookup).unwrap_err();
            assert!(error.contains(reason), "{template}: {error}");
        }
    }

    #[test]
    fn neither_depth_nor_length_is_without_end() {
        let deep = format!("{}x{}", "${A:-".repeat(100_000), "}".repeat(100_000));
        assert!(resolve(&deep, &lookup).unwrap_err().contains("deep"));
        let long = |_: &str| Some("x".repeat(1_000));
        assert!(resolve(&"$A".repeat(1_000), &long).unwrap_err().contains("longer"));
    }
}
