//! Reasons of denials without the literals of the statement: a record holds none of them, and a reason quotes the expression that
//! is not allowed.

/// A reason with `?` in place of quoted texts, and of numbers and lists within backticks. Rather too much is left out than too
/// little: a quote without an end takes the rest with it, and the engine, which writes texts between double quotes and lists
/// between brackets, marks none within them, so that all up to the last one is taken.
pub(crate) fn without_literals(reason: &str) -> String {
    let mut kept = String::with_capacity(reason.len());
    let mut rest = reason.chars();
    let (mut in_code, mut before) = (false, ' ');
    while let Some(next) = rest.next() {
        let in_word = before.is_alphanumeric() || before == '_';
        match next {
            '`' => {
                in_code = !in_code;
                kept.push(next);
            }
            // An apostrophe in a sentence is none.
            '\'' if in_code || !in_word => {
                kept.push('?');
                rest.by_ref().find(|one| *one == next);
            }
            '"' if in_code || !in_word => {
                kept.push('?');
                rest = behind_last(rest.as_str(), '"').chars();
            }
            '[' | '{' if in_code => {
                kept.push('?');
                rest = behind_last(rest.as_str(), if next == '[' { ']' } else { '}' }).chars();
            }
            // The rest of a number, its fraction and exponent.
            _ if in_code && kept.ends_with('?') && (next.is_alphanumeric() || next == '.') => {}
            _ if in_code && next.is_ascii_digit() && !in_word => kept.push('?'),
            _ => kept.push(next),
        }
        before = next;
    }
    kept
}

fn behind_last(text: &str, end: char) -> &str {
    text.rsplit_once(end).map_or("", |(_, behind)| behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_left_out_and_names_and_numbers_of_clauses_stay() {
        for (reason, kept) in [
            ("clause 1 needs `unieknr`", "clause 1 needs `unieknr`"),
            ("uva: agreement `a2` epoch 3, clause 4", "uva: agreement `a2` epoch 3, clause 4"),
            ("the steward's own `t.a2` is not `b`", "the steward's own `t.a2` is not `b`"),
            ("`name = 'Jansen'` is not allowed", "`name = ?` is not allowed"),
            ("`name = Utf8(\"Jansen\")` is not allowed", "`name = Utf8(?)` is not allowed"),
            ("`salary > Int64(123456)`", "`salary > Int64(?)`"),
            ("`salary > 12.5e3 AND a1 < 7`", "`salary > ? AND a1 < ?`"),
            ("`a = 'x`y 17'` and `b`", "`a = ?` and `b`"),
            ("`a = 'it''s'` is", "`a = ??` is"),
            ("`a = 'without end` 17", "`a = ?"),
            ("the value 'Jansen' of clause 2", "the value ? of clause 2"),
            ("`name = Utf8(\"Jan \"Piet\" Jansen\")` is", "`name = Utf8(?)` is"),
            ("`name = Utf8(\"a`b\")` or `c = Utf8(\"d\")` is", "`name = Utf8(?)` is"),
            (
                "`array_position(List([Jansen, P]iet]), name) = Int64(1)` is",
                "`array_position(List(?), name) = Int64(?)` is",
            ),
            ("`Struct({c0:Jansen,c1:2}) = t.row` is", "`Struct(?) = t.row` is"),
        ] {
            assert_eq!(without_literals(reason), kept, "{reason}");
        }
    }
}
