//! Rewrites the `?` parameters of JDBC and ODBC to the `$1`, `$2`, … of the engine. It works on tokens, so a `?` in a
//! string, a quoted name or a comment stays as it is, and all other text reaches the engine byte for byte.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use dynamos_proto::status::{Code, ServiceError};

/// A dialect for finding parameters only: it reads strings and comments as widely as the engine's, but knows no
/// operator that begins with `?`.
#[derive(Debug)]
struct ParameterDialect;

impl Dialect for ParameterDialect {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }
}

/// The statement with `$n` parameters. Text that does not even split into tokens is returned unchanged, so that the
/// engine's parser is the one to explain what is wrong with it.
pub(super) fn number_placeholders(sql: &str) -> Result<String, ServiceError> {
    let mut style = None;
    let mut replacements = Vec::new();
    for (start, text) in placeholders(sql) {
        let (found, number) = match text.strip_prefix('?') {
            Some("") => (Style::Positional, (replacements.len() + 1).to_string()),
            Some(number) => (Style::Numbered, number.to_owned()),
            None => (Style::Numbered, text.trim_start_matches('$').to_owned()),
        };
        if *style.get_or_insert(found) != found {
            return Err(ServiceError::new(Code::Syntax, "the statement mixes `?` with numbered parameters")
                .with_hint("use either `?` or `$1`, `$2`, … throughout"));
        }
        if text.starts_with('?') {
            replacements.push(Replacement { start, length: text.chars().count(), text: format!("${number}") });
        }
    }
    Ok(replace(sql, replacements))
}

/// The statement with a cast around each `$n` that has an SQL type in `types`.
pub(super) fn cast_placeholders(sql: &str, types: &BTreeMap<String, String>) -> String {
    let cast = |(start, text): (Location, String)| {
        let name = types.get(&text)?;
        Some(Replacement { start, length: text.chars().count(), text: format!("CAST({text} AS {name})") })
    };
    replace(sql, placeholders(sql).into_iter().filter_map(cast).collect())
}

/// How a statement writes its parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `?`: numbered by order of appearance.
    Positional,
    /// `$1` or `?1`.
    Numbered,
}

/// Text to put in the place of a token.
struct Replacement {
    start: Location,
    /// Characters of the token.
    length: usize,
    text: String,
}

/// The parameters of a statement in order of appearance; none for text that is not made of tokens.
fn placeholders(sql: &str) -> Vec<(Location, String)> {
    let tokens = Tokenizer::new(&ParameterDialect, sql).tokenize_with_location().unwrap_or_default();
    let found = tokens.into_iter().filter_map(|token| match token.token {
        Token::Placeholder(text) => Some((token.span.start, text)),
        _ => None,
    });
    found.collect()
}

/// Makes the replacements, which are in order.
fn replace(sql: &str, replacements: Vec<Replacement>) -> String {
    let mut rewritten = String::with_capacity(sql.len() + replacements.len() * 2);
    let mut pending = replacements.into_iter().peekable();
    let mut here = Location { line: 1, column: 1 };
    let mut skip = 0;
    for ch in sql.chars() {
        if let Some(replacement) = pending.next_if(|replacement| replacement.start == here) {
            rewritten.push_str(&replacement.text);
            skip = replacement.length;
        }
        if skip > 0 {
            skip -= 1;
        } else {
            rewritten.push(ch);
        }
        here = match ch {
            '\n' => Location { line: here.line + 1, column: 1 },
            _ => Location { line: here.line, column: here.column + 1 },
        };
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        assert_eq!(number_placeholders(sql).unwrap(), expected);
    }

    #[test]
    fn numbers_parameters_in_order() {
        check("SELECT ? + ?, a\nFROM t\r\n WHERE é = ?", "SELECT $1 + $2, a\nFROM t\r\n WHERE é = $3");
        check("SELECT ?-1, ?::int, (?)", "SELECT $1-1, $2::int, ($3)");
        check("?", "$1");
    }

    #[test]
    fn leaves_strings_names_and_comments_alone() {
        for sql in [
            "SELECT '?', 'it''s ?', \"a?\", E'\\'?' -- ?\n, 1 /* ? /* ? */ ? */",
            "SELECT $$ ? $$, $tag$ ? $tag$",
            "SELECT $1, $2",
            "",
        ] {
            check(sql, sql);
        }
    }

    #[test]
    fn keeps_explicit_numbers() {
        check("SELECT ?2, ?1", "SELECT $2, $1");
    }

    #[test]
    fn casts_only_the_parameters_that_have_a_type() {
        let types = BTreeMap::from([("$1".to_owned(), "BIGINT".to_owned())]);
        let cast = cast_placeholders("SELECT $1, $10, '$1' -- $1\n, $2 + $1", &types);
        assert_eq!(cast, "SELECT CAST($1 AS BIGINT), $10, '$1' -- $1\n, $2 + CAST($1 AS BIGINT)");
    }

    #[test]
    fn refuses_a_mix_of_styles() {
        assert_eq!(number_placeholders("SELECT ?, $2").unwrap_err().code, Code::Syntax);
    }

    #[test]
    fn leaves_untokenizable_text_to_the_engine() {
        check("SELECT 'open ?", "SELECT 'open ?");
    }
}
