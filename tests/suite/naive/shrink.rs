//! Smaller worlds that differ from a world by one thing.

use super::world::{Above, Agreement, Clause, Scope, What, World};

/// Every world with one thing less.
pub(super) fn smaller(world: &World) -> Vec<World> {
    let mut all = Vec::new();
    let mut offer = |change: &dyn Fn(&mut World) -> bool| {
        let mut changed = world.clone();
        if change(&mut changed) {
            all.push(changed);
        }
    };
    for index in 0..world.agreements.len() {
        offer(&|world| {
            world.agreements.remove(index);
            true
        });
        for clause in 0..world.agreements[index].clauses.len() {
            offer(&|world| without_clause(&mut world.agreements[index], clause));
            for part in 0..4 {
                offer(&|world| narrow(&mut world.agreements[index].clauses[clause], part));
            }
        }
    }
    for cond in 0..world.question.conds.len() {
        offer(&|world| {
            world.question.conds.remove(cond);
            true
        });
    }
    offer(&|world| std::mem::replace(&mut world.question.above, Above::Nothing) != Above::Nothing);
    offer(&|world| {
        let before = std::mem::replace(&mut world.question.scope, Scope::Named("a"));
        before != world.question.scope
    });
    match &world.question.what {
        What::Rows(columns) => {
            for column in 0..columns.len() {
                offer(&|world| drop_item(&mut world.question.what, column));
            }
        }
        What::Groups { keys, values } => {
            for item in 0..keys.len() + values.len() {
                offer(&|world| drop_item(&mut world.question.what, item));
            }
        }
    }
    all
}

fn without_clause(agreement: &mut Agreement, gone: usize) -> bool {
    if agreement.clauses.len() == 1 {
        return false;
    }
    agreement.clauses.remove(gone);
    agreement.clauses.retain(|clause| !matches!(clause, Clause::Partials { of, .. } if *of == gone));
    for clause in &mut agreement.clauses {
        if let Clause::Partials { of, .. } = clause
            && *of > gone
        {
            *of -= 1;
        }
    }
    !agreement.clauses.is_empty()
}

/// Takes something out of a clause's lists.
fn narrow(clause: &mut Clause, part: usize) -> bool {
    match (clause, part) {
        (Clause::Release { cond, .. } | Clause::ShipRows { cond, .. }, 0) => cond.take().is_some(),
        (Clause::Release { minimum, fail, .. }, 1) => {
            *fail = false;
            minimum.take().is_some()
        }
        (Clause::Release { by, .. }, 2) => by.pop().is_some(),
        (Clause::ShipRows { to, .. } | Clause::Partials { to, .. }, 1) => to.len() > 1 && to.pop().is_some(),
        (Clause::ShipRows { columns, hashes, .. }, 2) => {
            columns.len() + hashes.len() > 1 && (columns.pop().is_some() || hashes.pop().is_some())
        }
        (Clause::ShipRows { columns, hashes, .. }, 3) => !columns.is_empty() && hashes.pop().is_some(),
        (Clause::Filter { columns, .. }, 2) => columns.len() > 1 && columns.pop().is_some(),
        _ => false,
    }
}

fn drop_item(what: &mut What, index: usize) -> bool {
    match what {
        What::Rows(columns) => {
            if columns.len() == 1 {
                return false;
            }
            columns.remove(index);
        }
        What::Groups { keys, values } => {
            if keys.len() + values.len() == 1 {
                return false;
            }
            if index < keys.len() {
                keys.remove(index);
            } else {
                values.remove(index - keys.len());
            }
        }
    }
    true
}
