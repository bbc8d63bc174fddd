//! Agreements → ODRL. Every condition is written; only JOIN, which grants, has no word and is left out. What was written
//! is read back before it is given out: a condition that the language has and this file forgot would widen a grant.

use dynamos_planner::policy::{Agreement, NumberedClause};
use serde_json::{Map, Value, json};

use super::import::import_odrl;
use super::iri;
use super::rule::{Rule, Slot, Term, rule_of};
use crate::interchange::{InterchangeError, Report};

/// Writes agreements as ODRL policies: one as it is, several as a graph.
///
/// # Errors
///
/// When an agreement grants nothing that ODRL could hold, or would be read back as another one.
pub fn export_odrl(agreements: &[Agreement]) -> Result<(Value, Report), InterchangeError> {
    let mut report = Report::default();
    let mut policies = agreements.iter().map(|one| policy(one, &mut report)).collect::<Result<Vec<_>, _>>()?;
    let document = match (policies.pop(), policies.is_empty()) {
        (Some(Value::Object(mut only)), true) => {
            only.insert("@context".to_owned(), iri::context());
            Value::Object(only)
        }
        (last, _) => {
            policies.extend(last);
            json!({ "@context": iri::context(), "@graph": policies })
        }
    };
    let written: Vec<Agreement> = agreements.iter().map(without_joins).collect();
    match import_odrl(&document) {
        Ok((again, _)) if again == written => Ok((document, report)),
        Ok(_) => Err(InterchangeError::Export("it would be read back as another agreement".to_owned())),
        Err(error) => Err(InterchangeError::Export(format!("it could not be read back: {error}"))),
    }
}

fn without_joins(agreement: &Agreement) -> Agreement {
    let mut agreement = agreement.clone();
    agreement.clauses.retain(|clause| rule_of(clause).is_some());
    agreement
}

fn policy(agreement: &Agreement, report: &mut Report) -> Result<Value, InterchangeError> {
    let uid = iri::agreement(&agreement.steward, &agreement.name);
    let mut rules = Vec::new();
    for clause in &agreement.clauses {
        match rule_of(clause) {
            Some(rule) => {
                told(agreement, clause, &rule, report);
                rules.push(rule);
            }
            None => report.leave_out(format!(
                "`{}`: {clause}: ODRL has no word for it; without it fewer joins are allowed",
                agreement.name
            )),
        }
    }
    let limits: Vec<&Rule> = rules.iter().filter(|rule| rule.slot == Slot::Limit).collect();
    let common = common(agreement, &uid, &limits, report);
    let of = |slot: Slot| rules.iter().filter(move |rule| rule.slot == slot);
    let permissions: Vec<Value> = of(Slot::Permission).map(|rule| permission(rule, agreement, &uid, &common)).collect();
    if permissions.is_empty() {
        let text = format!("`{}` grants nothing that ODRL has a word for", agreement.name);
        return Err(InterchangeError::Export(text));
    }
    let obligations: Vec<Value> = of(Slot::Obligation).map(|rule| obligation(rule, &uid)).collect();
    let mut policy = json!({
        "@type": "Agreement",
        "uid": uid,
        "profile": iri::PROFILE,
        "assigner": iri::site(&agreement.steward),
        "assignee": agreement.grantees.iter().map(iri::grantee).collect::<Vec<_>>(),
        "permission": permissions,
    });
    if let (Value::Object(policy), false) = (&mut policy, obligations.is_empty()) {
        policy.insert("obligation".to_owned(), json!(obligations));
    }
    Ok(policy)
}

fn told(agreement: &Agreement, clause: &NumberedClause, rule: &Rule, report: &mut Report) {
    let slot = match rule.slot {
        Slot::Permission => "permission",
        Slot::Obligation => "obligation",
        Slot::Limit => "constraint of every permission",
    };
    report.carry(format!("`{}`: {clause} → {slot} `{}`", agreement.name, rule.action));
}

/// The constraints that every permission has.
fn common(agreement: &Agreement, uid: &str, limits: &[&Rule], report: &mut Report) -> Vec<Value> {
    let purposes: Vec<Value> = agreement.purposes.iter().map(|name| json!({ "@id": iri::purpose(name) })).collect();
    for name in &agreement.purposes {
        report.carry(format!("`{}`: PURPOSE {name} → {}", agreement.name, iri::purpose(name)));
    }
    let mut common = vec![json!({ "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": purposes })];
    for (moment, operator) in [(agreement.valid_from, "gteq"), (agreement.valid_until, "lt")] {
        let Some(moment) = moment else { continue };
        let text = moment.to_string();
        let kind = if text.contains('T') { "xsd:dateTime" } else { "xsd:date" };
        let moment = json!({ "@value": text, "@type": kind });
        common.push(json!({ "leftOperand": "dateTime", "operator": operator, "rightOperand": moment }));
        report.carry(format!("`{}`: VALID … '{text}' → constraint `dateTime`", agreement.name));
    }
    for limit in limits {
        for one in &limit.terms {
            let mut one = term(one);
            one.insert("uid".to_owned(), json!(rule_uid(uid, limit)));
            if let Some(name) = &limit.name {
                one.insert("dynamos:name".to_owned(), json!(name));
            }
            common.push(Value::Object(one));
        }
    }
    common
}

fn rule_uid(uid: &str, rule: &Rule) -> String {
    format!("{uid}#{}", rule.number)
}

fn permission(rule: &Rule, agreement: &Agreement, uid: &str, common: &[Value]) -> Value {
    let mut constraints = common.to_vec();
    if !rule.places.is_empty() {
        let places: Vec<String> = rule.places.iter().map(iri::place).collect();
        constraints.push(json!({ "leftOperand": "recipient", "operator": "isAnyOf", "rightOperand": places }));
    }
    let mut permission = head(rule, uid);
    let targets: Vec<String> = rule.tables.iter().map(|table| iri::table(&agreement.steward, table)).collect();
    if !targets.is_empty() {
        permission.insert("target".to_owned(), json!(targets));
    }
    permission.insert("constraint".to_owned(), json!(constraints));
    Value::Object(permission)
}

fn obligation(rule: &Rule, uid: &str) -> Value {
    let mut duty = head(rule, uid);
    if let [place] = rule.places.as_slice() {
        duty.insert("assignee".to_owned(), json!(iri::place(place)));
    }
    Value::Object(duty)
}

/// What permissions and obligations share: who they are, and the action with its refinements.
fn head(rule: &Rule, uid: &str) -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("uid".to_owned(), json!(rule_uid(uid, rule)));
    if let Some(name) = &rule.name {
        head.insert("dynamos:name".to_owned(), json!(name));
    }
    let refinements: Vec<Value> = rule.terms.iter().map(|one| Value::Object(term(one))).collect();
    let action = match refinements.is_empty() {
        true => json!(rule.action),
        false => json!([{ "rdf:value": { "@id": rule.action }, "refinement": refinements }]),
    };
    head.insert("action".to_owned(), action);
    head
}

fn term(term: &Term) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("leftOperand".to_owned(), json!(term.left));
    map.insert("operator".to_owned(), json!(term.operator));
    map.insert("rightOperand".to_owned(), term.right.clone());
    if let Some(unit) = &term.unit {
        map.insert("unit".to_owned(), json!(unit));
    }
    map
}
