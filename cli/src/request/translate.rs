//! A request → SQL. The query inside says which rows; the algorithm makes groups of them.
//!
//! ```text
//! aggregate      SELECT g, avg(v) FROM schema.t … WHERE t.steward IN (providers) GROUP BY g
//! otherwise      SELECT 'p' AS provider, g, avg(v) FROM p.schema.t … GROUP BY g      one for each provider p
//! ```
//!
//! A LIMIT is left out: with the original it keeps messages small, and an average over the first rows of an unordered
//! result means nothing. A clause that would be lost, and a query inside the query, whose tables would keep the
//! original's names, are refused. All else stays as it is written, and may be refused by the agreements.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, LimitClause, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SetExpr, Statement, TableFactor, TableWithJoins, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::RequestError;
use super::model::{Options, Request};
use crate::interchange::Profile;

/// The only type of request that asks for data.
const KIND: &str = "sqlDataRequest";

/// What things are called here.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Names of places and tables.
    pub profile: Option<&'a Profile>,
    /// Schema of tables that the profile does not name.
    pub schema: Option<&'a str>,
    /// Column whose values make the groups.
    pub group_by: &'a str,
    /// Column that is averaged.
    pub average_of: &'a str,
}

/// What a request stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// Queries, to be asked in this order.
    pub queries: Vec<String>,
    /// What has no counterpart, one line each.
    pub notes: Vec<String>,
}

/// The SQL of a request.
///
/// # Errors
///
/// When the request is of another type, or its query is not one SELECT over joined tables that has the two columns.
pub fn translate(request: &Request, names: &Names<'_>) -> Result<Statements, RequestError> {
    check_kind(request)?;
    let select = select(&request.data_request.query)?;
    let mut statements = Statements::default();
    notes(request, &mut statements.notes);
    let sites: Vec<String> = request.data_providers.iter().map(|name| site(name, names)).collect();
    if request.data_request.options.aggregate {
        let whole = placed(&select, None, names)?;
        let condition = steward_condition(&whole, &sites);
        statements.queries.push(grouped(&whole, None, Some(&condition), names)?);
    } else {
        for site in &sites {
            let own = placed(&select, Some(site), names)?;
            statements.queries.push(grouped(&own, Some(site), None, names)?);
        }
    }
    Ok(statements)
}

fn refused<T>(text: impl Into<String>) -> Result<T, RequestError> {
    Err(RequestError::Untranslatable(text.into()))
}

fn check_kind(request: &Request) -> Result<(), RequestError> {
    for kind in std::iter::once(&request.kind).chain(&request.data_request.kind) {
        if kind != KIND {
            return refused(format!("type `{kind}` asks for no data; only `{KIND}` does"));
        }
    }
    if request.data_providers.is_empty() {
        return refused("it names no data providers");
    }
    Ok(())
}

fn notes(request: &Request, notes: &mut Vec<String>) {
    let Options { graph, anonymize, aggregate: _ } = request.data_request.options;
    if graph {
        notes.push("graph: clients draw their results".to_owned());
    }
    if anonymize {
        notes.push("anonymize: what is masked is the stewards' choice, by MASK clauses".to_owned());
    }
    let lower = request.data_request.query.to_lowercase();
    if lower.split_whitespace().any(|word| word == "limit") {
        notes.push("LIMIT: left out, the average is over all rows".to_owned());
    }
}

/// The one SELECT of the query.
fn select(sql: &str) -> Result<Box<Select>, RequestError> {
    let parsed = Parser::parse_sql(&GenericDialect {}, sql)
        .map_err(|error| RequestError::Untranslatable(format!("its query is not SQL: {error}")))?;
    let [Statement::Query(query)] = parsed.as_slice() else { return refused("its query is not one SELECT") };
    let SetExpr::Select(select) = query.body.as_ref() else { return refused("its query is not one SELECT") };
    match around(query).or_else(|| inside(select)) {
        Some(clause) => refused(format!(
            "its query must be a SELECT of rows, and {clause} would be lost; write the question as SQL instead"
        )),
        None => Ok(select.clone()),
    }
}

/// What stands around the SELECT and is not carried over, if anything does. Only a plain LIMIT may be left out.
fn around(query: &Query) -> Option<&'static str> {
    let Query {
        with,
        body: _,
        order_by,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    let offset = match limit_clause {
        None => false,
        Some(LimitClause::LimitOffset { limit: _, offset, limit_by }) => offset.is_some() || !limit_by.is_empty(),
        Some(LimitClause::OffsetCommaLimit { .. }) => true,
    };
    first_of(&[
        (with.is_some(), "WITH"),
        (order_by.is_some(), "ORDER BY"),
        (offset, "OFFSET or LIMIT BY"),
        (fetch.is_some(), "FETCH"),
        (!locks.is_empty(), "FOR UPDATE or FOR SHARE"),
        (for_clause.is_some(), "FOR"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT"),
        (!pipe_operators.is_empty(), "a pipe operator (`|>`)"),
    ])
}

/// What stands in the SELECT and is not carried over, if anything does. Hints change no rows.
fn inside(select: &Select) -> Option<&'static str> {
    let Select {
        select_token: _,
        optimizer_hints: _,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor: _,
    } = select;
    let rows = |keys: &GroupByExpr| match keys {
        GroupByExpr::Expressions(keys, modifiers) => keys.is_empty() && modifiers.is_empty(),
        GroupByExpr::All(_) => false,
    };
    let changed = projection.iter().any(|item| match item {
        SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => !options.to_string().is_empty(),
        _ => false,
    });
    first_of(&[
        (matches!(distinct, Some(Distinct::On(_))), "DISTINCT ON"),
        (select_modifiers.is_some(), "a modifier of SELECT"),
        (top.is_some(), "TOP"),
        (changed, "what stands behind `*`"),
        (exclude.is_some(), "EXCLUDE"),
        (into.is_some(), "INTO"),
        (!lateral_views.is_empty(), "LATERAL VIEW"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT BY"),
        (!rows(group_by), "GROUP BY"),
        (!cluster_by.is_empty(), "CLUSTER BY"),
        (!distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!sort_by.is_empty(), "SORT BY"),
        (having.is_some(), "HAVING"),
        (!named_window.is_empty(), "WINDOW"),
        (qualify.is_some(), "QUALIFY"),
        (value_table_mode.is_some(), "SELECT AS"),
    ])
}

fn first_of(clauses: &[(bool, &'static str)]) -> Option<&'static str> {
    clauses.iter().find(|(written, _)| *written).map(|(_, clause)| *clause)
}

/// The SELECT over this system's tables.
fn placed(select: &Select, site: Option<&str>, names: &Names<'_>) -> Result<Select, RequestError> {
    let mut select = select.clone();
    for TableWithJoins { relation, joins } in &mut select.from {
        place_table(relation, site, names)?;
        for join in joins {
            place_table(&mut join.relation, site, names)?;
            let condition = match &join.join_operator {
                JoinOperator::Join(condition) | JoinOperator::Inner(condition) => condition,
                _ => return refused("its query has another join than an inner one"),
            };
            if matches!(condition, JoinConstraint::None) {
                return refused(format!("the join with `{}` has no condition; write ON", join.relation));
            }
        }
    }
    if select.from.len() != 1 {
        return refused("its query must join its tables with JOIN … ON");
    }
    if select.visit(&mut Nested).is_break() {
        return refused("its query has another query inside it; write the question as SQL instead");
    }
    Ok(select)
}

/// Stops at the first query inside a SELECT.
struct Nested;

impl Visitor for Nested {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

fn place_table(factor: &mut TableFactor, site: Option<&str>, names: &Names<'_>) -> Result<(), RequestError> {
    let TableFactor::Table { name, alias, .. } = factor else { return refused("its query reads more than tables") };
    let written = name.to_string();
    let known = names.profile.and_then(|profile| {
        profile.datasets.values().find_map(|dataset| dataset.tables.get(&written).map(String::as_str))
    });
    let mut parts: Vec<String> = match (known, names.schema) {
        (Some(known), _) => known.split('.').map(str::to_owned).collect(),
        (None, Some(schema)) if name.0.len() == 1 => vec![schema.to_owned(), written.to_lowercase()],
        (None, None) if name.0.len() == 1 => {
            return refused(format!("table `{written}` has no schema; give `--schema` or a profile that names it"));
        }
        (None, _) => name.0.iter().map(|part| part.to_string().to_lowercase()).collect(),
    };
    if alias.is_none() && parts.last().is_some_and(|last| !written.eq_ignore_ascii_case(last)) {
        return refused(format!("table `{written}` is called otherwise here; give it an alias in the query"));
    }
    if let Some(site) = site {
        parts.insert(0, site.to_owned());
    }
    *name = ObjectName(parts.into_iter().map(|part| ObjectNamePart::Identifier(ident(part))).collect());
    Ok(())
}

/// A name that is quoted only where it must be.
fn ident(name: String) -> Ident {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain { Ident::new(name) } else { Ident::with_quote('"', name) }
}

fn site(provider: &str, names: &Names<'_>) -> String {
    let known = names.profile.and_then(|profile| profile.places.get(provider));
    known.cloned().unwrap_or_else(|| provider.to_lowercase())
}

/// That every table's rows are of the named providers: others may hold a part of a federated table, too.
fn steward_condition(select: &Select, sites: &[String]) -> String {
    let sites: Vec<String> = sites.iter().map(|site| format!("'{}'", site.replace('\'', "''"))).collect();
    let tables = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    let conditions = tables.filter_map(|factor| match factor {
        TableFactor::Table { alias: Some(alias), .. } => Some(alias.name.to_string()),
        TableFactor::Table { name, .. } => name.0.last().map(ToString::to_string),
        _ => None,
    });
    conditions.map(|table| format!("{table}.steward IN ({})", sites.join(", "))).collect::<Vec<_>>().join(" AND ")
}

/// The averages of groups of the SELECT's rows.
fn grouped(
    select: &Select,
    provider: Option<&str>,
    condition: Option<&str>,
    names: &Names<'_>,
) -> Result<String, RequestError> {
    let columns = columns(&select.projection);
    let key = column(names.group_by, &columns)?;
    let value = column(names.average_of, &columns)?;
    let provider = provider.map(|site| format!("'{}' AS provider, ", site.replace('\'', "''"))).unwrap_or_default();
    let own = select.selection.as_ref().map(|condition| format!("({condition})"));
    let conditions: Vec<String> = own.into_iter().chain(condition.map(str::to_owned)).collect();
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let from = select.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (key_name, value_name) = (ident(names.group_by.to_lowercase()), "average");
    let Some(distinct) = &select.distinct else {
        return Ok(format!(
            "SELECT {provider}{key} AS {key_name}, avg({value}) AS {value_name} FROM {from}{filter} GROUP BY {key} \
             ORDER BY {key_name}",
            key = key.inside,
            value = value.inside
        ));
    };
    let list = select.projection.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "SELECT {provider}{key} AS {key_name}, avg({value}) AS {value_name} FROM (SELECT {distinct} {list} FROM \
         {from}{filter}) AS rows GROUP BY {key} ORDER BY {key_name}",
        key = key.outside,
        value = value.outside
    ))
}

/// A column of the query: as it is written inside it, and as its result calls it.
#[derive(Clone, Debug)]
struct Column {
    inside: String,
    outside: String,
}

/// The columns that a SELECT names, by their own name in lower case; `None` if it takes all there are.
fn columns(projection: &[SelectItem]) -> Option<BTreeMap<String, Column>> {
    let mut columns = BTreeMap::new();
    for item in projection {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.to_string())),
            _ => return None,
        };
        let name = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(parts) => match parts.last() {
                Some(name) => name,
                None => continue,
            },
            _ => continue,
        };
        let outside = alias.unwrap_or_else(|| name.to_string());
        columns.insert(name.value.to_lowercase(), Column { inside: expr.to_string(), outside });
    }
    Some(columns)
}

fn column(name: &str, columns: &Option<BTreeMap<String, Column>>) -> Result<Column, RequestError> {
    let lower = name.to_lowercase();
    match columns {
        None => {
            let name = ident(lower).to_string();
            Ok(Column { inside: name.clone(), outside: name })
        }
        Some(columns) => match columns.get(&lower) {
            Some(column) => Ok(column.clone()),
            None => refused(format!("its query does not select `{name}`")),
        },
    }
}
