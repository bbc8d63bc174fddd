//! A place from its door to its rows, with real certificates and sockets between places.

mod exchange;
mod partials;
mod agreement;
