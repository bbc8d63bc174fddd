//! Rewrites the `?` parameters of JDBC and ODBC to the `$1`, `$2`, … of the engine. It works on tokens, so a `?` in a
//! string, a quoted name or a comment stays as it is, and all other text reaches the engine byte for byte.

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
    let Ok(tokens) = Tokenizer::new(&ParameterDialect, sql).tokenize_with_location() else {
        return Ok(sql.to_owned());
    };
    let mut style = None;
    let mut places = Vec::new();
    for token in &tokens {
        let Token::Placeholder(text) = &token.token else { continue };
        let found = match text.strip_prefix('?') {
            Some("") => Style::Positional,
            Some(_) | None => Style::Numbered,
        };
        if *style.get_or_insert(found) != found {
            return Err(ServiceError::new(Code::Syntax, "the statement mixes `?` with numbered parameters")
                .with_hint("use either `?` or `$1`, `$2`, … throughout"));
        }
        if text.starts_with('?') {
            places.push((token.span.start, text.as_str()));
        }
    }
    Ok(replace(sql, &places))
}

/// How a statement writes its parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `?`: numbered by order of appearance.
    Positional,
    /// `$1` or `?1`.
    Numbered,
}

/// Replaces the tokens at `places`, which are in order, by `$n`.
fn replace(sql: &str, places: &[(Location, &str)]) -> String {
    let mut rewritten = String::with_capacity(sql.len() + places.len() * 2);
    let mut pending = places.iter().enumerate().peekable();
    let mut here = Location { line: 1, column: 1 };
    let mut skip = 0;
    for ch in sql.chars() {
        if let Some((index, (_, text))) = pending.next_if(|(_, (place, _))| *place == here) {
            match text.strip_prefix('?') {
                Some("") | None => rewritten.push_str(&format!("${}", index + 1)),
                Some(number) => rewritten.push_str(&format!("${number}")),
            }
            skip = text.chars().count();
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
    fn refuses_a_mix_of_styles() {
        assert_eq!(number_placeholders("SELECT ?, $2").unwrap_err().code, Code::Syntax);
    }

    #[test]
    fn leaves_untokenizable_text_to_the_engine() {
        check("SELECT 'open ?", "SELECT 'open ?");
    }
}
