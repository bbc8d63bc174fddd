//! Text into statements: finds the `;` that end statements and no others.
//!
//! Understands strings, quoted names and comments (block comments nest), nothing more: what a statement means is the
//! server's business. Left out: dollar quoting and backslash escapes, which the dialect does not have.

/// Collects lines until statements are complete.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    text: String,
    place: Place,
    content: Content,
    /// Lines so far.
    lines: usize,
    /// Line and column of the first letter of the text, from 1.
    begin: Option<(usize, usize)>,
}

/// A statement without its `;`, and the line and column where it begins, from 1.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    text: String,
    begin: (usize, usize),
}

/// The statements of a file. Each stands as deep in white space as in the file, so that a place in its text is the place in
/// the file.
pub(crate) fn statements_in_place(text: &str) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut statements: Vec<Statement> = text.lines().flat_map(|line| splitter.push(line)).collect();
    statements.extend(splitter.end());
    let in_place = statements.into_iter().map(|Statement { text, begin: (line, column) }| {
        let (lines, spaces) = (line.saturating_sub(1), column.saturating_sub(1));
        format!("{}{}{text}", "\n".repeat(lines), " ".repeat(spaces))
    });
    in_place.collect()
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Code,
    Quoted(char),
    LineComment,
    /// Depth, at least one.
    BlockComment(usize),
}

/// Whether the text so far holds more than blanks and comments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Content {
    #[default]
    Nothing,
    Something,
}

impl Splitter {
    /// Adds a line (without its line break) and returns the statements that it completes, without their `;`.
    pub(crate) fn push_line(&mut self, line: &str) -> Vec<String> {
        self.push(line).into_iter().map(|statement| statement.text).collect()
    }

    fn push(&mut self, line: &str) -> Vec<Statement> {
        self.lines += 1;
        let mut complete = Vec::new();
        let mut characters = line.chars().zip(1..).peekable();
        while let Some((character, column)) = characters.next() {
            let next = characters.peek().map(|(next, _)| *next);
            if self.begin.is_none() && !character.is_whitespace() {
                self.begin = Some((self.lines, column));
            }
            let pair = self.step(character, next, &mut complete);
            if let (Pair::Taken, Some(second)) = (pair, next) {
                self.text.push(second);
                characters.next();
            }
        }
        if matches!(self.place, Place::LineComment) {
            self.place = Place::Code;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        complete
    }

    /// The last statement, which needs no `;`.
    pub(crate) fn finish(&mut self) -> Option<String> {
        self.end().map(|statement| statement.text)
    }

    fn end(&mut self) -> Option<Statement> {
        let Self { text, content, lines, begin, .. } = std::mem::take(self);
        self.lines = lines;
        let begin = begin.filter(|_| content == Content::Something)?;
        Some(Statement { text: text.trim().to_owned(), begin })
    }

    /// Whether the next line begins a statement, so that a `\` command may stand there.
    pub(super) fn is_between_statements(&self) -> bool {
        self.content == Content::Nothing && matches!(self.place, Place::Code)
    }

    fn step(&mut self, character: char, next: Option<char>, complete: &mut Vec<Statement>) -> Pair {
        let mut pair = Pair::Single;
        match (self.place, character, next) {
            (Place::Code, '\'' | '"', _) => {
                self.place = Place::Quoted(character);
                self.content = Content::Something;
            }
            (Place::Code, '-', Some('-')) => self.place = Place::LineComment,
            (Place::Code, '/', Some('*')) => (self.place, pair) = (Place::BlockComment(1), Pair::Taken),
            (Place::Code, ';', _) => {
                complete.extend(self.end());
                return Pair::Single;
            }
            (Place::Code, other, _) => {
                if !other.is_whitespace() {
                    self.content = Content::Something;
                }
            }
            // A doubled quote leaves the string and enters it again at once.
            (Place::Quoted(quote), other, _) if quote == other => self.place = Place::Code,
            (Place::BlockComment(depth), '/', Some('*')) => {
                (self.place, pair) = (Place::BlockComment(depth + 1), Pair::Taken);
            }
            (Place::BlockComment(depth), '*', Some('/')) => {
                self.place = if depth > 1 { Place::BlockComment(depth - 1) } else { Place::Code };
                pair = Pair::Taken;
            }
            (Place::Quoted(_) | Place::LineComment | Place::BlockComment(_), _, _) => {}
        }
        self.text.push(character);
        pair
    }
}

/// Whether a step used the next character too.
enum Pair {
    Single,
    Taken,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut statements: Vec<String> = text.lines().flat_map(|line| splitter.push_line(line)).collect();
        statements.extend(splitter.finish());
        statements
    }

    #[test]
    fn splits_at_semicolons_and_needs_none_at_the_end() {
        assert_eq!(split("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(split("SELECT\n  1\n;\n"), ["SELECT\n  1"]);
        assert_eq!(split(" ;; \n;"), Vec::<String>::new());
    }

    #[test]
    fn strings_and_names_may_hold_semicolons() {
        assert_eq!(split("SELECT 'a;b', ';' ; SELECT 2"), ["SELECT 'a;b', ';'", "SELECT 2"]);
        assert_eq!(split("SELECT 'it''s; fine'; x"), ["SELECT 'it''s; fine'", "x"]);
        assert_eq!(split("SELECT \"odd;name\", \"a\"\";b\";"), ["SELECT \"odd;name\", \"a\"\";b\""]);
        assert_eq!(split("SELECT 'two\nlines; -- no comment';"), ["SELECT 'two\nlines; -- no comment'"]);
        assert_eq!(split("SELECT 'ends with \\'; SELECT 2"), ["SELECT 'ends with \\'", "SELECT 2"]);
    }

    #[test]
    fn comments_may_hold_anything() {
        assert_eq!(split("SELECT 1 -- one; it's\n+ 1;"), ["SELECT 1 -- one; it's\n+ 1"]);
        assert_eq!(split("/* a; /* nested; */ 'x */ SELECT 1;"), ["/* a; /* nested; */ 'x */ SELECT 1"]);
        assert_eq!(split("SELECT 3 /*/ ; */; b"), ["SELECT 3 /*/ ; */", "b"]);
        assert_eq!(split("-- only this;\n/* and\n this; */"), Vec::<String>::new());
        assert_eq!(split("SELECT 4 - -1; SELECT 6 / 2 * 3"), ["SELECT 4 - -1", "SELECT 6 / 2 * 3"]);
    }

    #[test]
    fn statements_of_a_file_keep_their_places() {
        let text = "-- first\nSELECT 1; /* x;\n */;  SELECT\r\n 2 ;\n\n  SELECT 3";
        let statements = statements_in_place(text);
        assert_eq!(
            statements,
            ["-- first\nSELECT 1", "\n\n      SELECT\n 2", "\n\n\n\n\n  SELECT 3"],
            "the comment between two semicolons is no statement"
        );
        let lines: Vec<&str> = text.lines().collect();
        for (statement, word) in statements.iter().zip(["SELECT 1", "SELECT", "SELECT 3"]) {
            let (line, column) = statement
                .lines()
                .enumerate()
                .find_map(|(line, text)| text.find("SELECT").map(|column| (line, column)))
                .unwrap();
            assert!(lines[line][column..].starts_with(word), "{statement:?}");
        }
    }

    #[test]
    fn knows_when_a_command_may_stand() {
        let mut splitter = Splitter::default();
        assert!(splitter.is_between_statements());
        splitter.push_line("SELECT 1; -- done");
        assert!(splitter.is_between_statements());
        splitter.push_line("SELECT '");
        assert!(!splitter.is_between_statements());
        splitter.push_line("'; /* open");
        assert!(!splitter.is_between_statements());
    }
}
