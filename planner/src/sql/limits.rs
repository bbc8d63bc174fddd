//! How much text a statement may have. The SQL parser bounds its own recursion, but it reads `a + a + a …` in a loop into
//! a tree as deep as the chain is long, and dropping or cloning that tree recurses: without a bound here a short text could
//! overflow the stack of the process that reads it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::error::{Position, SqlError, SqlProblem};

/// The longest text of a statement, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// The most operators and keywords in one comma-free stretch, those in parentheses counted once per depth.
const MAX_CHAIN: usize = 1000;

/// The most UNION, EXCEPT and INTERSECT in one statement; their chains run across commas.
const MAX_SET_OPERATIONS: usize = 200;

/// One depth of parentheses.
#[derive(Default)]
struct Level {
    /// Operators since the last comma.
    operators: usize,
    /// Depth of the deepest parentheses since the last comma.
    inner: usize,
    /// Depth of the deepest stretch that a comma has ended.
    ended: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.operators + self.inner
    }

    fn end_stretch(&mut self) {
        *self = Level { ended: self.ended.max(self.depth()), ..Level::default() };
    }
}

/// Refuses tokens that could make too deep a tree.
pub(super) fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let mut set_operations = 0;
    for token in tokens {
        match &token.token {
            Token::Comma | Token::SemiColon => level.end_stretch(),
            Token::LParen | Token::LBracket | Token::LBrace => outer.push(std::mem::take(&mut level)),
            Token::RParen | Token::RBracket | Token::RBrace => {
                level.end_stretch();
                let inner = level.ended;
                level = outer.pop().unwrap_or_default();
                level.inner = level.inner.max(inner);
            }
            Token::Word(word) => {
                level.operators += usize::from(word.keyword != Keyword::NoKeyword);
                set_operations += usize::from(matches!(
                    word.keyword,
                    Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS
                ));
            }
            Token::EOF | Token::Whitespace(_) | Token::Period | Token::Number(..) | Token::SingleQuotedString(_) => {}
            _ => level.operators += 1,
        }
        if level.depth() > MAX_CHAIN || set_operations > MAX_SET_OPERATIONS {
            return Err(Position::from(token.span.start).error(SqlProblem::TooDeep));
        }
    }
    Ok(())
}
