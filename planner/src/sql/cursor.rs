//! A place in a tokenised text, and the small steps that every parser here is made of. Expressions and queries are left
//! to the SQL parser; keywords and names of the agreement language are read here.
//!
//! Words without quotes are put in lower case before anything reads them, and quotes that make no difference are
//! dropped, so that two spellings of one agreement are one value.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Value, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{self, Token, Tokenizer};

use super::error::{Position, SqlError, SqlProblem};
use super::limits::{MAX_BYTES, check_depth};
use super::positions::PlacedWord;
use crate::policy::print::{KINDS, RESERVED, is_plain};
use crate::policy::{Decimal, NameKind, Word};

static DIALECT: GenericDialect = GenericDialect {};

/// The longest piece of the text that an error repeats, in characters.
const FOUND_MAX: usize = 40;

/// What is left of a text.
pub(super) struct Cursor<'a> {
    parser: Parser<'a>,
    text: &'a str,
    /// Words that were read and may turn out to mean nothing.
    words: Vec<PlacedWord>,
}

impl<'a> Cursor<'a> {
    /// The beginning of `text`, which is tokenised here and bounded in length and depth.
    pub(super) fn new(text: &'a str) -> Result<Self, SqlError> {
        if text.len() > MAX_BYTES {
            return Err(Position::START.error(SqlProblem::TooLong { bytes: text.len(), limit: MAX_BYTES }));
        }
        let mut tokens = Tokenizer::new(&DIALECT, text)
            .tokenize_with_location()
            .map_err(|error| Position::from(error.location).error(SqlProblem::Syntax(lower_first(&error.message))))?;
        check_depth(&tokens)?;
        for token in &mut tokens {
            if let Token::Word(word) = &mut token.token {
                normalise(word);
            }
        }
        Ok(Self { parser: Parser::new(&DIALECT).with_tokens_with_locations(tokens), text, words: Vec::new() })
    }

    /// Where the next token begins.
    pub(super) fn position(&self) -> Position {
        let next = self.parser.peek_token_ref();
        match &next.token {
            Token::EOF => Position::after(self.text),
            _ => next.span.start.into(),
        }
    }

    /// Remembers where a word stands that errors can be about.
    pub(super) fn note(&mut self, kind: NameKind, name: impl Display, position: Position) {
        self.words.push((Word::Name(kind, name.to_string()), position));
    }

    /// The words since they were last taken.
    pub(super) fn take_words(&mut self) -> Vec<PlacedWord> {
        std::mem::take(&mut self.words)
    }

    /// The text from `start` to here, without white space around it.
    pub(super) fn text_since(&self, start: Position) -> &'a str {
        let (start, end) = (start.byte_of(self.text), self.position().byte_of(self.text));
        self.text.get(start..end).unwrap_or_default().trim()
    }

    /// That `expected` should stand here.
    pub(super) fn expected<T>(&self, expected: impl Into<String>) -> Result<T, SqlError> {
        Err(self.position().error(SqlProblem::Expected { expected: expected.into(), found: self.found() }))
    }

    /// The next token as errors show it.
    pub(super) fn found(&self) -> String {
        shown(&self.parser.peek_token_ref().token.to_string())
    }

    /// The `n`th token from here if it is a word without quotes, in lower case.
    pub(super) fn nth_keyword(&self, n: usize) -> Option<&str> {
        match &self.parser.peek_nth_token_ref(n).token {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    /// The `n`th token from here.
    pub(super) fn nth_token(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    /// The next word, if it is one without quotes.
    pub(super) fn keyword(&self) -> Option<&str> {
        self.nth_keyword(0)
    }

    /// Steps over `word` if it comes next.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let here = self.keyword() == Some(word);
        if here {
            self.parser.advance_token();
        }
        here
    }

    /// Steps over `word`, which must come next.
    pub(super) fn expect(&mut self, word: &str) -> Result<(), SqlError> {
        if self.eat(word) { Ok(()) } else { self.expected(format!("`{}`", word.to_uppercase())) }
    }

    /// Steps over `token` if it comes next.
    pub(super) fn eat_token(&mut self, token: &Token) -> bool {
        let here = self.nth_token(0) == token;
        if here {
            self.parser.advance_token();
        }
        here
    }

    /// Steps over `token`, which must come next.
    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.eat_token(token) { Ok(()) } else { self.expected(format!("`{token}`")) }
    }

    /// A name; `what` it names stands in the error. Reserved words must be quoted.
    pub(super) fn name(&mut self, what: &str) -> Result<String, SqlError> {
        let name = match self.nth_token(0) {
            Token::Word(word) if word.quote_style.is_some() && !word.value.is_empty() => word.value.clone(),
            Token::Word(word) if word.quote_style.is_none() && !RESERVED.contains(&word.value.as_str()) => {
                word.value.clone()
            }
            _ => return self.expected(what),
        };
        self.parser.advance_token();
        Ok(name)
    }

    /// The part of a name behind a period, where every word is a name.
    pub(super) fn part(&mut self, what: &str) -> Result<String, SqlError> {
        let name = match self.nth_token(0) {
            Token::Word(word) if !word.value.is_empty() => word.value.clone(),
            _ => return self.expected(what),
        };
        self.parser.advance_token();
        Ok(name)
    }

    /// A string literal that is not empty.
    pub(super) fn string(&mut self, what: &str) -> Result<String, SqlError> {
        let text = match self.nth_token(0) {
            Token::SingleQuotedString(text) if !text.is_empty() => text.clone(),
            _ => return self.expected(what),
        };
        self.parser.advance_token();
        Ok(text)
    }

    /// A whole number of at least 1.
    pub(super) fn count(&mut self, what: &str) -> Result<u32, SqlError> {
        let count = match self.nth_token(0) {
            Token::Number(digits, _) => digits.parse::<u32>().ok().filter(|count| *count > 0),
            _ => None,
        };
        match count {
            Some(count) => {
                self.parser.advance_token();
                Ok(count)
            }
            None => self.expected(what),
        }
    }

    /// A decimal number that `fits`.
    pub(super) fn decimal(&mut self, what: &str, fits: impl Fn(&Decimal) -> bool) -> Result<Decimal, SqlError> {
        let decimal = match self.nth_token(0) {
            Token::Number(digits, _) => Decimal::parse(digits).filter(fits),
            _ => None,
        };
        match decimal {
            Some(decimal) => {
                self.parser.advance_token();
                Ok(decimal)
            }
            None => self.expected(what),
        }
    }

    /// Items with commas between them, at least one.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// An expression of a clause: of the columns of one row, without subqueries, windows or placeholders.
    pub(super) fn expr(&mut self) -> Result<Expr, SqlError> {
        let start = self.position();
        let expr = self.parser.parse_expr().map_err(|error| self.located(error))?;
        match expr.visit(&mut OfOneRow) {
            ControlFlow::Continue(()) => Ok(expr),
            ControlFlow::Break(what) => Err(start.error(SqlProblem::NotInClause { what })),
        }
    }

    /// Any query that the SQL parser reads.
    pub(super) fn query(&mut self) -> Result<Query, SqlError> {
        self.parser.parse_query().map(|query| *query).map_err(|error| self.located(error))
    }

    /// Steps over semicolons to the end of the text, which must come next.
    pub(super) fn end(&mut self) -> Result<(), SqlError> {
        while self.eat_token(&Token::SemiColon) {}
        if *self.nth_token(0) == Token::EOF { Ok(()) } else { self.expected("the end of the only statement") }
    }

    /// The SQL parser's error, with the place that it writes at the end of its message.
    fn located(&self, error: ParserError) -> SqlError {
        let message = match error {
            ParserError::RecursionLimitExceeded => return self.position().error(SqlProblem::TooDeep),
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        };
        let (message, position) = match split_location(&message) {
            Some((message, position)) => (message, position),
            None if message.ends_with("EOF") => (message.as_str(), Position::after(self.text)),
            None => (message.as_str(), self.position()),
        };
        let parts = message.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "));
        position.error(match parts {
            Some((expected, found)) => SqlProblem::Expected { expected: expected.to_owned(), found: shown(found) },
            None => SqlProblem::Syntax(lower_first(message)),
        })
    }
}

/// Finds what an expression of a clause cannot hold.
struct OfOneRow;

impl Visitor for OfOneRow {
    type Break = &'static str;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        ControlFlow::Break("a subquery")
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => ControlFlow::Break("a placeholder"),
            Expr::Function(function) if function.over.is_some() => ControlFlow::Break("a window function"),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => ControlFlow::Break("`*`"),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// One spelling for one name.
fn normalise(word: &mut tokenizer::Word) {
    if word.quote_style.is_none() {
        word.value = word.value.to_lowercase();
        return;
    }
    word.quote_style = Some('"');
    let has_meaning = |word: &str| RESERVED.contains(&word) || KINDS.contains(&word);
    if is_plain(&word.value) && !has_meaning(&word.value) {
        let bare = Token::make_word(&word.value, None);
        if let Token::Word(bare) = bare
            && bare.keyword == Keyword::NoKeyword
        {
            *word = bare;
        }
    }
}

/// Splits ` at Line: 1, Column: 8` from the end of a message.
fn split_location(message: &str) -> Option<(&str, Position)> {
    let (text, location) = message.rsplit_once(" at Line: ")?;
    let (line, column) = location.split_once(", Column: ")?;
    Some((text, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
}

/// A piece of the text in an error, shortened.
fn shown(found: &str) -> String {
    match found {
        "EOF" => "the end of the text".to_owned(),
        _ if found.chars().count() > FOUND_MAX => {
            format!("`{}…`", found.chars().take(FOUND_MAX).collect::<String>())
        }
        _ => format!("`{found}`"),
    }
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}
