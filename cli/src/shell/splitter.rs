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
        let mut complete = Vec::new();
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
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
        let content = self.content;
        let text = std::mem::take(self).text;
        (content == Content::Something).then(|| text.trim().to_owned())
    }

    /// Whether the next line begins a statement, so that a `\` command may stand there.
    pub(super) fn is_between_statements(&self) -> bool {
        self.content == Content::Nothing && matches!(self.place, Place::Code)
    }

    fn step(&mut self, character: char, next: Option<char>, complete: &mut Vec<String>) -> Pair {
        let mut pair = Pair::Single;
        match (self.place, character, next) {
            (Place::Code, '\'' | '"', _) => {
                self.place = Place::Quoted(character);
                self.content = Content::Something;
            }
            (Place::Code, '-', Some('-')) => self.place = Place::LineComment,
            (Place::Code, '/', Some('*')) => (self.place, pair) = (Place::BlockComment(1), Pair::Taken),
            (Place::Code, ';', _) => {
                complete.extend(self.finish());
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
