//! A rule that was read → the text of its clause. Nothing is trusted here: the text is parsed, and what it means is
//! compared with the rule again.

use serde_json::Value;

use super::rule::words::*;
use super::rule::{Rule, Term};

/// The clause's text, without its number and name.
pub(super) fn text_of(rule: &Rule) -> Result<String, String> {
    let terms = Terms(&rule.terms);
    match rule.action.as_str() {
        RELEASE_ROWS => Ok(format!("RELEASE ROWS ({}) FROM {}", terms.list(COLUMN)?, terms.relation()?)),
        RELEASE_AGGREGATES => aggregates(terms),
        SHIP_ROWS => {
            let (columns, relation) = (terms.list(COLUMN)?, terms.relation()?);
            Ok(format!("SHIP ROWS ({columns}) FROM {relation} TO {}", places(rule)?))
        }
        SHIP_PARTIALS => Ok(format!("SHIP PARTIALS OF {} TO {}", terms.text(OF)?, places(rule)?)),
        COMPARE => Ok(format!("FILTER ON {} COMPARE WITH {}", terms.list(COLUMN)?, terms.text(WITH)?)),
        ANONYMIZE => Ok(format!("MASK {} AS {}", terms.text(COLUMN)?, terms.text(VALUE)?)),
        RESTRICT => {
            let table = terms.get(TABLE).map(|_| terms.text(TABLE)).transpose()?;
            let table = table.map(|table| format!("ON {table} ")).unwrap_or_default();
            Ok(format!("ROWS {table}WHERE {}", terms.text(WHERE)?))
        }
        DELETE => {
            let (amount, unit) = elapsed(&terms.text(ELAPSED_TIME)?)?;
            Ok(format!("OBLIGE RETENTION INTERVAL '{amount}' {unit}{}", at(rule)?))
        }
        AUDIT => Ok(format!("OBLIGE AUDIT{}", at(rule)?)),
        INFORM => Ok(format!("OBLIGE NOTIFICATION{}", at(rule)?)),
        BUDGET => {
            let limits = rule.terms.iter().map(limit).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("BUDGET {}", limits.join(", ")))
        }
        ARCHETYPES => Ok(format!("ARCHETYPES {}", terms.list(ARCHETYPE)?)),
        other => Err(format!("action `{other}` grants nothing here")),
    }
}

fn aggregates(terms: Terms<'_>) -> Result<String, String> {
    let mut text = format!("RELEASE {} OF {}", terms.list(FUNCTION)?, terms.list(ARGUMENT)?);
    if terms.get(GROUPING).is_some() {
        text += &format!(" BY {}", terms.list(GROUPING)?);
    }
    text += &format!(" FROM {}", terms.relation()?);
    for term in terms.0.iter().filter(|term| term.left == ENTITIES) {
        let entity = term.unit.as_deref().ok_or("a minimum has no column that it counts")?;
        text += &format!(" MINIMUM {} DISTINCT {entity}", term.right);
    }
    if let Some(term) = terms.get(SITES) {
        text += &format!(" MINIMUM {} SITES", term.right);
    }
    if terms.get(SCOPE).is_some() {
        text += " PER SITE";
    }
    if terms.get(DOMINANCE).is_some() {
        text += &format!(" DOMINANCE {}", terms.text(DOMINANCE)?);
    }
    if terms.get(ROUND_TO).is_some() {
        text += &format!(" ROUND TO {}", terms.text(ROUND_TO)?);
    }
    Ok(text + &format!(" ELSE {}", terms.text(OTHERWISE)?))
}

fn places(rule: &Rule) -> Result<String, String> {
    if rule.places.is_empty() {
        return Err("it says no recipient".to_owned());
    }
    Ok(rule.places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn at(rule: &Rule) -> Result<String, String> {
    match rule.places.as_slice() {
        [] => Ok(String::new()),
        [place] => Ok(format!(" AT {place}")),
        _ => Err("it is of several places".to_owned()),
    }
}

/// `PT0H` as amount and unit.
fn elapsed(time: &str) -> Result<(u32, &'static str), String> {
    let units = [("PT", "S", "SECOND"), ("PT", "M", "MINUTE"), ("PT", "H", "HOUR"), ("P", "D", "DAY")];
    let read = units.into_iter().find_map(|(before, behind, unit)| {
        let amount = time.strip_prefix(before)?.strip_suffix(behind)?.parse().ok()?;
        Some((amount, unit))
    });
    read.ok_or_else(|| format!("`{time}` is no time of one unit, such as `PT12H`"))
}

fn limit(term: &Term) -> Result<String, String> {
    let per = match term.unit.as_deref() {
        Some("PT1H") => "HOUR",
        Some("P1D") => "DAY",
        Some("P1W") => "WEEK",
        Some("P1M") => "MONTH",
        Some("P1Y") => "YEAR",
        _ => return Err(format!("`{}` has no period of one hour, day, week, month or year", term.left)),
    };
    match (term.left.as_str(), &term.right) {
        (COUNT, Value::Number(count)) => Ok(format!("{count} QUERIES PER {per}")),
        (EPSILON, Value::String(amount)) => Ok(format!("EPSILON {amount} PER {per}")),
        (other, _) => Err(format!("`{other}` limits nothing here")),
    }
}

/// The terms of a rule.
#[derive(Clone, Copy)]
struct Terms<'a>(&'a [Term]);

impl Terms<'_> {
    fn get(&self, left: &str) -> Option<&Term> {
        self.0.iter().find(|term| term.left == left)
    }

    fn text(&self, left: &str) -> Result<String, String> {
        match self.get(left).map(|term| &term.right) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("`{left}` is no text")),
            None => Err(format!("it does not say `{left}`")),
        }
    }

    fn list(&self, left: &str) -> Result<String, String> {
        let Some(term) = self.get(left) else { return Err(format!("it does not say `{left}`")) };
        let values = match &term.right {
            Value::Array(values) => values.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        values.map(|values| values.join(", ")).ok_or_else(|| format!("`{left}` is no list of texts"))
    }

    /// The relation with its condition.
    fn relation(&self) -> Result<String, String> {
        let filter = self.get(WHERE).map(|_| self.text(WHERE)).transpose()?;
        let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        Ok(self.text(RELATION)? + &filter)
    }
}
