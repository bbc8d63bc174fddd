//! One test for each rule of what agreements mean, under the rule's number: the smallest case that is decided one way with
//! the rule and another way without it. Verdicts are the planner's, over a federation that exists on paper only; rules
//! about values, places that lie, and time are tested where these are.

mod bench;
mod federation;
mod hashing;
mod joined_rows;
mod joining;
mod left_joins;
mod protected;
mod releasing;
mod shipping;
