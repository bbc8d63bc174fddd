//! The names of things in ODRL documents: parties, places, tables and purposes as URNs, DUO terms as their own IRIs.

use dynamos_planner::policy::{Grantee, PlaceRef};
use serde_json::{Value, json};

/// What the project's own names begin with.
const URN: &str = "urn:dynamos:";
/// DUO terms, in the forms in which documents write them; the first is written.
const DUO: [&str; 4] = ["duo:", "http://purl.obolibrary.org/obo/DUO_", "obo:DUO_", "DUO:"];
/// The purposes of the hierarchy begin so.
const DUO_PURPOSE: &str = "DUO:";
/// DUO terms that are conditions and not purposes, with what says the same here.
const MODIFIERS: [(&str, &str); 18] = [
    ("0000004", "no restriction; write `secondary_use` if everything is meant"),
    ("0000012", "research specific restrictions"),
    ("0000015", "no general methods research"),
    ("0000016", "genetic studies only"),
    ("0000018", "not for profit, non commercial use only"),
    ("0000019", "publication required"),
    ("0000020", "collaboration required"),
    ("0000021", "ethics approval required"),
    ("0000022", "geographical restriction; write SHIP … TO REGION"),
    ("0000024", "publication moratorium"),
    ("0000025", "time limit on use; write VALID UNTIL"),
    ("0000026", "user specific restriction; write FOR USER"),
    ("0000027", "project specific restriction"),
    ("0000028", "institution specific restriction; write FOR ORGANISATION"),
    ("0000029", "return to database or resource"),
    ("0000043", "clinical care use"),
    ("0000045", "not for profit organisation use only"),
    ("0000046", "non commercial use only"),
];

/// The project's ODRL profile, for which `dynamos:` stands.
pub(super) const PROFILE: &str = "urn:dynamos:odrl:";
/// ODRL's own context.
const ODRL_CONTEXT: &str = "http://www.w3.org/ns/odrl.jsonld";

/// The contexts of a document: ODRL's, and the prefixes of DUO and of the project's profile.
pub(super) fn context() -> Value {
    json!([ODRL_CONTEXT, { "duo": "http://purl.obolibrary.org/obo/DUO_", "dynamos": PROFILE }])
}

/// Whether terms mean under this context what they mean here. Terms are not expanded, so another one cannot be read.
pub(super) fn is_known_context(found: &Value) -> bool {
    *found == context() || *found == json!(ODRL_CONTEXT) || *found == json!([ODRL_CONTEXT])
}

/// A part of a URN: letters, digits, `_`, `.` and `-` as they are, other bytes as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'_' | b'.' | b'-' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The parts of one of the project's URNs.
fn parts(iri: &str) -> Option<Vec<String>> {
    iri.strip_prefix(URN)?.split(':').map(unescaped).collect()
}

fn urn(parts: &[&str]) -> String {
    format!("{URN}{}", parts.iter().map(|part| escaped(part)).collect::<Vec<_>>().join(":"))
}

/// A steward.
pub(super) fn site(name: &str) -> String {
    urn(&["site", name])
}

/// The agreement itself.
pub(super) fn agreement(steward: &str, name: &str) -> String {
    urn(&["agreement", steward, name])
}

/// The steward and the name in an agreement's IRI.
pub(super) fn agreement_of(iri: &str) -> Option<(String, String)> {
    match parts(iri)?.as_slice() {
        [kind, steward, name] if kind == "agreement" => Some((steward.clone(), name.clone())),
        _ => None,
    }
}

/// A table of a steward.
pub(super) fn table(steward: &str, table: &str) -> String {
    urn(&["table", steward, table])
}

pub(super) fn grantee(grantee: &Grantee) -> String {
    match grantee {
        Grantee::User(user) => urn(&["user", user]),
        Grantee::Role { role, organisation: None } => urn(&["role", role]),
        Grantee::Role { role, organisation: Some(organisation) } => urn(&["role", role, organisation]),
        Grantee::Organisation(organisation) => urn(&["organisation", organisation]),
        Grantee::Anyone => urn(&["anyone"]),
    }
}

pub(super) fn grantee_of(iri: &str) -> Option<Grantee> {
    let parts = parts(iri)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["user", user] => Some(Grantee::User((*user).to_owned())),
        ["role", role] => Some(Grantee::Role { role: (*role).to_owned(), organisation: None }),
        ["role", role, organisation] => {
            Some(Grantee::Role { role: (*role).to_owned(), organisation: Some((*organisation).to_owned()) })
        }
        ["organisation", organisation] => Some(Grantee::Organisation((*organisation).to_owned())),
        ["anyone"] => Some(Grantee::Anyone),
        _ => None,
    }
}

pub(super) fn place(place: &PlaceRef) -> String {
    match place {
        PlaceRef::Site(name) => site(name),
        PlaceRef::Role(role) => urn(&["places", "role", role]),
        PlaceRef::Region(region) => urn(&["places", "region", region]),
        PlaceRef::Coordinator => urn(&["places", "coordinator"]),
        PlaceRef::Any => urn(&["places", "any"]),
    }
}

pub(super) fn place_of(iri: &str) -> Option<PlaceRef> {
    let parts = parts(iri)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["site", name] => Some(PlaceRef::Site((*name).to_owned())),
        ["places", "role", role] => Some(PlaceRef::Role((*role).to_owned())),
        ["places", "region", region] => Some(PlaceRef::Region((*region).to_owned())),
        ["places", "coordinator"] => Some(PlaceRef::Coordinator),
        ["places", "any"] => Some(PlaceRef::Any),
        _ => None,
    }
}

/// A purpose: a DUO term where it is one.
pub(super) fn purpose(name: &str) -> String {
    match (name.strip_prefix(DUO_PURPOSE), DUO) {
        (Some(code), [written, ..]) => format!("{written}{code}"),
        (None, _) => urn(&["purpose", name]),
    }
}

/// The purpose of an IRI.
pub(super) fn purpose_of(iri: &str) -> Result<String, String> {
    if let Some(code) = DUO.iter().find_map(|prefix| iri.strip_prefix(prefix)) {
        return match MODIFIERS.iter().find(|(modifier, _)| *modifier == code) {
            Some((_, meaning)) => Err(format!("DUO:{code} is no purpose here ({meaning})")),
            None => Ok(format!("{DUO_PURPOSE}{code}")),
        };
    }
    match parts(iri).as_deref() {
        Some([kind, name]) if kind == "purpose" => Ok(name.clone()),
        _ => Err(format!("`{iri}` is no purpose of this federation")),
    }
}
