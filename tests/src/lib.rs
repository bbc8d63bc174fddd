//! The tests of the whole system are in `suite/`; this library is empty on purpose.
