//! A coordinator that lies: it has its certificate and its key, signs graphs that ask for more than an agreement gives, and
//! sends them to sites that run as they do in use. Each case is one change to a graph that is accepted and answered as it
//! should be; the site must refuse it by name, give none of its rows to the place that the graph names, and log it.

mod fixture;
mod joins;
mod permits;
mod releases;
mod rows;
mod stewards;
mod wire;

use fixture::{Base, Case, refuse_all};
