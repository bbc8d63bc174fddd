//! Random agreements for the property tests, from a seed: any value that the types allow and the parser accepts, with
//! names that need quotes and texts that need escapes. Test code only.

use datafusion::sql::sqlparser::ast::Expr;

use super::cursor::Cursor;
use crate::policy::*;
use crate::random::Random;

impl Random {
    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance() { Some(make(self)) } else { None }
    }

    fn many<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..=self.below(3)).map(|_| make(self)).collect()
    }

    fn name(&mut self) -> String {
        const NAMES: [&str; 20] = [
            "personen",
            "aanstellingen",
            "geslacht",
            "vu",
            "surf",
            "x",
            "_1",
            "year",
            "select",
            "statistics",
            "from",
            "rows",
            "any",
            "site",
            "coordinator",
            "Mixed Case",
            "with \"quotes\"",
            "é",
            "a-b",
            "DUO:0000042",
        ];
        self.pick(&NAMES).to_owned()
    }

    fn text(&mut self) -> String {
        self.pick(&["j.stutterheim@uva.nl", "it's", "two\nlines", "\\n", "-- no comment", "\"", "é€"]).to_owned()
    }

    fn count(&mut self) -> u32 {
        self.pick(&[1, 2, 10, 4096, u32::MAX])
    }

    fn decimal(&mut self, from: &[&str]) -> Decimal {
        Decimal::parse(self.pick(from)).unwrap()
    }

    fn table(&mut self) -> TableRef {
        TableRef { schema: self.some(Self::name), table: self.name() }
    }

    fn column(&mut self) -> ColumnRef {
        ColumnRef { table: self.some(Self::table), column: self.name() }
    }

    /// A random expression tree as text, read by the SQL parser as any author's text would be.
    fn expr(&mut self) -> Expr {
        let text = self.expr_text(3);
        let mut cursor = Cursor::new(&text).unwrap();
        let expr = cursor.expr().unwrap_or_else(|error| panic!("{text}: {error}"));
        cursor.end().unwrap();
        expr
    }

    fn expr_text(&mut self, depth: usize) -> String {
        const LEAVES: [&str; 16] = [
            "geslacht",
            "personen.gebdat",
            "\"Mixed Case\"",
            "p.\"from\"",
            "1",
            "2.50",
            "1e6",
            "'it''s'",
            "NULL",
            "TRUE",
            "DATE '2019-12-31'",
            "(INTERVAL '1' DAY)",
            "TIMESTAMP '2020-01-01 00:00:00'",
            "year(gebdat)",
            "Salaris",
            "''",
        ];
        if depth == 0 || self.below(4) == 0 {
            return self.pick(&LEAVES).to_owned();
        }
        let (a, b) = (self.expr_text(depth - 1), self.expr_text(depth - 1));
        let op = self.pick(&["=", "<>", "<", ">=", "+", "*", "||", "AND", "OR"]);
        match self.below(12) {
            0 => format!("({a}) {op} ({b})"),
            1 => format!("NOT ({a})"),
            2 => format!("({a}) IS NOT NULL"),
            3 => format!("({a}) IS NOT TRUE"),
            4 => format!("({a}) IN (1, 'x', ({b}))"),
            5 => format!("({a}) NOT BETWEEN ({b}) AND 9"),
            6 => format!("({a}) LIKE 'a%' ESCAPE '!'"),
            7 => format!("CASE WHEN {a} THEN {b} ELSE NULL END"),
            8 => format!("date_trunc('year', {a})"),
            9 => format!("coalesce({a}, {b}, -1)"),
            10 => format!("CAST({a} AS BIGINT)"),
            _ => format!("EXTRACT(YEAR FROM {a})"),
        }
    }

    fn columns(&mut self) -> Columns {
        if self.chance() { Columns::All } else { Columns::Listed(self.many(Self::expr)) }
    }

    fn from(&mut self) -> FromRelation {
        let first = self.table();
        let joins = (0..self.below(3)).map(|_| self.join_step()).collect();
        FromRelation { first, joins }
    }

    fn join_step(&mut self) -> JoinStep {
        let kind = self.pick(&[JoinKind::Inner, JoinKind::Left]);
        let table = self.table();
        let on = self.many(|random| {
            if random.chance() {
                JoinKey::Same(random.name())
            } else {
                JoinKey::Pair { left: random.column(), right: random.column() }
            }
        });
        JoinStep { kind, table, on }
    }

    fn place(&mut self) -> PlaceRef {
        match self.below(5) {
            0 => PlaceRef::Role(self.name()),
            1 => PlaceRef::Region(self.name()),
            2 => PlaceRef::Coordinator,
            3 => PlaceRef::Any,
            _ => PlaceRef::Site(self.name()),
        }
    }

    fn aggregates(&mut self) -> ReleasedAggregates {
        let mut functions = self.many(|random| ReleasedFunction {
            name: random.pick(&["avg", "sum", "median", "max", "Odd One"]).to_owned(),
            distinct: random.pick(&[DistinctInput::All, DistinctInput::Distinct]),
        });
        let mut arguments = self.many(|random| Argument::Expr(random.expr()));
        if self.chance() {
            functions.push(ReleasedFunction { name: "count".to_owned(), distinct: DistinctInput::All });
            arguments.insert(0, Argument::Star);
        }
        ReleasedAggregates {
            functions,
            arguments,
            by: if self.chance() { self.many(Self::expr) } else { Vec::new() },
            minimums: self.many(|random| Minimum { count: random.count(), entity: random.column() }),
            scope: self.pick(&[MinimumScope::Federation, MinimumScope::PerSite]),
            minimum_sites: self.some(Self::count),
            dominance: self.some(|random| random.decimal(&["0.5", "0.85", "0.001"])),
            round_to: self.some(|random| random.decimal(&["5", "0.25", "1000"])),
            outcome: self.pick(&[Outcome::Drop, Outcome::Remainder, Outcome::Fail]),
        }
    }

    fn release(&mut self) -> ReleaseClause {
        let what = match self.below(3) {
            0 => ReleaseWhat::Rows(self.columns()),
            _ => ReleaseWhat::Aggregates(self.aggregates()),
        };
        ReleaseClause { what, from: self.from(), filter: self.some(Self::expr) }
    }

    fn ship(&mut self, partials: &[ClauseRef]) -> ShipClause {
        let what = match partials {
            [_, ..] if self.chance() => ShipWhat::Partials { of: self.pick(partials) },
            _ => ShipWhat::Rows { columns: self.columns(), from: self.from(), filter: self.some(Self::expr) },
        };
        ShipClause { what, to: self.many(Self::place) }
    }

    fn join(&mut self) -> JoinClause {
        let with = match self.below(4) {
            0 => JoinPartner::Requester,
            1 => JoinPartner::Any,
            2 => JoinPartner::Table(self.table()),
            _ => JoinPartner::Site(self.name()),
        };
        JoinClause { keys: self.many(Self::column), with }
    }

    fn budget(&mut self) -> BudgetClause {
        const PERIODS: [Period; 5] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
        let limits = self.many(|random| {
            let per = random.pick(&PERIODS);
            if random.chance() {
                BudgetLimit::Queries { count: random.count(), per }
            } else {
                BudgetLimit::Epsilon { amount: random.decimal(&["4", "0.1"]), per }
            }
        });
        BudgetClause { limits }
    }

    fn oblige(&mut self) -> ObligeClause {
        let unit = self.pick(&[TimeUnit::Second, TimeUnit::Minute, TimeUnit::Hour, TimeUnit::Day]);
        let obligation = match self.below(3) {
            0 => Obligation::Audit,
            1 => Obligation::Notification,
            _ => Obligation::Retention { amount: self.pick(&[0, 1, 72]), unit },
        };
        ObligeClause { obligation, at: self.some(Self::place) }
    }

    /// A clause; `index` keeps masked columns apart.
    fn clause(&mut self, index: usize, partials: &[ClauseRef]) -> Clause {
        const BOTH: [Archetype; 2] = [Archetype::ComputeToData, Archetype::DataToCompute];
        match self.below(10) {
            0 | 1 => Clause::Release(self.release()),
            2 => Clause::Ship(self.ship(partials)),
            3 => Clause::Filter(FilterClause {
                columns: self.many(Self::expr),
                with: self.pick(&[Comparison::Literals, Comparison::Columns, Comparison::Both]),
            }),
            4 => Clause::Join(self.join()),
            5 => Clause::Mask(MaskClause {
                column: ColumnRef { table: self.some(Self::table), column: format!("{} {index}", self.name()) },
                value: self.expr(),
            }),
            6 => Clause::Rows(RowsClause { table: self.some(Self::table), condition: self.expr() }),
            7 => Clause::Budget(self.budget()),
            8 => Clause::Archetypes(if self.chance() { BOTH.to_vec() } else { vec![self.pick(&BOTH)] }),
            _ => Clause::Oblige(self.oblige()),
        }
    }

    fn clauses(&mut self) -> Vec<NumberedClause> {
        let mut clauses: Vec<NumberedClause> = Vec::new();
        let mut partials = Vec::new();
        let mut number = 0;
        for index in 0..=self.below(7) {
            number += self.pick(&[1, 1, 1, 2, 5]);
            let name = self.some(|random| format!("{}{index}", random.pick(&["c", "rows ", "Release"])));
            let clause = self.clause(index, &partials);
            if let Clause::Release(ReleaseClause { what: ReleaseWhat::Aggregates(_), .. }) = clause {
                partials.push(ClauseRef::Number(number));
                partials.extend(name.clone().map(ClauseRef::Name));
            }
            clauses.push(NumberedClause { number, name, clause });
        }
        clauses
    }

    fn grantee(&mut self) -> Grantee {
        match self.below(4) {
            0 => Grantee::User(self.text()),
            1 => Grantee::Role { role: self.name(), organisation: self.some(Self::name) },
            2 => Grantee::Organisation(self.name()),
            _ => Grantee::Anyone,
        }
    }

    /// An agreement that the parser accepts.
    pub(super) fn agreement(&mut self) -> Agreement {
        let moment = |text| UtcMillis::parse(text).unwrap();
        Agreement {
            name: self.name(),
            steward: self.name(),
            grantees: self.many(Self::grantee),
            purposes: self.many(Self::name),
            valid_from: self.some(|random| random.pick(&[moment("2026-01-01"), moment("1969-07-20T20:17:40.5Z")])),
            valid_until: self.some(|random| random.pick(&[moment("2027-01-01"), moment("2026-06-01T12:00:00+02:00")])),
            clauses: self.clauses(),
        }
    }
}
