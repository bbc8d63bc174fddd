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

/// The text without a leading number or name (`7:`, `groups:`).
pub(super) fn without_label(text: &str) -> &str {
    let mut rest = text.trim();
    while let Some((label, behind)) = rest.split_once(':') {
        if label.is_empty() || label.contains(char::is_whitespace) {
            break;
        }
        rest = behind.trim_start();
    }
    rest
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
