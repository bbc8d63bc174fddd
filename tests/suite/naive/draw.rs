//! Worlds drawn at random from a seed. Clauses are drawn around the question more often than not, so that a good part of
//! the worlds permits it and most others miss by one thing.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::world::{
    Above, Agreement, Clause, Col, Cond, Family, From, Function, PLACES, Partner, Question, STEWARDS, Scope, Source,
    Table, Target, Valid, Value, What, With, World,
};

const FUNCTIONS: [Function; 8] = [
    Function { name: "sum", distinct: false },
    Function { name: "count", distinct: false },
    Function { name: "avg", distinct: false },
    Function { name: "min", distinct: false },
    Function { name: "max", distinct: false },
    Function { name: "median", distinct: false },
    Function { name: "count", distinct: true },
    Function { name: "stddev", distinct: false },
];

/// The world of a seed.
pub(super) fn world(seed: u64) -> World {
    let mut draw = Draw(StdRng::seed_from_u64(seed));
    let question = draw.question();
    let mut agreements = Vec::new();
    for steward in STEWARDS {
        let concerned = question.scope.stewards().contains(&steward);
        for name in ["first", "second"] {
            let likely = match (concerned, name) {
                (true, "first") => 0.95,
                (true, _) => 0.3,
                (false, _) => 0.2,
            };
            if draw.chance(likely) {
                agreements.push(draw.agreement(steward, name, &question));
            }
        }
    }
    let family =
        *[Family::Auto, Family::Auto, Family::ComputeToData, Family::DataToCompute].choose(&mut draw.0).unwrap();
    World { agreements, question, family }
}

struct Draw(StdRng);

impl Draw {
    fn chance(&mut self, p: f64) -> bool {
        self.0.random_bool(p)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.0).unwrap().clone()
    }

    fn some<T: Clone>(&mut self, of: &[T], most: usize) -> Vec<T> {
        let count = self.0.random_range(1..=most.min(of.len()));
        let mut shuffled = of.to_vec();
        shuffled.shuffle(&mut self.0);
        shuffled.truncate(count);
        shuffled
    }

    fn question(&mut self) -> Question {
        let (people, visits) = (From::One(Table::People), From::One(Table::Visits));
        let from = self.one(&[people, people, visits, From::Join, From::Join, From::LeftJoin, From::Semi]);
        let mut scopes = vec![Scope::Federated, Scope::Federated, Scope::Named("a"), Scope::Named("c")];
        // The condition would stand above the join, where it leaves out no steward.
        if from != From::LeftJoin {
            scopes.push(Scope::OneOfFederated("b"));
        }
        let scope = self.one(&scopes);
        let columns = columns_of(&from.visible());
        let rows = self.chance(0.25);
        let what = if rows {
            What::Rows(self.some(&columns, 3))
        } else {
            let keys = if self.chance(0.7) { self.some(&named(&columns), 2) } else { Vec::new() };
            let wanted = self.0.random_range(1..=2);
            let values = (0..wanted).map(|_| self.value(&columns)).collect();
            What::Groups { keys, values }
        };
        let mut conds: Vec<Cond> = Vec::new();
        for _ in 0..self.one(&[0, 0, 0, 1, 1, 2]) {
            let listed = self.chance(0.25);
            let cond = if listed { Cond::Listed(self.one(&columns)) } else { self.cond(&columns) };
            let taken = |column: &Col| conds.iter().any(|one| one.columns().contains(column));
            if !cond.columns().iter().any(taken) {
                conds.push(cond);
            }
        }
        let nothing = Above::Nothing;
        let above = self.one(&[nothing, nothing, nothing, Above::OrderAndLimit, Above::Distinct, Above::CountOfIt]);
        Question { scope, from, conds, what, above }
    }

    fn value(&mut self, columns: &[Col]) -> Value {
        let function = self.one(&FUNCTIONS);
        if function.name == "count" && !function.distinct && self.chance(0.5) {
            return Value { function, argument: None, filter: None };
        }
        let text = matches!(function.name, "count" | "min" | "max");
        let numbers: Vec<Col> = columns.iter().copied().filter(|one| text || !named(&[*one]).contains(one)).collect();
        let argument = Some(self.one(&numbers));
        let filter = if self.chance(0.1) { Some(self.cond(columns)) } else { None };
        Value { function, argument, filter }
    }

    fn cond(&mut self, columns: &[Col]) -> Cond {
        let column = self.one(columns);
        match self.0.random_range(0..10) {
            0 => Cond::Function(column),
            1 | 2 => Cond::Present(column),
            3 if columns.contains(&Col(Table::People, "g")) => {
                Cond::Columns(Col(Table::People, "g"), Col(Table::People, "h"))
            }
            _ => Cond::Literal(column),
        }
    }

    fn agreement(&mut self, steward: &'static str, name: &'static str, question: &Question) -> Agreement {
        let with =
            if self.chance(0.92) { With::Requester } else { self.one(&[With::SomebodyElse, With::OtherOrganisation]) };
        let purpose = if self.chance(0.95) { "statistics" } else { "education" };
        let valid = match self.0.random_range(0..40) {
            0 => Valid::Past,
            1 => Valid::Future,
            number if number < 10 => Valid::Now,
            _ => Valid::Always,
        };
        let mut clauses = Vec::new();
        for table in [Table::People, Table::Visits] {
            if self.chance(0.2) {
                clauses.push(self.release_rows(Source::One(table), question));
            }
        }
        if question.from.tables().len() == 2 && self.chance(0.25) {
            let from = if self.chance(0.9) { source(question.from) } else { self.one(&[Source::Both, Source::Left]) };
            clauses.push(self.release_rows(from, question));
        }
        for _ in 0..self.one(&[1, 1, 2]) {
            if self.chance(0.9) {
                clauses.push(self.release(question));
            }
        }
        let released: Vec<usize> =
            (0..clauses.len()).filter(|index| matches!(clauses[*index], Clause::Release { .. })).collect();
        for of in released {
            if self.chance(0.5) {
                clauses.push(Clause::Partials { of, to: self.targets() });
            }
        }
        for _ in 0..self.one(&[0, 1, 1]) {
            clauses.push(self.ship_rows(question));
        }
        for _ in 0..self.one(&[0, 1, 1, 2]) {
            clauses.push(self.filter(question));
        }
        let lists: Vec<Col> = question.conds.iter().filter_map(|cond| cond.listed()).collect();
        for on in lists {
            if self.chance(0.8) {
                let (key, any) = (self.chance(0.1), self.chance(0.2));
                let on = if key { Col(Table::People, "id") } else { on };
                let with = if any {
                    Partner::Any
                } else {
                    self.one(&[Partner::Requester, Partner::Requester, Partner::Other])
                };
                clauses.push(Clause::Join { on, with });
            }
        }
        if self.chance(0.15) {
            let (compute, data) = self.one(&[(true, true), (true, false), (false, true)]);
            clauses.push(Clause::Archetypes { compute, data });
        }
        if self.chance(0.1) {
            clauses.push(Clause::Rows(Cond::Literal(Col(Table::People, "n"))));
        }
        if self.chance(0.1) {
            clauses.push(Clause::Mask(Col(Table::People, "h")));
        }
        if clauses.is_empty() {
            clauses.push(self.filter(question));
        }
        Agreement { steward, name, with, purpose, valid, clauses }
    }

    fn release_rows(&mut self, from: Source, question: &Question) -> Clause {
        let tables = from.tables();
        let mut columns: Vec<Col> = tables.iter().flat_map(|table| self.around(asked(question), *table)).collect();
        // A join need not list its keys.
        let keys = tables.len() == 1 || self.chance(0.3);
        let key = |table: &Table| Col(*table, "id");
        if keys {
            columns.extend(tables.iter().map(key));
        }
        columns.sort();
        columns.dedup();
        let fits =
            |cond: &Cond| cond.listed().is_none() && cond.columns().iter().all(|column| tables.contains(&column.0));
        let own: Vec<Cond> = question.conds.iter().copied().filter(fits).collect();
        let cond = match own.first() {
            Some(one) if self.chance(0.3) => Some(*one),
            _ if self.chance(0.05) => Some(self.cond(&columns_of(tables))).filter(fits),
            _ => None,
        };
        // A clause need not list what only its condition is about.
        if let Some(cond) = cond
            && self.chance(0.5)
        {
            columns.retain(|column| !cond.columns().contains(column));
            if keys {
                columns.extend(tables.iter().map(key));
            }
            dedup(&mut columns);
        }
        if columns.is_empty() {
            columns.push(key(&tables[0]));
        }
        Clause::ReleaseRows { from, columns, cond }
    }

    fn release(&mut self, question: &Question) -> Clause {
        let own = source(question.from);
        let from =
            if self.chance(0.85) { own } else { self.one(&[Source::Both, Source::Left, Source::One(Table::People)]) };
        let within = columns_of(from.tables());
        let fits = |column: &Col| within.contains(column);
        let (mut functions, mut arguments, mut by, mut star) = (Vec::new(), Vec::new(), Vec::new(), self.chance(0.6));
        match &question.what {
            What::Groups { keys, values } => {
                functions.extend(values.iter().map(|value| value.function).filter(|_| self.chance(0.95)));
                arguments.extend(values.iter().flat_map(|value| value.argument).filter(|_| self.chance(0.95)));
                by.extend(keys.iter().copied().filter(|_| self.chance(0.95)));
                star |= values.iter().any(|value| value.argument.is_none()) && self.chance(0.9);
            }
            What::Rows(columns) => by.extend(columns.iter().copied().filter(|_| self.chance(0.8))),
        }
        functions.push(self.one(&FUNCTIONS));
        arguments.push(self.one(&within));
        let also = self.some(&within, 2);
        by.extend(also);
        arguments.retain(fits);
        by.retain(fits);
        // Only `count` goes with `*`.
        star &= functions.contains(&FUNCTIONS[1]);
        dedup(&mut functions);
        dedup(&mut arguments);
        dedup(&mut by);
        let own_conds: Vec<Cond> = question
            .conds
            .iter()
            .copied()
            .filter(|one| one.listed().is_none() && one.columns().iter().all(fits))
            .collect();
        let cond = match own_conds.first() {
            Some(one) if self.chance(0.3) => Some(*one),
            _ if self.chance(0.05) => Some(self.cond(&within)),
            _ => None,
        };
        let minimum = if self.chance(0.6) { Some((self.0.random_range(2..20), self.one(from.tables()))) } else { None };
        let fail = minimum.is_some() && self.chance(0.2);
        Clause::Release { functions, arguments, star, by, from, cond, minimum, fail }
    }

    fn ship_rows(&mut self, question: &Question) -> Clause {
        let from = source(question.from);
        let mut columns = Vec::new();
        for table in from.tables() {
            columns.extend(self.around(asked(question), *table));
            if self.chance(0.8) {
                columns.push(Col(*table, "id"));
            }
        }
        dedup(&mut columns);
        let cond = match question.conds.first().filter(|one| one.listed().is_none()) {
            Some(one) if self.chance(0.3) => Some(*one),
            _ if self.chance(0.05) => Some(self.cond(&columns_of(from.tables()))),
            _ => None,
        };
        let cond = cond.filter(|cond| cond.columns().iter().all(|column| from.tables().contains(&column.0)));
        if columns.is_empty() {
            columns.push(Col(from.tables()[0], "id"));
        }
        let mut hashes: Vec<Col> =
            columns.iter().copied().filter(|column| column.1 == "id" && self.chance(0.4)).collect();
        columns.retain(|column| !hashes.contains(column) || self.chance(0.1));
        if self.chance(0.05) {
            hashes.push(Col(from.tables()[0], "id"));
            dedup(&mut hashes);
        }
        Clause::ShipRows { columns, hashes, from, cond, to: self.targets() }
    }

    fn filter(&mut self, question: &Question) -> Clause {
        let mut columns: Vec<Col> =
            question.conds.iter().flat_map(|cond| cond.columns()).filter(|_| self.chance(0.9)).collect();
        let more = self.some(&columns_of(&question.from.visible()), 2);
        columns.extend(more);
        dedup(&mut columns);
        let of_functions: Vec<Col> = question.conds.iter().filter_map(|cond| cond.of_function()).collect();
        let functions: Vec<Col> = of_functions.into_iter().filter(|_| self.chance(0.7)).collect();
        // Functions are compared with literals only.
        if !functions.is_empty() {
            return Clause::Filter { columns, functions, literals: true, with_columns: false };
        }
        let (literals, with_columns) = self.one(&[(true, false), (true, true), (true, true), (false, true)]);
        Clause::Filter { columns, functions, literals, with_columns }
    }

    /// Columns of a table that a question needs, perhaps without one, perhaps with another.
    fn around(&mut self, needed: Vec<Col>, table: Table) -> Vec<Col> {
        let mut columns: Vec<Col> =
            needed.into_iter().filter(|column| column.0 == table).filter(|_| self.chance(0.95)).collect();
        if self.chance(0.5) {
            columns.push(self.one(&columns_of(&[table])));
        }
        dedup(&mut columns);
        columns
    }

    fn targets(&mut self) -> Vec<Target> {
        let mut all: Vec<Target> = PLACES.into_iter().map(Target::Place).collect();
        all.extend([Target::Place("p"), Target::Region, Target::Role, Target::Coordinator, Target::Any]);
        self.some(&all, 2)
    }
}

fn dedup<T: PartialEq + Clone>(all: &mut Vec<T>) {
    let mut seen: Vec<T> = Vec::new();
    all.retain(|one| {
        let new = !seen.contains(one);
        if new {
            seen.push(one.clone());
        }
        new
    });
}

fn columns_of(tables: &[Table]) -> Vec<Col> {
    tables.iter().flat_map(|table| table.columns().iter().map(|(name, _)| Col(*table, name))).collect()
}

/// Those of text.
fn named(columns: &[Col]) -> Vec<Col> {
    columns.iter().copied().filter(|column| column.kind() == super::world::Kind::Text).collect()
}

fn source(from: From) -> Source {
    match from {
        From::One(table) => Source::One(table),
        From::LeftJoin => Source::Left,
        From::Join | From::Semi => Source::Both,
    }
}

/// Every column that a question names.
fn asked(question: &Question) -> Vec<Col> {
    let mut all: Vec<Col> = question.conds.iter().flat_map(|cond| cond.columns()).collect();
    match &question.what {
        What::Rows(columns) => all.extend(columns),
        What::Groups { keys, values } => {
            all.extend(keys);
            all.extend(values.iter().flat_map(|value| value.argument));
            all.extend(values.iter().flat_map(|value| value.filter).flat_map(Cond::columns));
        }
    }
    all
}
