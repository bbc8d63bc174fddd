//! A record in words: one line, and indented ones behind it. Records of all releases and of both kinds of file are read, so
//! by name and not by type; what is not known by name is printed as it stands.
//!
//! Much of a record was chosen by others. No character of it ends a line or moves the cursor, so that nothing in a record
//! looks like another record.

use serde_json::Value;

/// A record, with a line feed at the end of each line.
pub fn words(record: &Value) -> String {
    let record = Fields(record);
    let (at, event) = (record.or("at", "?"), record.or("event", "?"));
    let (first, more) = match event.as_str() {
        "decision" => decision(record),
        "end" => (end(record), Vec::new()),
        "permit" => permit(record),
        "refusal" => refusal(record),
        "return" => (given_back(record), Vec::new()),
        "given" => (given(record), Vec::new()),
        "erased" => (format!("nothing of {} is left here", query(record)), Vec::new()),
        "agreement" => agreement(record),
        _ => (clean(&record.0.to_string()), Vec::new()),
    };
    let mut text = format!("{at} {event}: {first}\n");
    for line in more {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn decision(record: Fields<'_>) -> (String, Vec<String>) {
    let (verdict, purpose) = (record.or("verdict", "?"), record.or("purpose", "no purpose"));
    let mut first = format!("{} {verdict}, {} for {purpose}", query(record), asker(record));
    if let Some(code) = record.get("code") {
        first.push_str(&format!(": {code}"));
    }
    let mut more = Vec::new();
    more.extend(record.get("reason").map(|reason| format!("because {reason}")));
    more.extend(record.get("statement").map(|statement| format!("asked {statement}")));
    more.extend(record.get("statement_sha256").map(|hash| format!("statement {hash}")));
    more.extend(graph(record));
    more.extend(record.get("catalog_version").map(|version| format!("catalog {version}")));
    more.extend(basis(record));
    more.extend(record.list("clauses").map(|clause| format!("by {}", clause.word())));
    (first, more)
}

fn end(record: Fields<'_>) -> String {
    let mut line = format!("{} {}", query(record), record.or("outcome", "?"));
    line.extend(record.get("rows_at_most").map(|rows| format!(", at most {rows} rows to the requester")));
    let nothing: Vec<String> = record.list("released_nothing").map(Fields::word).collect();
    if !nothing.is_empty() {
        line.push_str(&format!(", nothing released by {}", nothing.join(", ")));
    }
    line
}

fn permit(record: Fields<'_>) -> (String, Vec<String>) {
    let first = format!("{}, {} for {}", query(record), asker(record), record.or("purpose", "no purpose"));
    let mut more: Vec<String> = graph(record).into_iter().chain(basis(record)).collect();
    for edge in record.list("edges") {
        let at = |place: &str| edge.get(place).map(|place| format!(" at {place}")).unwrap_or_default();
        let to = edge.get("to").map_or("the requester".to_owned(), |to| to + &at("to_place"));
        let what = edge.get("what").map(|what| format!(": {what}")).unwrap_or_default();
        more.push(format!("{}{} -> {to}{what}", edge.or("from", "?"), at("from_place")));
        more.extend(edge.list("clauses").map(|clause| format!("  by {}", clause.word())));
    }
    more.extend(record.list("obligations").map(|clause| format!("obliged by {}", clause.word())));
    more.extend(record.inner("charge").map(|charge| format!("charged {}", charge_of(charge))));
    (first, more)
}

fn refusal(record: Fields<'_>) -> (String, Vec<String>) {
    let who = match record.get("reader") {
        Some(reader) => format!("place {reader}"),
        None => asker(record),
    };
    let purpose = record.get("purpose").map(|purpose| format!(" for {purpose}")).unwrap_or_default();
    let (code, reason) = (record.or("code", "?"), record.or("reason", "?"));
    let first = format!("{}, {who}{purpose}: {code} ({reason})", query(record));
    (first, graph(record).into_iter().chain(basis(record)).collect())
}

fn given_back(record: Fields<'_>) -> String {
    let charge = record.inner("charge").map(charge_of).unwrap_or_default();
    format!("{}, given back {charge}", query(record))
}

fn given(record: Fields<'_>) -> String {
    let (fragment, to) = (record.or("fragment", "?"), record.or("to_place", "the requester"));
    let (rows, bytes) = (record.or("rows", "?"), record.or("bytes", "?"));
    let code = record.get("code").map(|code| format!(" with {code}")).unwrap_or_default();
    let outcome = record.or("outcome", "?");
    format!("{}, {fragment} -> {to}: {rows} rows, {bytes} bytes, {outcome}{code}", query(record))
}

fn agreement(record: Fields<'_>) -> (String, Vec<String>) {
    let change = record.or("change", "a statement that is no change");
    let mut first = change.replace('_', " ");
    first.extend(record.get("agreement").map(|name| format!(" `{name}`")));
    first.extend(record.get("epoch").map(|epoch| format!(", epoch {epoch}")));
    match (record.get("signed_by"), record.get("requester")) {
        (Some(key), _) => first.push_str(&format!(", signed with the key to {key}")),
        (None, Some(_)) => first.push_str(&format!(", by {}", asker(record))),
        (None, None) => {}
    }
    let mut more = Vec::new();
    if let Some(code) = record.get("code") {
        first.push_str(&format!(", refused: {code}"));
        more.extend(record.get("reason").map(|reason| format!("because {reason}")));
    }
    more.extend(record.get("text_sha256").map(|hash| format!("text {hash}")));
    let text = record.0.get("text").and_then(Value::as_str).unwrap_or_default();
    more.extend(text.lines().map(|line| format!("  {}", clean(line))));
    (first, more)
}

/// Which query, in which attempt.
fn query(record: Fields<'_>) -> String {
    let attempt = record.get("attempt").filter(|attempt| attempt != "0");
    let attempt = attempt.map(|attempt| format!(" attempt {attempt}")).unwrap_or_default();
    format!("query {}{attempt}", record.or("query_id", "?"))
}

fn asker(record: Fields<'_>) -> String {
    match (record.get("requester"), record.get("organisation")) {
        (Some(requester), Some(organisation)) => format!("{requester} of {organisation}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "of nobody known here".to_owned(),
    }
}

fn graph(record: Fields<'_>) -> Option<String> {
    record.get("graph_sha256").map(|hash| format!("graph {hash}"))
}

fn basis(record: Fields<'_>) -> Option<String> {
    let one =
        |one: Fields<'_>| format!("{}.{}@{}", one.or("steward", "?"), one.or("agreement", "?"), one.or("epoch", "?"));
    let all: Vec<String> = record.list("agreements").map(one).collect();
    (!all.is_empty()).then(|| format!("under {}", all.join(", ")))
}

fn charge_of(charge: Fields<'_>) -> String {
    let (points, agreement) = (charge.or("points", "?"), charge.or("agreement", "?"));
    format!("{points} of the budget of `{agreement}` for {}", charge.or("organisation", "?"))
}

/// What stands in a record, by name.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    /// A text or a number, if there is one.
    fn get(self, name: &str) -> Option<String> {
        let value = self.0.get(name)?;
        Some(Fields(value).word()).filter(|word| !word.is_empty())
    }

    fn or(self, name: &str, missing: &str) -> String {
        self.get(name).unwrap_or_else(|| missing.to_owned())
    }

    fn inner(self, name: &str) -> Option<Fields<'a>> {
        self.0.get(name).filter(|value| value.is_object()).map(Fields)
    }

    fn list(self, name: &str) -> impl Iterator<Item = Fields<'a>> + use<'a> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().map(Fields)
    }

    /// This value itself, if it is a text or a number.
    fn word(self) -> String {
        match self.0 {
            Value::String(text) => clean(text),
            Value::Null => String::new(),
            other => clean(&other.to_string()),
        }
    }
}

/// A text on one line.
fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: &str = "2026-03-01T10:00:00Z";

    #[track_caller]
    fn check(record: Value, lines: &[&str]) {
        let text = words(&record);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{text}");
    }

    #[test]
    fn a_permit_says_what_leaves_for_where_by_which_clause() {
        let clause = "uva: agreement `a` epoch 3, clause 2";
        let edge = json!({
            "from": "f2", "from_place": "uva", "to": "f1", "to_place": "surf",
            "what": "partials of r0 over rows of uva.wages.persons (grade, id)", "clauses": [clause],
        });
        let onwards = json!({
            "from": "f0", "from_place": "coordinator", "to": null, "to_place": null, "what": "released groups of r0",
            "clauses": ["uva: agreement `a` epoch 3, clause 1", "vu: agreement `a` epoch 1, clause 1"],
        });
        let permit = json!({
            "event": "permit", "at": AT, "graph_sha256": "ab12", "query_id": "q1", "attempt": 1, "purpose": "statistics",
            "requester": "ann@uva.nl", "organisation": "uva", "obligations": ["uva: agreement `a` epoch 3, clause 5: AUDIT"],
            "agreements": [{"steward": "uva", "agreement": "a", "epoch": 3}, {"steward": "vu", "agreement": "a", "epoch": 1}],
            "edges": [edge, onwards], "charge": {"agreement": "a", "organisation": "uva", "points": 1, "at": AT},
        });
        check(
            permit,
            &[
                "2026-03-01T10:00:00Z permit: query q1 attempt 1, ann@uva.nl of uva for statistics",
                "  graph ab12",
                "  under uva.a@3, vu.a@1",
                "  f2 at uva -> f1 at surf: partials of r0 over rows of uva.wages.persons (grade, id)",
                "    by uva: agreement `a` epoch 3, clause 2",
                "  f0 at coordinator -> the requester: released groups of r0",
                "    by uva: agreement `a` epoch 3, clause 1",
                "    by vu: agreement `a` epoch 1, clause 1",
                "  obliged by uva: agreement `a` epoch 3, clause 5: AUDIT",
                "  charged 1 of the budget of `a` for uva",
            ],
        );
        // As releases wrote it that did not say what leaves.
        let edge = json!({"from": "f2", "to": "f1", "clauses": [clause]});
        check(
            json!({"event": "permit", "at": AT, "query_id": "q1", "attempt": 0, "edges": [edge], "charge": null}),
            &[
                "2026-03-01T10:00:00Z permit: query q1, of nobody known here for no purpose",
                "  f2 -> f1",
                "    by uva: agreement `a` epoch 3, clause 2",
            ],
        );
    }

    #[test]
    fn what_was_given_refused_and_erased_is_one_line() {
        let given = json!({
            "event": "given", "at": AT, "query_id": "q1", "attempt": 0, "fragment": "f2", "to_place": "surf", "rows": 7,
            "bytes": 120, "outcome": "ended",
        });
        check(given.clone(), &["2026-03-01T10:00:00Z given: query q1, f2 -> surf: 7 rows, 120 bytes, ended"]);
        let mut failed = given;
        failed["outcome"] = "failed".into();
        failed["code"] = "STALE_BASIS".into();
        check(
            failed,
            &["2026-03-01T10:00:00Z given: query q1, f2 -> surf: 7 rows, 120 bytes, failed with STALE_BASIS"],
        );
        let refusal = json!({
            "event": "refusal", "at": AT, "graph_sha256": "", "query_id": "q2", "purpose": "statistics",
            "requester": "ann@uva.nl", "organisation": "uva", "code": "BUDGET_SPENT", "reason": "budget",
        });
        check(
            refusal,
            &["2026-03-01T10:00:00Z refusal: query q2, ann@uva.nl of uva for statistics: BUDGET_SPENT (budget)"],
        );
        let fetch = json!({
            "event": "refusal", "at": AT, "query_id": "q2", "reader": "surf", "code": "SITE_REFUSED", "reason": "fetch",
        });
        check(fetch, &["2026-03-01T10:00:00Z refusal: query q2, place surf: SITE_REFUSED (fetch)"]);
        let charge = json!({"agreement": "a", "organisation": "uva", "points": 1, "at": AT});
        check(
            json!({"event": "return", "at": AT, "query_id": "q2", "charge": charge}),
            &["2026-03-01T10:00:00Z return: query q2, given back 1 of the budget of `a` for uva"],
        );
    }

    #[test]
    fn an_agreement_is_shown_with_its_text_and_who_changed_it() {
        let altered = json!({
            "event": "agreement", "at": AT, "change": "alter", "agreement": "a", "epoch": 3, "text_sha256": "cd",
            "text": "CREATE AGREEMENT a ON SITE uva\nAS (\n  BUDGET 3 QUERIES PER DAY\n)", "requester": "ann@uva.nl",
            "organisation": "uva",
        });
        check(
            altered,
            &[
                "2026-03-01T10:00:00Z agreement: alter `a`, epoch 3, by ann@uva.nl of uva",
                "  text cd",
                "    CREATE AGREEMENT a ON SITE uva",
                "    AS (",
                "      BUDGET 3 QUERIES PER DAY",
                "    )",
            ],
        );
        let revoked = json!({
            "event": "agreement", "at": AT, "change": "revoke", "agreement": "a", "epoch": 4, "signed_by": "KEY=",
        });
        check(revoked, &["2026-03-01T10:00:00Z agreement: revoke `a`, epoch 4, signed with the key to KEY="]);
        let found = json!({"event": "agreement", "at": AT, "change": "found_revoked", "agreement": "a", "epoch": 4});
        check(found, &["2026-03-01T10:00:00Z agreement: found revoked `a`, epoch 4"]);
        let refused = json!({
            "event": "agreement", "at": AT, "change": null, "code": "SYNTAX", "reason": "a name is expected",
            "requester": "bob", "organisation": "vu",
        });
        check(
            refused,
            &[
                "2026-03-01T10:00:00Z agreement: a statement that is no change, by bob of vu, refused: SYNTAX",
                "  because a name is expected",
            ],
        );
    }

    #[test]
    fn a_coordinators_decisions_and_ends_are_shown() {
        let decision = json!({
            "event": "decision", "at": AT, "query_id": "q1", "verdict": "denied", "code": "DENIED", "requester": "ann@uva.nl",
            "organisation": "uva", "purpose": "statistics", "statement": "select ?", "statement_sha256": "11",
            "graph_sha256": null, "catalog_version": 7, "agreements": [], "clauses": ["uva.a@3 clause 1"],
            "reason": "no clause",
        });
        check(
            decision,
            &[
                "2026-03-01T10:00:00Z decision: query q1 denied, ann@uva.nl of uva for statistics: DENIED",
                "  because no clause",
                "  asked select ?",
                "  statement 11",
                "  catalog 7",
                "  by uva.a@3 clause 1",
            ],
        );
        let end = json!({
            "event": "end", "at": AT, "query_id": "q1", "outcome": "FINISHED", "rows_at_most": 1024,
            "released_nothing": ["vu"],
        });
        check(
            end,
            &[
                "2026-03-01T10:00:00Z end: query q1 FINISHED, at most 1024 rows to the requester, nothing released by vu",
            ],
        );
    }

    #[test]
    fn nothing_in_a_record_makes_a_line_of_its_own_or_moves_the_cursor() {
        let forged = "q1\n2026-03-01T10:00:00Z permit: query q2\r\u{1b}[2J\u{202e}";
        let given = json!({"event": "given", "at": AT, "query_id": forged, "fragment": "f2", "rows": 1});
        let text = words(&given);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.trim_end().chars().all(|character| !character.is_control() && character != '\u{202e}'), "{text}");
        // A kind that this release does not know.
        let text = words(&json!({"event": "later\nkind", "at": AT, "more": {"a": 1}}));
        assert!(text.lines().count() == 1 && text.contains("\"more\":{\"a\":1}"), "{text}");
        assert_eq!(words(&json!(3)), "? ?: 3\n");
    }
}
