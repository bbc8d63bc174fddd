//! Tests of one node over a simulated disk that loses power, and of a group over a simulated network.

mod crashes;
mod disk;
mod group;
