//! A place from its door to its rows, with real certificates and sockets between places.

mod agreement;
mod exchange;
mod forged;
mod hidden;
mod partials;
mod registration;

pub(crate) use exchange::{channel, fetch};
pub(crate) use partials::average_by_grade;
