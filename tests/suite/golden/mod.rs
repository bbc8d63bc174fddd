//! Golden plans: each file of `tests/golden/plan` holds a query, the report on it and the whole path that the planner must
//! give it, or the refusal. They are planned as `dynamos explain` plans, from the federations of `tests/golden/federation`.

mod case;
mod contained;
mod demo;
mod difference;
mod nearest;
mod plans;
