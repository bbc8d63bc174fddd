//! The worlds: agreements and a question as plain values, and how each is written as SQL.
//!
//! Three stewards `a`, `b` and `c` have the same two tables; `a` and `b` also stand in the federated ones. `p` and `q` are
//! providers of different regions.

use std::fmt;

/// The stewards.
pub(super) const STEWARDS: [&str; 3] = ["a", "b", "c"];
/// Those of the federated tables.
pub(super) const FEDERATED: [&str; 2] = ["a", "b"];
/// Every place but the coordinator.
pub(super) const PLACES: [&str; 5] = ["a", "b", "c", "p", "q"];
/// Places that compute for others.
pub(super) const PROVIDERS: [&str; 2] = ["p", "q"];
pub(super) const COORDINATOR: &str = "coordinator";

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    People,
    Visits,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::People => "people",
            Self::Visits => "visits",
        }
    }

    /// Its columns; the first is the key of the person.
    pub(super) fn columns(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::People => {
                &[("id", Kind::Int), ("g", Kind::Text), ("h", Kind::Text), ("x", Kind::Float), ("n", Kind::Int)]
            }
            Self::Visits => &[("id", Kind::Int), ("d", Kind::Text), ("v", Kind::Float), ("w", Kind::Int)],
        }
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Text,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Col(pub(super) Table, pub(super) &'static str);

impl Col {
    /// The function of it that conditions have.
    pub(super) fn function(self) -> String {
        match self.kind() {
            Kind::Text => format!("reverse({self})"),
            Kind::Int | Kind::Float => format!("ln({self})"),
        }
    }

    pub(super) fn kind(self) -> Kind {
        self.0.columns().iter().find(|(name, _)| *name == self.1).unwrap().1
    }
}

impl fmt::Display for Col {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0.name(), self.1)
    }
}

/// A condition on rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cond {
    /// The column above a literal.
    Literal(Col),
    /// `IS NOT NULL`.
    Present(Col),
    /// Two text columns of one table compared.
    Columns(Col, Col),
    /// A function of the column compared.
    Function(Col),
    /// The column is in a list of the requester.
    Listed(Col),
}

impl Cond {
    pub(super) fn columns(self) -> Vec<Col> {
        match self {
            Self::Literal(one) | Self::Present(one) | Self::Function(one) | Self::Listed(one) => vec![one],
            Self::Columns(one, other) => vec![one, other],
        }
    }
}

impl Cond {
    /// The column of which a function is compared.
    pub(super) fn of_function(self) -> Option<Col> {
        match self {
            Self::Function(column) => Some(column),
            _ => None,
        }
    }

    /// The column that is compared with a list.
    pub(super) fn listed(self) -> Option<Col> {
        match self {
            Self::Listed(column) => Some(column),
            _ => None,
        }
    }
}

impl Cond {
    /// The same condition on the key of the other table.
    pub(super) fn of_other_key(self) -> Option<Self> {
        let other = |column: Col| match column {
            Col(Table::People, "id") => Some(Col(Table::Visits, "id")),
            Col(Table::Visits, "id") => Some(Col(Table::People, "id")),
            _ => None,
        };
        match self {
            Self::Literal(column) => other(column).map(Self::Literal),
            Self::Present(column) => other(column).map(Self::Present),
            Self::Function(column) => other(column).map(Self::Function),
            Self::Columns(..) | Self::Listed(_) => None,
        }
    }
}

impl fmt::Display for Cond {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(one) => match one.kind() {
                Kind::Int => write!(out, "{one} > 3"),
                Kind::Float => write!(out, "{one} > 1.5"),
                Kind::Text => write!(out, "{one} > 'k'"),
            },
            Self::Present(one) => write!(out, "{one} IS NOT NULL"),
            Self::Columns(one, other) => write!(out, "{one} <> {other}"),
            Self::Function(one) => match one.kind() {
                Kind::Text => write!(out, "{} > 'k'", one.function()),
                Kind::Int | Kind::Float => write!(out, "{} > 1.5", one.function()),
            },
            Self::Listed(one) => match one.kind() {
                Kind::Int => write!(out, "{one} IN (VALUES (3), (4))"),
                Kind::Float => write!(out, "{one} IN (VALUES (CAST(1.5 AS DOUBLE)), (CAST(2.5 AS DOUBLE)))"),
                Kind::Text => write!(out, "{one} IN (VALUES ('k'), ('l'))"),
            },
        }
    }
}

/// The relation of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    One(Table),
    /// People with their visits.
    Both,
    /// People, and visits where they have some.
    Left,
}

impl Source {
    pub(super) fn tables(self) -> &'static [Table] {
        match self {
            Self::One(Table::People) => &[Table::People],
            Self::One(Table::Visits) => &[Table::Visits],
            Self::Both | Self::Left => &[Table::People, Table::Visits],
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(table) => write!(out, "s.{}", table.name()),
            Self::Both => out.write_str("s.people JOIN s.visits ON id"),
            Self::Left => out.write_str("s.people LEFT JOIN s.visits ON id"),
        }
    }
}

/// Where a SHIP clause lets something go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Place(&'static str),
    /// `p` alone has it.
    Region,
    /// All providers have it.
    Role,
    Coordinator,
    Any,
}

impl Target {
    pub(super) fn is(self, place: &str) -> bool {
        match self {
            Self::Place(name) => name == place,
            Self::Region => place == "p",
            Self::Role => PROVIDERS.contains(&place),
            Self::Coordinator => place == COORDINATOR,
            // The coordinator is meant only where it is named.
            Self::Any => place != COORDINATOR,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(name) => out.write_str(name),
            Self::Region => out.write_str("REGION eu"),
            Self::Role => out.write_str("ROLE compute_provider"),
            Self::Coordinator => out.write_str("COORDINATOR"),
            Self::Any => out.write_str("ANY"),
        }
    }
}

/// An aggregate function as RELEASE lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) distinct: bool,
}

impl fmt::Display for Function {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { " DISTINCT" } else { "" };
        write!(out, "{}{distinct}", self.name)
    }
}

/// Who rows may be joined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    Requester,
    Any,
    /// A steward, and so not the requester.
    Other,
}

impl fmt::Display for Partner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Requester => "REQUESTER",
            Self::Any => "ANY",
            Self::Other => "c",
        })
    }
}

/// A clause.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Clause {
    ReleaseRows {
        from: Source,
        columns: Vec<Col>,
        cond: Option<Cond>,
    },
    Release {
        functions: Vec<Function>,
        arguments: Vec<Col>,
        star: bool,
        by: Vec<Col>,
        from: Source,
        cond: Option<Cond>,
        minimum: Option<(u32, Table)>,
        fail: bool,
    },
    /// Partials of the clause with this index.
    Partials {
        of: usize,
        to: Vec<Target>,
    },
    ShipRows {
        columns: Vec<Col>,
        /// Keys of people that are listed as hashes.
        hashes: Vec<Col>,
        from: Source,
        cond: Option<Cond>,
        to: Vec<Target>,
    },
    Filter {
        columns: Vec<Col>,
        /// Columns of which the function of [`Cond::Function`] is listed.
        functions: Vec<Col>,
        literals: bool,
        with_columns: bool,
    },
    Archetypes {
        compute: bool,
        data: bool,
    },
    /// Rows may be joined on this column.
    Join {
        on: Col,
        with: Partner,
    },
    /// Views do not decide what may be asked.
    Rows(Cond),
    Mask(Col),
}

impl fmt::Display for Clause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleaseRows { from, columns, cond } => {
                write!(out, "RELEASE ROWS ({}) FROM {from}", list(columns))?;
                cond.map_or(Ok(()), |cond| write!(out, " WHERE {cond}"))
            }
            Self::Release { functions, arguments, star, by, from, cond, minimum, fail } => {
                let mut what: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                if *star {
                    what.push("*".to_owned());
                }
                write!(out, "RELEASE {} OF {}", list(functions), what.join(", "))?;
                if !by.is_empty() {
                    write!(out, " BY {}", list(by))?;
                }
                write!(out, " FROM {from}")?;
                if let Some(cond) = cond {
                    write!(out, " WHERE {cond}")?;
                }
                if let Some((count, table)) = minimum {
                    write!(out, " MINIMUM {count} DISTINCT {}.id", table.name())?;
                }
                if *fail { out.write_str(" ELSE FAIL") } else { Ok(()) }
            }
            Self::Partials { of, to } => write!(out, "SHIP PARTIALS OF {} TO {}", of + 1, list(to)),
            Self::ShipRows { columns, hashes, from, cond, to } => {
                let hashes = hashes.iter().map(|key| format!("hash({key})"));
                let all: Vec<String> = columns.iter().map(ToString::to_string).chain(hashes).collect();
                write!(out, "SHIP ROWS ({}) FROM {from}", all.join(", "))?;
                if let Some(cond) = cond {
                    write!(out, " WHERE {cond}")?;
                }
                write!(out, " TO {}", list(to))
            }
            Self::Filter { columns, functions, literals, with_columns } => {
                let with = match (literals, with_columns) {
                    (true, true) => "LITERALS, COLUMNS",
                    (false, true) => "COLUMNS",
                    _ => "LITERALS",
                };
                let functions = functions.iter().map(|column| column.function());
                let listed: Vec<String> = columns.iter().map(ToString::to_string).chain(functions).collect();
                write!(out, "FILTER ON {} COMPARE WITH {with}", listed.join(", "))
            }
            Self::Archetypes { compute, data } => {
                let names = [(*compute, "compute_to_data"), (*data, "data_to_compute")];
                let names: Vec<&str> = names.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
                write!(out, "ARCHETYPES {}", names.join(", "))
            }
            Self::Join { on, with } => write!(out, "JOIN ON {on} WITH {with}"),
            Self::Rows(cond) => {
                write!(out, "ROWS ON s.{} WHERE {cond}", cond.columns()[0].0.name())
            }
            Self::Mask(column) => write!(out, "MASK {column} AS NULL"),
        }
    }
}

fn list<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// With whom an agreement is made, as far as the one requester of these worlds is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Requester,
    SomebodyElse,
    OtherOrganisation,
}

/// When it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Valid {
    Always,
    Now,
    Past,
    Future,
}

/// An agreement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Agreement {
    pub(super) steward: &'static str,
    pub(super) name: &'static str,
    pub(super) with: With,
    /// Covers the purpose of the question itself, one above it, or another.
    pub(super) purpose: &'static str,
    pub(super) valid: Valid,
    pub(super) clauses: Vec<Clause>,
}

impl fmt::Display for Agreement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = match self.with {
            With::Requester => "ROLE analyst OF uni",
            With::SomebodyElse => "USER 'else@uni.nl'",
            With::OtherOrganisation => "ROLE analyst OF elsewhere",
        };
        let valid = match self.valid {
            Valid::Always => "",
            Valid::Now => " VALID FROM '2026-01-01' UNTIL '2027-01-01'",
            Valid::Past => " VALID UNTIL '2026-06-01'",
            Valid::Future => " VALID FROM '2026-06-02'",
        };
        let (name, steward, purpose) = (self.name, self.steward, self.purpose);
        writeln!(out, "CREATE AGREEMENT {name} ON SITE {steward} FOR {with} PURPOSE {purpose}{valid} AS (")?;
        for (index, clause) in self.clauses.iter().enumerate() {
            writeln!(out, "  {clause}{}", if index + 1 < self.clauses.len() { "," } else { "" })?;
        }
        out.write_str(")")
    }
}

/// Whose rows a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Federated,
    /// The federated tables with a condition on `steward`.
    OneOfFederated(&'static str),
    Named(&'static str),
}

impl Scope {
    pub(super) fn stewards(self) -> Vec<&'static str> {
        match self {
            Self::Federated => FEDERATED.to_vec(),
            Self::OneOfFederated(one) | Self::Named(one) => vec![one],
        }
    }
}

/// The relation of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    One(Table),
    Join,
    LeftJoin,
    /// People with a visit.
    Semi,
}

impl From {
    pub(super) fn tables(self) -> Vec<Table> {
        match self {
            Self::One(table) => vec![table],
            Self::Join | Self::LeftJoin | Self::Semi => vec![Table::People, Table::Visits],
        }
    }

    /// The relation of a clause that it is; people with a visit are none.
    pub(super) fn relation(self) -> Option<Source> {
        match self {
            Self::One(table) => Some(Source::One(table)),
            Self::Join => Some(Source::Both),
            Self::LeftJoin => Some(Source::Left),
            Self::Semi => None,
        }
    }

    /// Whether a condition on the relation may as well be applied to the rows before they are joined: not where NULLs stand in
    /// for rows that are not there.
    pub(super) fn filters_first(self, cond: Cond) -> bool {
        self != Self::LeftJoin || cond.columns().iter().all(|column| column.0 == Table::People)
    }

    /// The tables whose columns the question may name.
    pub(super) fn visible(self) -> Vec<Table> {
        match self {
            Self::Semi => vec![Table::People],
            other => other.tables(),
        }
    }
}

/// An aggregate of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) function: Function,
    /// None is `count(*)`.
    pub(super) argument: Option<Col>,
    pub(super) filter: Option<Cond>,
}

/// What a question asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Rows(Vec<Col>),
    Groups { keys: Vec<Col>, values: Vec<Value> },
}

/// What is done with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Above {
    Nothing,
    OrderAndLimit,
    Distinct,
    CountOfIt,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) scope: Scope,
    pub(super) from: From,
    pub(super) conds: Vec<Cond>,
    pub(super) what: What,
    pub(super) above: Above,
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = |table: Table| match self.scope {
            Scope::Named(site) => format!("{site}.s.{0} AS {0}", table.name()),
            Scope::Federated | Scope::OneOfFederated(_) => format!("s.{0} AS {0}", table.name()),
        };
        let mut conds: Vec<String> = self.conds.iter().map(ToString::to_string).collect();
        if let Scope::OneOfFederated(one) = self.scope {
            conds.extend(self.from.visible().into_iter().map(|table| format!("{}.steward = '{one}'", table.name())));
        }
        let (people, visits) = (table(Table::People), table(Table::Visits));
        let from = match self.from {
            From::One(one) => table(one),
            From::Join => format!("{people} JOIN {visits} ON people.id = visits.id"),
            From::LeftJoin => format!("{people} LEFT JOIN {visits} ON people.id = visits.id"),
            From::Semi => {
                let inner = match self.scope {
                    Scope::OneOfFederated(one) => format!(" WHERE visits.steward = '{one}'"),
                    Scope::Federated | Scope::Named(_) => String::new(),
                };
                conds.push(format!("people.id IN (SELECT visits.id FROM {visits}{inner})"));
                people
            }
        };
        let (items, keys) = match &self.what {
            What::Rows(columns) => (columns.iter().map(ToString::to_string).collect(), Vec::new()),
            What::Groups { keys, values } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                let values = values.iter().map(|value| {
                    let argument = value.argument.map_or_else(|| "*".to_owned(), |argument| argument.to_string());
                    let distinct = if value.function.distinct { "DISTINCT " } else { "" };
                    let filter = value.filter.map(|filter| format!(" FILTER (WHERE {filter})")).unwrap_or_default();
                    format!("{}({distinct}{argument}){filter}", value.function.name)
                });
                (keys.iter().cloned().chain(values).collect::<Vec<_>>(), keys)
            }
        };
        let named: Vec<String> = items.iter().enumerate().map(|(index, item)| format!("{item} AS o{index}")).collect();
        let mut sql = format!("SELECT {} FROM {from}", named.join(", "));
        if !conds.is_empty() {
            sql += &format!(" WHERE {}", conds.join(" AND "));
        }
        if !keys.is_empty() {
            sql += &format!(" GROUP BY {}", keys.join(", "));
        }
        match self.above {
            Above::Nothing => out.write_str(&sql),
            Above::OrderAndLimit => write!(out, "SELECT * FROM ({sql}) ORDER BY 1 LIMIT 5"),
            Above::Distinct => write!(out, "SELECT DISTINCT * FROM ({sql})"),
            Above::CountOfIt => write!(out, "SELECT count(o0) FROM ({sql})"),
        }
    }
}

/// The family of placements that is forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Auto,
    ComputeToData,
    DataToCompute,
}

/// A case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct World {
    pub(super) agreements: Vec<Agreement>,
    pub(super) question: Question,
    pub(super) family: Family,
}

impl fmt::Display for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for agreement in &self.agreements {
            writeln!(out, "{agreement};")?;
        }
        write!(out, "{:?}: {}", self.family, self.question)
    }
}
