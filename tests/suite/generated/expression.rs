//! Random expressions over the columns of a FROM: values of a wanted kind, conditions, subqueries, aggregates and windows.
//! None of them can fail on any row, and none depends on the order of rows that an engine may choose.

use super::grammar::{Grammar, Scope};
use super::query::Feature;
use super::schema::Kind;

const COMPARISONS: &[&str] = &["=", "<>", "<", "<=", ">", ">="];
const PATTERNS: &[&str] = &["%e%", "r%", "%a", "_e%", "", "%", "R%", "%'%", "r\\%d"];
/// What columns of different relations are compared by.
const JOINABLE: &[Kind] = &[Kind::Int, Kind::Int, Kind::Text, Kind::Key, Kind::Key, Kind::Date, Kind::Dec];

impl Grammar {
    /// A value. `room` is how deep subqueries may nest; 0 where there may be none.
    pub(super) fn value(&mut self, kind: Kind, scope: &Scope, depth: u32, room: u32) -> String {
        if depth == 0 || self.chance(35) {
            return self.leaf(kind, scope);
        }
        if room > 0 && self.chance(8) {
            return self.scalar_subquery(kind, scope, room - 1);
        }
        let less = depth - 1;
        match self.below(10) {
            0 => {
                let (when, then) = (self.condition(scope, less, 0), self.value(kind, scope, less, room));
                let otherwise = self.value(kind, scope, less, 0);
                match self.below(3) {
                    0 => format!("CASE WHEN {when} THEN {then} END"),
                    _ => format!("CASE WHEN {when} THEN {then} ELSE {otherwise} END"),
                }
            }
            1 => format!("COALESCE({}, {})", self.value(kind, scope, less, 0), self.value(kind, scope, less, 0)),
            2 => format!("NULLIF({}, {})", self.value(kind, scope, less, 0), self.value(kind, scope, less, 0)),
            _ => self.computed(kind, scope, less),
        }
    }

    fn computed(&mut self, kind: Kind, scope: &Scope, less: u32) -> String {
        match kind {
            Kind::Int => self.whole(scope, less),
            // One step only: the digits of decimals grow with every operation.
            Kind::Dec => match self.below(4) {
                0 => format!("({} + {})", self.leaf(kind, scope), self.leaf(kind, scope)),
                1 => format!("({} - {})", self.leaf(kind, scope), self.leaf(kind, scope)),
                2 => format!("({} * 2)", self.leaf(kind, scope)),
                _ => format!("CAST({} AS DECIMAL(12,2))", self.leaf(Kind::Int, scope)),
            },
            Kind::Dbl => match self.below(5) {
                0 => format!("({} + {})", self.value(kind, scope, less, 0), self.value(kind, scope, less, 0)),
                1 => format!("({} - {})", self.value(kind, scope, less, 0), self.value(kind, scope, less, 0)),
                2 => format!("({} * 0.5)", self.leaf(kind, scope)),
                3 => format!("abs({})", self.value(kind, scope, less, 0)),
                _ => format!("CAST({} AS DOUBLE)", self.leaf(Kind::Int, scope)),
            },
            Kind::Text => {
                let text = self.value(kind, scope, less, 0);
                match self.below(8) {
                    0 => format!("upper({text})"),
                    1 => format!("lower({text})"),
                    2 => format!("({text} || '-' || {})", self.leaf(kind, scope)),
                    3 => format!("substr({text}, 1, {})", self.below(3) + 1),
                    4 => format!("trim({text})"),
                    5 => format!("replace({text}, 'e', 'E')"),
                    6 => format!("concat({text}, {})", self.leaf(kind, scope)),
                    _ => format!("CAST({} AS VARCHAR)", self.leaf(Kind::Int, scope)),
                }
            }
            Kind::Date => match self.below(2) {
                0 => format!("({} + INTERVAL '{}' DAY)", self.leaf(kind, scope), self.below(40)),
                _ => format!("CAST(date_trunc('month', {}) AS DATE)", self.leaf(kind, scope)),
            },
            Kind::Bool => self.condition(scope, less, 0),
            Kind::Key | Kind::Approx => self.leaf(kind, scope),
        }
    }

    fn whole(&mut self, scope: &Scope, less: u32) -> String {
        let (one, other) = (self.value(Kind::Int, scope, less, 0), self.value(Kind::Int, scope, less, 0));
        match self.below(8) {
            0 => format!("({one} + {other})"),
            1 => format!("({one} - {other})"),
            2 => format!("({one} * {})", self.below(4)),
            3 => format!("({one} / NULLIF({other}, 0))"),
            4 => format!("({one} % NULLIF({other}, 0))"),
            5 => format!("abs({one})"),
            6 => format!("character_length({})", self.leaf(Kind::Text, scope)),
            _ => {
                let part = self.pick(&["year", "month", "day"]);
                format!("date_part('{part}', {})", self.leaf(Kind::Date, scope))
            }
        }
    }

    /// A column, or a literal.
    pub(super) fn leaf(&mut self, kind: Kind, scope: &Scope) -> String {
        let mut columns = scope.columns(kind);
        if kind == Kind::Int {
            columns.extend(scope.columns(Kind::Key).into_iter().map(|key| format!("entity_value({key})")));
        }
        if !columns.is_empty() && self.chance(88) {
            return self.pick(&columns);
        }
        self.literal(kind)
    }

    fn literal(&mut self, kind: Kind) -> String {
        if self.chance(8) {
            return format!("CAST(NULL AS {})", sql_type(kind));
        }
        match kind {
            Kind::Int | Kind::Key => (self.below(16) as i64 - 4).to_string(),
            Kind::Dec => format!("CAST('{}.{}5' AS DECIMAL(10,2))", self.below(30), self.below(10)),
            Kind::Dbl | Kind::Approx => format!("{}.{}", self.below(12), self.pick(&["0", "25", "5", "75"])),
            Kind::Text => format!("'{}'", self.pick(&["red", "blue", "", "Ada", "Utrecht", "x", "r%d", "O''Neil"])),
            Kind::Date => format!("DATE '2024-{:02}-{:02}'", self.below(12) + 1, self.below(28) + 1),
            Kind::Bool => self.pick(&["TRUE", "FALSE"]).to_owned(),
        }
    }

    /// A condition.
    pub(super) fn condition(&mut self, scope: &Scope, depth: u32, room: u32) -> String {
        if room > 0 && self.chance(22) {
            return self.subquery_condition(scope, room - 1);
        }
        if depth > 0 && self.chance(25) {
            let (one, other) = (self.condition(scope, depth - 1, room), self.condition(scope, depth - 1, room));
            return match self.below(5) {
                0 => format!("NOT ({one})"),
                1 | 2 => format!("({one} AND {other})"),
                _ => format!("({one} OR {other})"),
            };
        }
        let keys = scope.columns(Kind::Key);
        if keys.len() > 1 && self.chance(10) {
            return format!("{} {} {}", self.pick(&keys), self.pick(&["=", "<>"]), self.pick(&keys));
        }
        let kind = self.pick(&[Kind::Int, Kind::Int, Kind::Dec, Kind::Dbl, Kind::Text, Kind::Text, Kind::Date]);
        let value = self.value(kind, scope, depth.min(1), 0);
        match self.below(12) {
            0..=3 => format!("{value} {} {}", self.pick(COMPARISONS), self.value(kind, scope, depth.min(1), 0)),
            4 => {
                let not = self.pick(&["", "NOT "]);
                format!("{value} {not}BETWEEN {} AND {}", self.leaf(kind, scope), self.literal(kind))
            }
            5 => {
                let list: Vec<String> = (0..=self.below(3)).map(|_| self.literal(kind)).collect();
                format!("{value} {}IN ({})", self.pick(&["", "", "NOT "]), list.join(", "))
            }
            6 | 7 => {
                let (text, like) = (self.leaf(Kind::Text, scope), self.pick(&["LIKE", "NOT LIKE", "ILIKE"]));
                format!("{text} {like} '{}'", self.pick(PATTERNS).replace('\'', "''"))
            }
            8 => format!("{value} IS {}NULL", self.pick(&["", "NOT "])),
            9 => format!("({value} IS {}DISTINCT FROM {})", self.pick(&["", "NOT "]), self.leaf(kind, scope)),
            _ if scope.columns(Kind::Bool).is_empty() => format!("{value} IS NOT NULL"),
            _ => {
                let truth = self.leaf(Kind::Bool, scope);
                match self.below(4) {
                    0 => truth,
                    1 => format!("NOT {truth}"),
                    2 => format!("{truth} IS NOT TRUE"),
                    _ => format!("{truth} IS FALSE"),
                }
            }
        }
    }

    /// FROM and WHERE of a subquery, tied to the outer row if `correlated`.
    fn subquery(
        &mut self,
        outer: &Scope,
        correlated: bool,
        wanted: Option<Kind>,
        room: u32,
    ) -> Option<(String, Scope)> {
        self.features.insert(Feature::Subquery);
        let (from, inner) = self.base(wanted);
        let mut filters = Vec::new();
        if correlated {
            let shared = |kind: &&Kind| !outer.columns(**kind).is_empty() && !inner.columns(**kind).is_empty();
            let kinds: Vec<Kind> = JOINABLE.iter().filter(shared).copied().collect();
            if kinds.is_empty() {
                return None;
            }
            let kind = self.pick(&kinds);
            filters.push(format!("{} = {}", self.pick(&inner.columns(kind)), self.pick(&outer.columns(kind))));
            self.features.insert(Feature::Correlated);
        }
        if self.chance(50) {
            filters.push(self.condition(&inner, 1, room));
        }
        let filter = if filters.is_empty() { String::new() } else { format!(" WHERE {}", filters.join(" AND ")) };
        Some((format!("FROM {from}{filter}"), inner))
    }

    fn scalar_subquery(&mut self, kind: Kind, outer: &Scope, room: u32) -> String {
        let correlated = self.chance(60);
        let Some((from, inner)) = self.subquery(outer, correlated, None, room) else { return self.leaf(kind, outer) };
        let value = match kind {
            Kind::Key => return self.leaf(kind, outer),
            _ => self.aggregate(kind, &inner),
        };
        format!("(SELECT {value} {from})")
    }

    fn subquery_condition(&mut self, outer: &Scope, room: u32) -> String {
        let not = if self.chance(35) { "NOT " } else { "" };
        match self.below(5) {
            0 | 1 => match self.subquery(outer, true, None, room) {
                Some((from, _)) => format!("{not}EXISTS (SELECT 1 {from})"),
                None => self.condition(outer, 1, 0),
            },
            2 | 3 => {
                let kinds: Vec<Kind> =
                    JOINABLE.iter().filter(|kind| !outer.columns(**kind).is_empty()).copied().collect();
                let kind = if kinds.is_empty() { Kind::Int } else { self.pick(&kinds) };
                let correlated = self.chance(20);
                let Some((from, inner)) = self.subquery(outer, correlated, Some(kind), room) else {
                    return self.condition(outer, 1, 0);
                };
                let value = match kind {
                    Kind::Key => self.pick(&outer.columns(kind)),
                    _ => self.value(kind, outer, 1, 0),
                };
                // `inner` has a column of this kind.
                format!("{value} {not}IN (SELECT {} {from})", self.pick(&inner.columns(kind)))
            }
            _ => {
                let kind = self.pick(&[Kind::Int, Kind::Dec, Kind::Dbl, Kind::Text, Kind::Date]);
                let scalar = self.scalar_subquery(kind, outer, room);
                format!("{} {} {scalar}", self.value(kind, outer, 1, 0), self.pick(COMPARISONS))
            }
        }
    }

    /// An aggregate that gives a kind.
    pub(super) fn aggregate(&mut self, kind: Kind, scope: &Scope) -> String {
        let any = self.pick(&[Kind::Int, Kind::Dec, Kind::Dbl, Kind::Text, Kind::Date, Kind::Bool]);
        let keys = scope.columns(Kind::Key);
        let call = match kind {
            Kind::Int | Kind::Key => match self.below(9) {
                0 | 1 => "count(*)".to_owned(),
                2 => format!("count({})", self.value(any, scope, 1, 0)),
                3 if !keys.is_empty() => format!("count(DISTINCT {})", self.pick(&keys)),
                3 | 4 => format!("count(DISTINCT {})", self.value(any, scope, 1, 0)),
                5 => format!("sum(DISTINCT {})", self.value(Kind::Int, scope, 1, 0)),
                6 => format!("min({})", self.value(Kind::Int, scope, 1, 0)),
                7 => format!("max({})", self.value(Kind::Int, scope, 1, 0)),
                _ => format!("sum({})", self.value(Kind::Int, scope, 1, 0)),
            },
            Kind::Dec => {
                format!("{}({})", self.pick(&["sum", "sum", "min", "max", "avg"]), self.value(kind, scope, 1, 0))
            }
            Kind::Dbl => format!("{}({})", self.pick(&["sum", "sum", "min", "max"]), self.value(kind, scope, 1, 0)),
            Kind::Text => match self.below(4) {
                0 => {
                    let text = self.leaf(kind, scope);
                    format!("string_agg({text}, '|' ORDER BY {text})")
                }
                _ => format!("{}({})", self.pick(&["min", "max"]), self.value(kind, scope, 1, 0)),
            },
            Kind::Date => format!("{}({})", self.pick(&["min", "max"]), self.value(kind, scope, 1, 0)),
            Kind::Bool => format!("{}({})", self.pick(&["bool_and", "bool_or"]), self.condition(scope, 1, 0)),
            Kind::Approx => {
                let function = self.pick(&["avg", "avg", "stddev", "var_pop", "median"]);
                let of = self.pick(&[Kind::Int, Kind::Dbl]);
                format!("{function}({})", self.value(of, scope, 1, 0))
            }
        };
        self.features.insert(Feature::Aggregate);
        if self.chance(18) {
            return format!("{call} FILTER (WHERE {})", self.condition(scope, 1, 0));
        }
        call
    }

    /// A window function that gives a kind.
    pub(super) fn window(&mut self, kind: Kind, scope: &Scope) -> String {
        self.features.insert(Feature::Window);
        let mut over = Vec::new();
        let keys = scope.columns(Kind::Key);
        if !keys.is_empty() && self.chance(30) {
            over.push(format!("PARTITION BY {}", self.pick(&keys)));
        } else if self.chance(65) {
            let by = self.pick(&[Kind::Int, Kind::Text, Kind::Date]);
            over.push(format!("PARTITION BY {}", self.value(by, scope, 1, 0)));
        }
        let direction = self.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        let by = self.pick(&[Kind::Int, Kind::Text, Kind::Date, Kind::Dec]);
        let loose = format!("ORDER BY {}{direction}", self.leaf(by, scope));
        let total = scope.unique().map(|unique| format!("{loose}, {}", unique.join(", ")));
        let value = self.value(kind, scope, 1, 0);
        let (call, order, frame) = match (self.below(4), total) {
            (0, _) if kind == Kind::Int => (self.pick(&["rank()", "dense_rank()", "count(*)"]).to_owned(), loose, ""),
            (1, Some(total)) if kind == Kind::Int => (self.pick(&["row_number()", "ntile(3)"]).to_owned(), total, ""),
            (1 | 2, Some(total)) => {
                let frame = " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING";
                match self.below(4) {
                    0 => (format!("lag({value})"), total, ""),
                    1 => (format!("lead({value}, 2)"), total, ""),
                    2 => (format!("last_value({value})"), total, frame),
                    _ => (format!("first_value({value})"), total, ""),
                }
            }
            _ => {
                let function = match kind {
                    Kind::Int | Kind::Dec | Kind::Dbl => self.pick(&["sum", "min", "max"]),
                    Kind::Approx => "avg",
                    _ => self.pick(&["min", "max"]),
                };
                let value = if kind == Kind::Approx { self.value(Kind::Dbl, scope, 1, 0) } else { value };
                let order = if self.chance(50) { loose } else { String::new() };
                (format!("{function}({value})"), order, "")
            }
        };
        over.push(order + frame);
        let over: Vec<String> = over.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{call} OVER ({})", over.join(" "))
    }
}

/// A type that holds a kind.
fn sql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Int | Kind::Key => "BIGINT",
        Kind::Dec => "DECIMAL(10,2)",
        Kind::Dbl | Kind::Approx => "DOUBLE",
        Kind::Text => "VARCHAR",
        Kind::Date => "DATE",
        Kind::Bool => "BOOLEAN",
    }
}

/// A condition that ties two FROMs together, if they have comparable columns.
pub(super) fn tie(grammar: &mut Grammar, left: &Scope, right: &Scope) -> Option<(String, Kind)> {
    let shared = |kind: &&Kind| !left.columns(**kind).is_empty() && !right.columns(**kind).is_empty();
    let kinds: Vec<Kind> = JOINABLE.iter().filter(shared).copied().collect();
    if kinds.is_empty() {
        return None;
    }
    let mut kind = grammar.pick(&kinds);
    // Columns of one name are more likely to have values in common.
    let name = |column: &String| column.split_once('.').map(|(_, name)| name.to_owned());
    let named: Vec<(Kind, String, String)> = kinds
        .iter()
        .flat_map(|kind| {
            let others = right.columns(*kind);
            let pairs = left
                .columns(*kind)
                .into_iter()
                .flat_map(move |one| others.clone().into_iter().map(move |other| (one.clone(), other)));
            pairs.filter(|(one, other)| name(one) == name(other)).map(|(one, other)| (*kind, one, other))
        })
        .collect();
    if !named.is_empty() && grammar.chance(65) {
        let (of, one, other) = grammar.pick(&named);
        if of == Kind::Key {
            grammar.features.insert(Feature::LocalKey);
        }
        return Some((format!("{one} = {other}"), of));
    }
    if kind == Kind::Text && grammar.chance(50) {
        kind = grammar.pick(&kinds);
    }
    if kind == Kind::Key {
        grammar.features.insert(Feature::LocalKey);
    }
    let (one, other) = (grammar.pick(&left.columns(kind)), grammar.pick(&right.columns(kind)));
    Some((format!("{one} = {other}"), kind))
}
