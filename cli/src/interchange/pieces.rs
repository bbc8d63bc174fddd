//! Pieces of the agreement language that come from other documents. Each is read by the one parser of agreements, alone,
//! so that a text that was meant to be a column can never be a clause.

use dynamos_planner::policy::{Agreement, NumberedClause};
use dynamos_planner::sql::{SqlError, parse_agreement};

/// What pieces are put into, in one line.
const FRAME: &str = "CREATE AGREEMENT a ON SITE s FOR ANYONE PURPOSE p AS (";

/// Reads clauses, one a text.
pub(super) fn clauses(texts: &[String]) -> Result<Vec<NumberedClause>, String> {
    let text = format!("{FRAME}\n{}\n)", texts.join("\n,\n"));
    let clauses = parse_agreement(&text).map_err(|error| located(&error, texts))?.clauses;
    if clauses.len() != texts.len() {
        return Err(format!("{} texts hold {} clauses; write one clause in each", texts.len(), clauses.len()));
    }
    Ok(clauses)
}

/// Checks that an agreement reads back from its own text, as every agreement must.
pub(super) fn checked(agreement: Agreement) -> Result<Agreement, String> {
    match parse_agreement(&agreement.to_string()) {
        Ok(again) if again == agreement => Ok(agreement),
        Ok(_) => Err(format!("agreement `{}` reads back differently from its text", agreement.name)),
        Err(error) => Err(format!("agreement `{}` cannot be written: {error}", agreement.name)),
    }
}

/// The text without a leading number or name (`7:`, `groups:`, `"my rows":`).
pub(super) fn without_label(text: &str) -> &str {
    let mut rest = text.trim();
    while let Some(behind) = behind_label(rest) {
        rest = behind;
    }
    rest
}

/// What stands behind the label that the text begins with; none if it begins with none.
fn behind_label(text: &str) -> Option<&str> {
    let end = if text.starts_with('"') {
        quoted_end(text)?
    } else {
        text.find(|one: char| one == ':' || one.is_whitespace()).filter(|end| *end > 0)?
    };
    text.get(end..)?.trim_start().strip_prefix(':').map(str::trim_start)
}

/// Where the quoted name ends that the text begins with. A quote in a name is written twice.
fn quoted_end(text: &str) -> Option<usize> {
    let mut end = 1;
    loop {
        end += text.get(end..)?.find('"')? + 1;
        if !text.get(end..)?.starts_with('"') {
            return Some(end);
        }
        end += 1;
    }
}

/// The first word of a clause, in lower case.
pub(super) fn first_word(text: &str) -> String {
    without_label(text).split_whitespace().next().unwrap_or_default().to_lowercase()
}

/// The error with the text that it is in, in place of a line of the frame.
fn located(error: &SqlError, texts: &[String]) -> String {
    let mut line = 2;
    for text in texts {
        let end = line + text.matches('\n').count() as u64;
        if (line..=end + 1).contains(&error.position.line) {
            return format!("`{text}`: {}", error.problem);
        }
        line = end + 2;
    }
    error.problem.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_token_quoted_or_not() {
        for (text, behind) in [
            ("7: groups: RELEASE avg", "RELEASE avg"),
            ("groups : RELEASE avg", "RELEASE avg"),
            ("\"my rows\": SHIP ROWS (*) FROM a.b", "SHIP ROWS (*) FROM a.b"),
            ("3:\"a \"\"b: c\" :SHIP", "SHIP"),
            ("\"\"\"\": SHIP", "SHIP"),
            ("SHIP ROWS (a::int) FROM a.b", "SHIP ROWS (a::int) FROM a.b"),
            ("\"my rows", "\"my rows"),
            (": SHIP", ": SHIP"),
            ("", ""),
        ] {
            assert_eq!(without_label(text), behind, "{text}");
        }
    }

    #[test]
    fn a_clause_with_a_quoted_label_comes_back() {
        for label in ["my rows", "a \"quoted\" name", "with: a colon"] {
            let quoted = label.replace('"', "\"\"");
            let text = format!("\"{quoted}\": SHIP ROWS (people.id) FROM work.people TO surf");
            let read = clauses(std::slice::from_ref(&text)).unwrap();
            assert_eq!(read[0].name.as_deref(), Some(label));
            let again = read[0].to_string();
            assert_eq!(again, text);
            assert_eq!(first_word(&again), "ship");
            assert_eq!(clauses(&[again]).unwrap(), read);
        }
    }
}
