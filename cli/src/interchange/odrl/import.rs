//! ODRL → agreements. A permission that has anything unknown in it is left out and reported: less is granted. Where
//! leaving something out would grant more, as with a prohibition or an unknown obligation, the document is refused.

use dynamos_planner::policy::{Agreement, Grantee, NumberedClause, UtcMillis, purpose};
use serde_json::{Map, Value};

use super::iri;
use super::rule::words::{ARCHETYPE, ARCHETYPES, BUDGET, COUNT, EPSILON};
use super::rule::{Rule, Slot, Term, rule_of};
use super::text::text_of;
use crate::interchange::{InterchangeError, Report, pieces, texts};

/// Prefixes of keys that describe a policy and change nothing of what it says.
const DESCRIPTIONS: [&str; 5] = ["dc:", "dct:", "dcterms:", "rdfs:", "schema:"];

/// Reads ODRL policies.
///
/// # Errors
///
/// When the document is no agreement of a site with somebody, for a purpose, or says what cannot be kept.
pub fn import_odrl(document: &Value) -> Result<(Vec<Agreement>, Report), InterchangeError> {
    let mut report = Report::default();
    if !document.get("@context").is_some_and(iri::is_known_context) {
        return refuse(format!("its `@context` is not {}, so its terms may mean something else", iri::context()));
    }
    let policies: Vec<&Value> = match document {
        Value::Object(whole) if whole.contains_key("@graph") => {
            only(whole, &["@context", "@graph"]).map_err(InterchangeError::Import)?;
            list(whole.get("@graph"))
        }
        _ => vec![document],
    };
    if policies.is_empty() {
        return refuse("there is no policy in it");
    }
    let agreements =
        policies.into_iter().map(|policy| agreement(policy, &mut report)).collect::<Result<Vec<_>, _>>()?;
    texts::note_unsupported(&agreements, &mut report);
    Ok((agreements, report))
}

fn refuse<T>(text: impl Into<String>) -> Result<T, InterchangeError> {
    Err(InterchangeError::Import(text.into()))
}

/// What every permission says in the same way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Common {
    purposes: Vec<String>,
    valid_from: Option<UtcMillis>,
    valid_until: Option<UtcMillis>,
    limits: Vec<Rule>,
}

fn agreement(policy: &Value, report: &mut Report) -> Result<Agreement, InterchangeError> {
    let Value::Object(policy) = policy else { return refuse("a policy is no object") };
    check_keys(policy, report)?;
    let uid = text(policy.get("uid")).unwrap_or_default();
    let Some((steward, name)) = iri::agreement_of(&uid) else {
        return refuse(format!("`{uid}` is no name of an agreement; write `urn:dynamos:agreement:SITE:NAME`"));
    };
    if ids(policy.get("assigner")).as_deref() != Ok(&[iri::site(&steward)]) {
        return refuse(format!("the assigner of `{name}` is not `{}`", iri::site(&steward)));
    }
    let grantees = ids(policy.get("assignee")).map_err(InterchangeError::Import)?;
    let grantees = grantees.iter().map(|one| {
        iri::grantee_of(one).ok_or_else(|| InterchangeError::Import(format!("assignee `{one}` is nobody here")))
    });
    let grantees = grantees.collect::<Result<Vec<Grantee>, _>>()?;
    let mut common: Option<Common> = None;
    let mut clauses = Vec::new();
    for permission in list(policy.get("permission")) {
        match read_permission(permission, &uid, &steward) {
            Ok((rule, own)) => {
                if *common.get_or_insert_with(|| own.clone()) != own {
                    return refuse(
                        "its permissions have different purposes, times or limits; write policies of their own",
                    );
                }
                clauses.push(rule);
            }
            Err(problem) => report.leave_out(format!("permission {}: {problem}", shown(permission))),
        }
    }
    for duty in list(policy.get("obligation")) {
        let read = duty.as_object().ok_or_else(|| "it is no object".to_owned()).and_then(|duty| {
            only(duty, &["uid", "@type", "dynamos:name", "action", "assignee"])?;
            let mut rule = head(duty, &uid, Slot::Obligation)?;
            rule.places = places(duty.get("assignee"))?;
            Ok(rule)
        });
        match read {
            Ok(rule) => clauses.push(rule),
            Err(problem) => return refuse(format!("obligation {}: {problem}", shown(duty))),
        }
    }
    let Some(common) = common else {
        return refuse(format!("no permission of `{name}` can be kept: {}", report.left_out.join("; ")));
    };
    clauses.extend(common.limits.iter().cloned());
    let clauses = parsed(clauses, report)?;
    for purpose in &common.purposes {
        report.carry(format!("`{name}`: purpose {} → PURPOSE {purpose}", iri::purpose(purpose)));
    }
    let known = purpose::shipped().map_err(|error| InterchangeError::Import(error.to_string()))?;
    let is_known = |purpose: &str| known.names().any(|name| known.covers(purpose, name));
    for purpose in common.purposes.iter().filter(|purpose| !is_known(purpose)) {
        report.leave_out(format!("`{name}`: nothing is known of purpose {purpose}; it covers itself alone"));
    }
    let Common { purposes, valid_from, valid_until, .. } = common;
    let agreement = Agreement { name, steward, grantees, purposes, valid_from, valid_until, clauses };
    pieces::checked(agreement).map_err(InterchangeError::Import)
}

fn check_keys(policy: &Map<String, Value>, report: &mut Report) -> Result<(), InterchangeError> {
    for key in policy.keys() {
        match key.as_str() {
            "@context" | "@type" | "uid" | "profile" | "assigner" | "assignee" | "permission" | "obligation" => {}
            "prohibition" => return refuse("it has prohibitions; all that is not permitted is forbidden here anyway"),
            _ if DESCRIPTIONS.iter().any(|prefix| key.starts_with(prefix)) => {
                report.leave_out(format!("`{key}`: it describes the policy"));
            }
            _ => return refuse(format!("`{key}` of the policy has no meaning here")),
        }
    }
    if ids(policy.get("profile")).as_deref() != Ok(&[iri::PROFILE.to_owned()]) {
        return refuse(format!("its profile is not `{}` alone, and what another one means is not known", iri::PROFILE));
    }
    match text(policy.get("@type")).as_deref() {
        Some("Agreement" | "odrl:Agreement" | "http://www.w3.org/ns/odrl/2/Agreement") => Ok(()),
        _ => refuse("it is no policy of type `Agreement`, so nobody has agreed to it"),
    }
}

/// The clauses of rules, each compared with what it would be written as.
fn parsed(mut rules: Vec<Rule>, report: &mut Report) -> Result<Vec<NumberedClause>, InterchangeError> {
    rules.sort_by_key(|rule| rule.number);
    let mut texts = Vec::new();
    for rule in &rules {
        let text =
            text_of(rule).map_err(|problem| InterchangeError::Import(format!("`{}`: {problem}", rule.action)))?;
        let name = rule.name.as_ref().map(|name| format!("\"{}\": ", name.replace('"', "\"\""))).unwrap_or_default();
        texts.push(format!("{}: {name}{text}", rule.number));
    }
    let clauses = pieces::clauses(&texts).map_err(InterchangeError::Import)?;
    for (rule, clause) in rules.iter().zip(&clauses) {
        if rule_of(clause).as_ref() != Some(rule) {
            return refuse(format!(
                "`{}` of `{clause}` is not written as it means; export that clause to see how",
                rule.action
            ));
        }
        report.carry(format!("{} → {clause}", rule.action));
    }
    Ok(clauses)
}

fn read_permission(permission: &Value, uid: &str, steward: &str) -> Result<(Rule, Common), String> {
    let Value::Object(permission) = permission else { return Err("it is no object".to_owned()) };
    only(permission, &["uid", "@type", "dynamos:name", "action", "target", "constraint"])?;
    let mut rule = head(permission, uid, Slot::Permission)?;
    let mut common = Common::default();
    for constraint in list(permission.get("constraint")) {
        let Value::Object(constraint) = constraint else { return Err("a constraint is no object".to_owned()) };
        read_constraint(constraint, uid, &mut rule, &mut common)?;
    }
    if common.purposes.is_empty() {
        return Err("it names no purpose, and nothing is granted by omission".to_owned());
    }
    // The clause must be known before its tables are; a rule that has no clause has been refused by then.
    let clause =
        pieces::clauses(&[standing_alone(&rule)?]).map_err(|problem| format!("its terms are no clause: {problem}"))?;
    let tables = clause.first().and_then(rule_of).map(|known| known.tables).unwrap_or_default();
    let targets: Vec<String> = tables.iter().map(|table| iri::table(steward, table)).collect();
    if permission.get("target").map_or(Ok(Vec::new()), |target| ids(Some(target)))? != targets {
        return Err(format!("its targets are not the tables of its relation, {}", targets.join(", ")));
    }
    rule.tables = tables;
    Ok((rule, common))
}

/// The rule's text where it must not refer to another one.
fn standing_alone(rule: &Rule) -> Result<String, String> {
    let text = text_of(rule)?;
    Ok(if text.starts_with("SHIP PARTIALS") { "ARCHETYPES compute_to_data".to_owned() } else { text })
}

fn read_constraint(
    constraint: &Map<String, Value>,
    uid: &str,
    rule: &mut Rule,
    common: &mut Common,
) -> Result<(), String> {
    only(constraint, &["uid", "@type", "dynamos:name", "leftOperand", "operator", "rightOperand", "unit"])?;
    let term = read_term(constraint)?;
    match (term.left.as_str(), term.operator.as_str()) {
        ("purpose" | "recipient", "eq") if list(Some(&term.right)).len() != 1 => {
            Err(format!("`{}` cannot equal several values; write `isAnyOf`", term.left))
        }
        ("purpose", "isAnyOf" | "eq") if common.purposes.is_empty() => {
            for one in ids(Some(&term.right))? {
                common.purposes.push(iri::purpose_of(&one)?);
            }
            Ok(())
        }
        ("dateTime", "gteq") if common.valid_from.is_none() => {
            common.valid_from = Some(moment(&term.right)?);
            Ok(())
        }
        ("dateTime", "lt") if common.valid_until.is_none() => {
            common.valid_until = Some(moment(&term.right)?);
            Ok(())
        }
        ("recipient", "isAnyOf" | "eq") if rule.places.is_empty() => {
            rule.places = places(Some(&term.right))?;
            Ok(())
        }
        (ARCHETYPE | COUNT | EPSILON, _) => add_limit(constraint, term, uid, common),
        (left, operator) => Err(format!("constraint `{left} {operator}` cannot be kept here")),
    }
}

/// Adds a limit to the clause that its identifier names.
fn add_limit(constraint: &Map<String, Value>, term: Term, uid: &str, common: &mut Common) -> Result<(), String> {
    let (number, name) = identity(constraint, uid)?;
    let action = if term.left == ARCHETYPE { ARCHETYPES } else { BUDGET };
    match common.limits.iter_mut().find(|limit| limit.number == number) {
        Some(known) if known.action == action => known.terms.push(term),
        Some(_) => return Err(format!("two limits are numbered {number}")),
        None => common.limits.push(Rule {
            number,
            name,
            slot: Slot::Limit,
            action: action.to_owned(),
            terms: vec![term],
            places: Vec::new(),
            tables: Vec::new(),
        }),
    }
    Ok(())
}

/// Number, name, action and refinements.
fn head(object: &Map<String, Value>, uid: &str, slot: Slot) -> Result<Rule, String> {
    let (number, name) = identity(object, uid)?;
    let (action, terms) = match list(object.get("action")).as_slice() {
        [Value::String(action)] => (action.clone(), Vec::new()),
        [Value::Object(refined)] => {
            only(refined, &["rdf:value", "refinement"])?;
            let action = ids(refined.get("rdf:value"))?;
            let [action] = action.as_slice() else { return Err("it has no single action".to_owned()) };
            let terms = list(refined.get("refinement")).into_iter().map(|term| match term {
                Value::Object(term) => {
                    only(term, &["leftOperand", "operator", "rightOperand", "unit"])?;
                    read_term(term)
                }
                _ => Err("a refinement is no object".to_owned()),
            });
            (action.clone(), terms.collect::<Result<Vec<_>, _>>()?)
        }
        _ => return Err("it has no single action".to_owned()),
    };
    Ok(Rule { number, name, slot, action, terms, places: Vec::new(), tables: Vec::new() })
}

/// The clause's number, which stands behind the agreement's name, and its name.
fn identity(object: &Map<String, Value>, uid: &str) -> Result<(u32, Option<String>), String> {
    let own = text(object.get("uid")).unwrap_or_default();
    let number = own.strip_prefix(uid).and_then(|rest| rest.strip_prefix('#')).and_then(|number| number.parse().ok());
    let number = number.filter(|number| *number > 0).ok_or_else(|| format!("its uid is not `{uid}#` and a number"))?;
    match object.get("dynamos:name") {
        None => Ok((number, None)),
        Some(Value::String(name)) => Ok((number, Some(name.clone()))),
        Some(_) => Err("its name is no text".to_owned()),
    }
}

fn read_term(object: &Map<String, Value>) -> Result<Term, String> {
    let [left, operator] = ["leftOperand", "operator"].map(|key| {
        let found = ids(object.get(key))?;
        found.first().cloned().ok_or_else(|| format!("a constraint has no `{key}`"))
    });
    let right = object.get("rightOperand").cloned().ok_or("a constraint has no `rightOperand`")?;
    let unit = object.get("unit").map(|unit| text(Some(unit)).ok_or("a unit is no text")).transpose()?;
    Ok(Term { left: left?, operator: operator?, right, unit })
}

/// A moment, plain or with its type.
fn moment(value: &Value) -> Result<UtcMillis, String> {
    let text = text(Some(value.get("@value").unwrap_or(value))).unwrap_or_default();
    UtcMillis::parse(&text).ok_or_else(|| format!("{value} is no moment; write it like `2026-01-31T12:00:00Z`"))
}

fn places(value: Option<&Value>) -> Result<Vec<dynamos_planner::policy::PlaceRef>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let place = |one: &String| iri::place_of(one).ok_or_else(|| format!("`{one}` is no place here"));
    ids(Some(value))?.iter().map(place).collect()
}

/// A value as a list: JSON-LD writes one element without a list around it.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(values)) => values.iter().collect(),
        Some(one) => vec![one],
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

/// Names, each as a text or as `{"@id": …}`.
fn ids(value: Option<&Value>) -> Result<Vec<String>, String> {
    let id = |one: &Value| match one {
        Value::String(id) => Ok(id.clone()),
        Value::Object(object) if object.len() == 1 => {
            text(object.get("@id")).ok_or_else(|| format!("{one} is no name"))
        }
        _ => Err(format!("{one} is no name")),
    };
    list(value).into_iter().map(id).collect()
}

/// That an object has no key besides these.
fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}` has no meaning here")),
        None => Ok(()),
    }
}

/// What a rule is called in a report.
fn shown(rule: &Value) -> String {
    text(rule.get("uid")).map_or_else(|| rule.to_string(), |uid| format!("`{uid}`"))
}
